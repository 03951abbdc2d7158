"""Tangent-space features of the covariance, and of what a group autoregression leaves of it.

Moments ``[n, P, P]`` in, features ``[n, q (q + 1) / 2]`` out, everything learned from training subjects. One stacked
eigendecomposition per batch, no loop over subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from genebrain.brain.connectome.base import ConnectomeFeature
from genebrain.brain.connectome.missing_parcels import Float64
from genebrain.brain.connectome.moments import Float32
from genebrain.common.types import FloatArray, IntArray, UserError

WIDEST = 128
"""Parcels; "all" components above it would give more features than any cohort can carry."""


def innovation_covariance(
    C0: FloatArray,
    C1: FloatArray,
    phi: FloatArray,
    edges: FloatArray | None = None,
    frames: IntArray | None = None,
) -> Float64:
    """Covariance of ``y_t - phi y_{t-1}`` over the pairs of consecutive frames, from moments alone.

    ``C_now - phi C1' - C1 phi' + phi C_past phi'``, where ``C_now`` (``C_past``) is the covariance of the
    frames that have a predecessor (a successor). With ``edges`` and ``frames`` this equals the covariance of
    explicit residuals exactly; without them both are taken to be ``C0``: right on average, not scan by scan.

    Parameters
    ----------
    C0, C1
        [n, q, q].
    phi
        [q, q], shared by all subjects.
    edges, frames
        As in :class:`~genebrain.brain.connectome.moments.Moments`; both or neither.

    Returns
    -------
    ndarray
        float64 [n, q, q].
    """
    now, past = _neighbour_covariances(C0, edges, frames)
    cross = phi @ np.swapaxes(C1, 1, 2)
    return now - cross - np.swapaxes(cross, 1, 2) + phi @ past @ phi.T


def _neighbour_covariances(
    C0: FloatArray, edges: FloatArray | None, frames: IntArray | None
) -> tuple[FloatArray, FloatArray]:
    """Covariance of the frames with a predecessor, and of those with a successor, each [n, q, q]."""
    if edges is None or frames is None:
        if (edges is None) != (frames is None):
            raise ValueError("edges and frames belong together: pass both or neither")
        return C0, C0
    all_frames = C0 * (frames[:, 0] / frames[:, 1])[:, None, None]
    first, last = edges[:, 0], edges[:, 1]
    return all_frames - np.swapaxes(first, 1, 2) @ first, all_frames - np.swapaxes(last, 1, 2) @ last


class InnovationTangent(ConnectomeFeature):
    """Tangent-space features of the innovation covariance of a group autoregression.

    The series is projected on the ``n_components`` leading eigenvectors of the mean training covariance; a
    VAR(1) model common to the group removes what the last frame predicts; the covariance ``E_i`` of the
    rest is mapped to ``logm((1-a) M^-1/2 E_i M^-1/2 + a I)`` at the training mean ``M``; the upper triangle
    with off-diagonals times sqrt(2) is the feature vector. Autocorrelation makes neighbouring frames tell the
    same thing twice; innovations are nearly independent, so their covariance rests on more effective samples
    and the sampling noise of the features is close to isotropic.

    Parameters
    ----------
    n_components
        Number of leading components ``q``; ``None`` keeps all shared parcels.
    shrinkage
        ``a`` in [0, 1). A scan with fewer than ``2 q`` frames has too few for its covariance and uses
        ``max(a, 1 - frames / (2 q))``; such subjects are counted in ``report["subjects_short"]``. This needs
        ``frames``.

    Notes
    -----
    Tangent space: Varoquaux et al., MICCAI 2010; log-Euclidean features: Barachant et al., IEEE TBME 2012.
    """

    learned = ("basis", "phi", "whitening")
    innovation = True
    one_size = False
    """Whether only the middle one of several numbers of components is tried."""
    words = "connectome, tangent space of what each frame adds to the one before"

    def __init__(self, n_components: int | None = None, shrinkage: float = 0.05) -> None:
        super().__init__()
        if not 0 <= shrinkage < 1:
            raise ValueError(f"shrinkage must be in [0, 1), got {shrinkage}")
        self.n_components, self.shrinkage = n_components, shrinkage

    @classmethod
    def candidates(
        cls, kind: str, components: Sequence[int | str], n_parcels: int, shrinkage: float
    ) -> dict[str, Self]:
        """One feature per number of leading components."""
        sizes = tangent_sizes(components, n_parcels)
        sizes = [sizes[len(sizes) // 2]] if cls.one_size else sizes
        return {f"{kind}-{q}": cls(None if q == n_parcels else q, shrinkage) for q in sizes}

    def fit(
        self, C0: FloatArray, C1: FloatArray, edges: FloatArray | None = None, frames: IntArray | None = None
    ) -> Self:
        """Learn parcels, basis, autoregression and mean from TRAINING subjects: C0, C1 [n, P, P]."""
        shared = self.fit_parcels(C0, C1)
        self.basis = leading_components(shared.C0, self.n_components)
        q = self.basis.shape[1]
        sums = [np.zeros((q, q)) for _ in range(3)]
        for rows, c0, c1, e in self.batches(C0, C1, edges, self.basis):
            now, past = _neighbour_covariances(c0, e, None if frames is None or e is None else frames[rows])
            for total, part in zip(sums, (now if self.innovation else c0, c1, past), strict=True):
                total += part.sum(axis=0)
        return self.from_means(*(total / len(C0) for total in sums))

    def from_means(self, now: Float64, c1: Float64, past: Float64) -> Self:
        """Learn autoregression and mean from training means on the basis, each [q, q]."""
        q = len(now)
        # Linearly dependent parcels (global signal removed) would make the past covariance singular.
        ridge = 1e-6 * np.trace(past) / q * np.eye(q)
        phi = np.linalg.solve(past + ridge, c1.T).T if self.innovation else np.zeros((q, q))
        # In the memory order in which a checkpoint brings it back: the same products, to the last bit.
        self.phi = np.ascontiguousarray(phi)
        # The innovation covariance is linear in the moments: its mean is that of the mean moments.
        mean = now - self.phi @ c1.T - c1 @ self.phi.T + self.phi @ past @ self.phi.T
        values, vectors = np.linalg.eigh((mean + mean.T) / 2)
        values = np.maximum(values, 1e-6 * values.mean())
        self.whitening = (vectors / np.sqrt(values)) @ vectors.T
        return self

    def transform(
        self, C0: FloatArray, C1: FloatArray, edges: FloatArray | None = None, frames: IntArray | None = None
    ) -> Float32:
        """Features of any subjects, float32 [n, q (q + 1) / 2]; ``edges`` must be given as in :meth:`fit`."""
        self.fitted(C0.shape[-1])
        q = self.basis.shape[1]
        upper = np.triu_indices(q)
        scale = np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))
        features = np.empty((len(C0), len(scale)), np.float32)
        amount = np.full(len(C0), self.shrinkage)
        if frames is not None:
            amount = np.maximum(amount, 1 - frames[:, 0] / (2 * q))
            self.report["subjects_short"] = int((frames[:, 0] < 2 * q).sum())
        for rows, c0, c1, e in self.batches(C0, C1, edges, self.basis):
            if self.innovation:
                counts = None if e is None or frames is None else frames[rows]
                c0 = innovation_covariance(c0, c1, self.phi, e, counts)
            a = amount[rows, None, None]
            relative = (1 - a) * (self.whitening @ c0 @ self.whitening) + a * np.eye(q)
            values, vectors = np.linalg.eigh((relative + np.swapaxes(relative, 1, 2)) / 2)
            # Below the shrinkage only when the stationary form of a short scan is not positive definite.
            logs = np.log(np.maximum(values, np.maximum(amount[rows, None], 1e-6)))
            tangent = (vectors * logs[:, None, :]) @ np.swapaxes(vectors, 1, 2)
            features[rows] = tangent[:, upper[0], upper[1]] * scale
        return features

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that was learned, as plain arrays for a checkpoint."""
        q = -1 if self.n_components is None else self.n_components
        return super().state() | {"shrinkage": np.array(self.shrinkage), "n_components": np.array(q)}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        q = int(state["n_components"])
        return cls(None if q < 0 else q, shrinkage=float(state["shrinkage"])).restore(state)


