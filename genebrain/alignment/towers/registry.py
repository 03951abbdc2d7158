"""Poolings and projectors by the names that settings use, known without loading them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from genebrain.common.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from genebrain.alignment.towers.pooling import Pooling

_HOME = "genebrain.alignment.towers.pooling"
POOLINGS: Registry[type[Pooling]] = Registry(
    "pooling", dict.fromkeys(("mean", "max", "last", "attention", "gated_attention", "flatten", "gem"), _HOME)
)
"""Poolings by the names that settings use; ``POOLINGS.register(name)`` adds one."""
PROJECTORS: Registry[Callable[[int, int, int, float], nn.Module]] = Registry(
    "projector", dict.fromkeys(("mlp", "linear"), "genebrain.alignment.towers.projector")
)
"""Name -> maker of the body of a tower, called with ``in_features, hidden, out_features, dropout``."""
DIPLOID_KINDS = ("mean_absdiff", "mean", "sum", "max", "concat")
"""Ways to join the two haplotypes of a window."""
