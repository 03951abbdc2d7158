"""Weight decay of AdamW: matrices decay, and what has one dimension (biases, norms, scales) does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float, **options: Any) -> list[dict[str, Any]]:
    """Groups for an optimiser, empty ones left out.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Frozen ones are passed over.
    weight_decay : float
        Of what decays.
    **options
        Of all groups, e.g. ``lr``.
    """
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay, **options},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, **options},
    ]
    return [group for group in groups if group["params"]]
