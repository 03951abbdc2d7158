"""Next base by marginals of 6-mers."""

from __future__ import annotations

from torch import Tensor

from genebrain.genetics.variants.likelihood import _CONTROL


def next_letter(logits: Tensor) -> Tensor:
    """Probability of each letter (A, T, C, G in this order) as the next one, float64 ``[rows, 4]``.

    ``logits`` is ``[rows, 4128]`` in any number format; the softmax runs in float64 over the whole vocabulary, so
    the four add up to one minus the share of the control tokens.
    """
    return logits.double().softmax(-1)[:, _CONTROL:].reshape(len(logits), 4, -1).sum(-1)
