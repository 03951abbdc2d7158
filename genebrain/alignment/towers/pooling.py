"""Poolings: a masked set of vectors to one vector.

Every pooling takes ``x [..., items, hidden]`` and a bool ``mask [..., items]``; what lies under a False
never matters, neither for the value nor for the gradient, even if it is NaN. An empty set is an error. On
an accelerator the check is left out in training, not to wait for the device at every step; an empty set gives
a finite vector there, so call :func:`check_items` where batches are made.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.alignment.towers.registry import DIPLOID_KINDS, POOLINGS


def check_items(mask: Tensor) -> None:
    """Raise if a set has no item. Reads the mask, so on an accelerator the host waits for the device.

    Parameters
    ----------
    mask : Tensor
        Bool ``[..., items]``.

    Raises
    ------
    ValueError
        With the number of empty sets, the number of sets and the first position.
    """
    empty = ~mask.any(dim=-1)
    count = int(empty.sum())
    if count:
        first = empty.nonzero()[0].tolist()
        raise ValueError(
            f"{count} of {empty.numel()} sets have no item to pool (first at position {first}); leave them "
            "out before pooling, or unmask a blank item and mask the set at the next level"
        )


class Pooling(nn.Module, ABC):
    """What all poolings share: shapes checked, masked content blanked, empty sets refused.

    Parameters
    ----------
    hidden : int
        Width of an item.

    Attributes
    ----------
    out_features : int
        Width of the pooled vector.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden must be at least 1, not {hidden}")
        self.hidden, self.out_features = hidden, hidden

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pool the items.

        Parameters
        ----------
        x : Tensor
            ``[..., items, hidden]``.
        mask : Tensor
            Bool ``[..., items]``, True where an item exists.

        Returns
        -------
        Tensor
            ``[..., out_features]``, float32 (float64 for float64 input).

        Raises
        ------
        ValueError
            If shapes or types do not fit, or a set is empty.
        """
        if mask.dtype != torch.bool or mask.shape != x.shape[:-1] or x.shape[-1] != self.hidden:
            raise ValueError(
                f"pooling needs x [..., items, {self.hidden}] and a bool mask [..., items]; "
                f"got x {list(x.shape)} and mask {list(mask.shape)} of {mask.dtype}"
            )
        if not self.training or mask.device.type == "cpu":
            check_items(mask)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return self._pool(x.masked_fill(~mask[..., None], 0.0), mask)

    @abstractmethod
    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pool items whose masked content is already zero; must be finite for an empty set."""


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return x.sum(dim=-2) / mask.sum(dim=-1, keepdim=True).clamp(min=1)


def _max(x: Tensor, mask: Tensor) -> Tensor:
    largest = x.masked_fill(~mask[..., None], -math.inf).amax(dim=-2)
    # An empty set is possible only where the check is left out, see the module docstring.
    return largest.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


@POOLINGS.register("mean")
class Mean(Pooling):
    """Arithmetic mean of the items."""

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        return _mean(x, mask)


@POOLINGS.register("max")
class Max(Pooling):
    """Largest value of each feature over the items; items that tie share the gradient."""

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        return _max(x, mask)


@POOLINGS.register("last")
class Last(Pooling):
    """The last item that exists (for a causal encoder, the one that has seen all the others)."""

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        place = (mask * torch.arange(mask.shape[-1], device=mask.device)).argmax(dim=-1)
        return x.take_along_dim(place[..., None, None], dim=-2).squeeze(-2)


