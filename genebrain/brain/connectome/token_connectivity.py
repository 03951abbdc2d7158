"""Covariance of an encoder's tokens between places of the brain, and its tangent space.

A mean over tokens keeps what the brain does on average and loses which places do it together. Here tokens are taken
as the activity of places (parcels, cells of a volume), and covariances are formed over moments and hidden columns.

Tokens ``[windows, tokens, hidden]`` in, the upper triangle of ``[places, places]`` per window out; nothing is
fitted. :class:`TokenTangent` maps averages of such vectors to features, fitted on training people.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genebrain.brain.connectome.missing_parcels import ParcelSums, SharedParcels
from genebrain.brain.connectome.tangent import Lag0Tangent, leading_components
from genebrain.common.types import FloatArray

FLOOR = 1e-3
"""Added to the variance of every hidden direction, relative to their mean: directions far below it do not count."""
PEOPLE = 64
"""People whose matrices are in memory at a time."""
ROUNDING = 1e-9
"""Added too, relative to the mean square of the tokens themselves."""


def token_connectivity(tokens: Tensor, still: Tensor, mask: Tensor, places: int) -> Tensor:
    """Covariance between places over the moments and hidden columns of each window.

    What tokens say of a still scan (place, anatomy, moment) is taken away first. Hidden columns are then whitened
    window by window: a handful of directions carries most of the variance of a transformer's tokens, and would be all
    that is seen.

    Parameters
    ----------
    tokens : Tensor
        ``[windows, places * moments, hidden]``, places first, without a class token.
    still : Tensor
        The same for scans without activity; one row serves all windows.
    mask : Tensor
        bool ``[windows, places * moments]``: which tokens stand for data. Places without any are left out.
    places : int

    Returns
    -------
    Tensor
        float64 ``[windows, n (n + 1) / 2]`` with ``n`` the places that hold data.
    """
    still = still.expand_as(tokens)
    return torch.stack([_covariance(*one, places) for one in zip(tokens, still, mask, strict=True)])


def _covariance(tokens: Tensor, still: Tensor, mask: Tensor, places: int) -> Tensor:
    # One window at a time: memory of one, and the same bits whatever the batch.
    x = ((tokens.double() - still.double()) * mask[:, None]).unflatten(0, (places, -1))
    alive = mask.view(places, -1).any(dim=1)
    x = x[alive]
    counted = mask.sum()
    flat = x.flatten(0, 1)
    spread = flat.T @ flat / counted
    # A still window differs from itself by rounding, which must not be blown up.
    rounding = ROUNDING * tokens.double().square().mean()
    floor = FLOOR * spread.diagonal().mean() + rounding
    root = torch.linalg.cholesky(spread + floor * torch.eye(len(spread), dtype=spread.dtype, device=spread.device))
    white = torch.linalg.solve_triangular(root, flat.T, upper=False).T.unflatten(0, x.shape[:2]).flatten(1)
    covariance = white @ white.T * (int(alive.sum()) / counted)
    rows, columns = torch.triu_indices(len(covariance), len(covariance), device=covariance.device)
    return covariance[rows, columns]


def places_of(width: int) -> int:
    """Places whose covariance has so many numbers in its upper triangle."""
    return int((np.sqrt(8 * width + 1) - 1) / 2)


def unpack(vectors: FloatArray) -> FloatArray:
    """Vectors ``[n, places (places + 1) / 2]`` as symmetric matrices ``[n, places, places]`` of the same type."""
    places = places_of(vectors.shape[1])
    rows, columns = np.triu_indices(places)
    matrices = np.empty((len(vectors), places, places), vectors.dtype)
    matrices[:, rows, columns] = vectors
    matrices[:, columns, rows] = vectors
    return matrices


def _matrices(vectors: Rows) -> Iterator[FloatArray]:
    """Symmetric matrices of one block of people after another."""
    for start in range(0, vectors.shape[0], PEOPLE):
        yield unpack(vectors[start : start + PEOPLE])


def _no_lag(matrices: FloatArray) -> FloatArray:
    """Zeros in the shape of the matrices, without their memory."""
    return np.broadcast_to(np.zeros((), matrices.dtype), matrices.shape)


class Rows(Protocol):
    """Vectors ``[n, width]`` that are read block by block: an array, a memory map, or what computes them when asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        ...

    def __getitem__(self, rows: slice, /) -> FloatArray:
        """Some rows."""
        ...


class TokenTangent(Lag0Tangent):
    """Tangent-space features of token covariances; see :class:`~genebrain.brain.connectome.tangent.InnovationTangent`.

    Both passes of :meth:`fit`, and :meth:`transform`, hold the matrices of :data:`PEOPLE` people at a time: memory does
    not grow with their number.
    """

    def fit(self, vectors: Rows) -> Self:  # type: ignore[override]
        """Learn places, basis and mean of training people: vectors ``[n, places (places + 1) / 2]``."""
        n, places = vectors.shape[0], places_of(vectors.shape[1])
        sums = ParcelSums(places)
        for matrices in _matrices(vectors):
            sums.add(matrices, _no_lag(matrices))
        shared = self.use_parcels(SharedParcels.from_sums(sums), n)
        self.basis = leading_components(shared.C0, self.n_components)
        q, filled = self.basis.shape[1], 0
        total = np.zeros((q, q))
        for matrices in _matrices(vectors):
            for _, c0, _, _ in self.batches(matrices, _no_lag(matrices), None, self.basis):
                total += c0.sum(axis=0)
            filled += self.report["subjects_filled"]
        self.report["subjects_filled"] = filled
        return self.from_means(total / n, np.zeros((q, q)), total / n)

    def transform(self, vectors: Rows) -> NDArray[np.float32]:  # type: ignore[override]
        """Features of any people, float32 ``[n, q (q + 1) / 2]``."""
        parts, filled = [], 0
        for matrices in _matrices(vectors):
            parts.append(super().transform(matrices, _no_lag(matrices)))
            filled += self.report["subjects_filled"]
        self.report["subjects_filled"] = filled
        return np.concatenate(parts)

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        return super().from_state(state)