class Lag0Tangent(InnovationTangent):
    """The same without the autoregression: tangent space of the ordinary covariance ``C0``."""

    innovation = False
    words = "connectome, tangent space of the covariance"


def leading_components(covariance: Float64, n_components: int | None) -> Float64:
    """The ``q`` leading eigenvectors [P, q], or the identity when all are kept."""
    P = len(covariance)
    if n_components is None:
        return np.eye(P)
    if not 1 <= n_components <= P:
        raise UserError(f"n_components is {n_components}, but the training subjects share {P} parcels")
    return np.ascontiguousarray(np.linalg.eigh(covariance)[1][:, : -n_components - 1 : -1])


def tangent_sizes(components: Sequence[int | str], places: int) -> list[int]:
    """Numbers of components to try in a tangent space of so many parcels (or places of an encoder).

    Raises
    ------
    UserError
        None is left.
    """
    sizes = [places if wanted == "all" else min(int(wanted), places) for wanted in components]
    sizes = [q for q, wanted in zip(sizes, components, strict=True) if wanted != "all" or places <= WIDEST]
    if not sizes:
        raise UserError(
            f"brain.components={list(components)} leaves nothing to try for {places} parcels: "
            f"'all' is only used up to {WIDEST} parcels; add a number such as 40"
        )
    return list(dict.fromkeys(sizes))