@POOLINGS.register("attention")
class Attention(Pooling):
    """Weighted mean with learned weights ``softmax(w . tanh(V x))`` (Ilse et al. 2018, 1802.04712, eq. 8).

    Parameters
    ----------
    hidden : int
        Width of an item.
    attention_features : int
        Width of the hidden layer that makes the weights.
    """

    def __init__(self, hidden: int, attention_features: int = 128) -> None:
        super().__init__(hidden)
        self.features = nn.Linear(hidden, attention_features)
        # A bias here would shift all scores of a set alike and cancel in the softmax.
        self.score = nn.Linear(attention_features, 1, bias=False)

    def _attend(self, x: Tensor) -> Tensor:
        return torch.tanh(self.features(x))

    def weights(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weight of each item, ``[..., items]``: sums to 1 over the items that exist, 0 elsewhere."""
        scores = self.score(self._attend(x)).squeeze(-1).to(x.dtype)
        # The smallest number instead of -inf keeps an empty set free of NaN.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1).masked_fill(~mask, 0.0)

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        return (self.weights(x, mask)[..., None] * x).sum(dim=-2)


@POOLINGS.register("gated_attention")
class GatedAttention(Attention):
    """Attention whose features are gated: ``w . (tanh(V x) * sigmoid(U x))`` (Ilse et al. 2018, eq. 9)."""

    def __init__(self, hidden: int, attention_features: int = 128) -> None:
        super().__init__(hidden, attention_features)
        self.gate = nn.Linear(hidden, attention_features)

    def _attend(self, x: Tensor) -> Tensor:
        return torch.tanh(self.features(x)) * torch.sigmoid(self.gate(x))


@POOLINGS.register("flatten")
class Flatten(Pooling):
    """All items side by side, ``[..., items * hidden]``; an item that does not exist is a run of zeros."""

    def __init__(self, hidden: int, n_items: int) -> None:
        super().__init__(hidden)
        if n_items < 1:
            raise ValueError(f"n_items must be at least 1, not {n_items}")
        self.n_items, self.out_features = n_items, n_items * hidden

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        if x.shape[-2] != self.n_items:
            raise ValueError(f"flatten was built for {self.n_items} items, got {x.shape[-2]}")
        return x.flatten(start_dim=-2)


@POOLINGS.register("gem")
class GeM(Pooling):
    """Generalised mean ``(mean x^p)^(1/p)`` with a learned p > 1 (Radenovic et al. 2019, arXiv 1711.02512).

    p towards 1 is the mean, large p the maximum. The power needs positive numbers, so values below
    ``floor`` count as ``floor``: for features that take both signs it sees the positive part only.

    Parameters
    ----------
    hidden : int
        Width of an item.
    p : float
        Starting exponent, above 1.
    floor : float
        Smallest value that is told apart.
    """

    def __init__(self, hidden: int, p: float = 3.0, floor: float = 1e-6) -> None:
        super().__init__(hidden)
        if p <= 1 or floor <= 0:
            raise ValueError(f"p must be above 1 and floor above 0: p={p}, floor={floor}")
        self.floor = floor
        self.raw = nn.Parameter(torch.tensor([math.log(math.expm1(p - 1))]))

    @property
    def p(self) -> Tensor:
        """Present exponent, ``[1]``."""
        return 1 + functional.softplus(self.raw)

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        mask = mask | ~mask.any(dim=-1, keepdim=True)
        # In logarithms, since floor^p underflows float32 from p = 7 on.
        powers = (self.p * x.clamp(min=self.floor).log()).masked_fill(~mask[..., None], -math.inf)
        count = mask.sum(dim=-1, keepdim=True).clamp(min=1)
        return ((powers.logsumexp(dim=-2) - count.log()) / self.p).exp()


class DiploidPooling(Pooling):
    """The two copies of a window to one vector; symmetric by default, as their order means nothing.

    ``mean``, ``sum`` and ``max`` are what they say; ``mean_absdiff`` is the mean beside the absolute
    difference, which keeps all that is symmetric; ``concat`` keeps the order and is for comparison only. A
    haploid window (mask with one True) has its only copy as mean, sum and maximum, and difference 0;
    ``concat`` has zeros for the other.

    Parameters
    ----------
    kind : {"mean_absdiff", "mean", "sum", "max", "concat"}
        How the copies are joined.
    hidden : int
        Width of a copy's vector; ``out_features`` is twice that for ``mean_absdiff`` and ``concat``.
    """

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__(hidden)
        if kind not in DIPLOID_KINDS:
            raise ValueError(f"kind={kind!r} is unknown; choose one of {', '.join(DIPLOID_KINDS)}")
        self.kind = kind
        self.out_features = hidden * (2 if kind in ("mean_absdiff", "concat") else 1)

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        if x.shape[-2] != 2:
            raise ValueError(f"diploid pooling needs 2 haplotypes, got {x.shape[-2]}")
        if self.kind == "concat":
            return x.flatten(start_dim=-2)
        if self.kind == "max":
            return _max(x, mask)
        if self.kind == "sum":
            return x.sum(dim=-2)
        mean = _mean(x, mask)
        if self.kind == "mean":
            return mean
        difference = (x[..., 0, :] - x[..., 1, :]).abs()
        return torch.cat([mean, difference.masked_fill(~mask.all(dim=-1, keepdim=True), 0.0)], dim=-1)


def build(name: str, hidden: int, n_items: int, **options: Any) -> Pooling:
    """Make the pooling ``name`` of :data:`POOLINGS`; an unknown name is a ``UserError``.

    ``hidden`` is the width of an item, ``n_items`` the number of items of every set, for a pooling whose constructor
    asks for it (``flatten``); further options go to the class.
    """
    kind = POOLINGS[name]
    if "n_items" in signature(kind).parameters:
        options["n_items"] = n_items
    return kind(hidden, **options)


@cache
def is_trainable(name: str) -> bool:
    """Whether a pooling has weights that training moves: asked of the pooling itself."""
    return any(parameter.requires_grad for parameter in build(name, 2, 2).parameters())
