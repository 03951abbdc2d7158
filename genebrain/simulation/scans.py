"""BOLD scans whose connectome modes carry a trait, and the statistic that reads it back without loss.

Each mode of a connectome Laplacian is an Ornstein-Uhlenbeck process sampled at the repetition time. The trait enters
in one place only, the innovation variance of the active modes: changes that multiply power, as between people. The
squared whitened innovations are sufficient for it, which is why the best possible retrieval is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

from genebrain.brain.parcels.a424 import A424_PARCELS, a424_coordinates

DECAY_BASE, DECAY_SLOPE = 0.15, 0.9
"""Decay rate of a mode in 1/s: base + slope x eigenvalue of the Laplacian."""
POWER_OFFSET = 0.05
SPREAD_MM = np.array([30.0, 45.0, 30.0])
LENGTH_MM = 25.0
N_MODULES = 7
A424_AREAS = 180

Floats = NDArray[np.float64]


def loudness_for(rel: float, n_frames: int) -> float:
    """Scale ``a`` of the trait in the log variance that gives reliability ``rel`` per dimension."""
    return float(np.sqrt(polygamma(1, n_frames / 2) * rel / (1 - rel)))


def reliability(loudness: float, n_frames: int, n_sessions: int = 1) -> float:
    """Test-retest correlation per dimension of the mean over ``n_sessions`` scans of ``n_frames``."""
    one = 1 / (1 + float(polygamma(1, n_frames / 2)) / loudness**2)
    return one / (one + (1 - one) / n_sessions)


@dataclass(frozen=True)
class Parcels:
    """Where parcels lie and which of them are each other's mirror image.

    Attributes
    ----------
    points : float ``[parcels, 3]``
        Centres in mm, RAS: x grows to the right.
    pairs : int ``[pairs, 2]``
        Homologous parcels of the two hemispheres.
    """

    points: Floats
    pairs: NDArray[np.int64]

    @classmethod
    def random(cls, n_parcels: int, rng: np.random.Generator) -> Parcels:
        """Points of a right hemisphere and their mirror images, in this order."""
        half = n_parcels // 2
        right = rng.normal(size=(half, 3)) * SPREAD_MM
        right[:, 0] = np.abs(right[:, 0]) + 5.0
        pairs = np.arange(half)
        return cls(np.vstack([right, right * [-1, 1, 1]]), np.stack([pairs, pairs + half], axis=1))

    @classmethod
    def a424(cls) -> Parcels:
        """The A424 parcellation: 180 cortical areas of the right hemisphere, 180 of the left, 64 deeper ones."""
        pairs = np.arange(A424_AREAS)
        return cls(a424_coordinates().astype(np.float64), np.stack([pairs, pairs + A424_AREAS], axis=1))

    @classmethod
    def of(cls, n_parcels: int, rng: np.random.Generator) -> Parcels:
        """A424 for 424 parcels, random points otherwise."""
        return cls.a424() if n_parcels == A424_PARCELS else cls.random(n_parcels, rng)


def synthetic_connectome(parcels: Parcels, rng: np.random.Generator) -> Floats:
    """Symmetric weights ``[parcels, parcels]``, zero diagonal: two mirrored hemispheres, seven modules.

    Weights fall with distance, are three times as large within a module, and log-normal around that; a homologous
    pair has half the largest weight.
    """
    points = parcels.points
    folded = points * np.where(points[:, :1] < 0, [-1.0, 1.0, 1.0], 1.0)  # modules are the same on both sides
    right = np.sort(parcels.pairs[:, 0])
    centres = folded[right[rng.choice(len(right), min(N_MODULES, len(right)), replace=False)]]
    module = np.linalg.norm(folded[:, None] - centres, axis=2).argmin(axis=1)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    weights = np.exp(-distance / LENGTH_MM) * (1 + 2 * (module[:, None] == module))
    weights *= np.exp(0.5 * rng.normal(size=weights.shape))
    weights = (weights + weights.T) / 2
    np.fill_diagonal(weights, 0)
    one, other = parcels.pairs.T
    weights[one, other] = weights[other, one] = 0.5 * weights.max()
    return weights


@dataclass(frozen=True)
class BrainModel:
    """How a trait sounds in a scan.

    Attributes
    ----------
    modes : float ``[parcels, modes]``
        Eigenvectors of the normalised Laplacian, smoothest first.
    phi, innovation : float ``[modes]``
        Autoregressive coefficient per frame, and innovation variance of a person with a zero trait.
    loading : float ``[modes, k]``
        Orthonormal columns on the active modes with zero sum: the overall power carries no trait.
    loudness : float
        Scale of the trait in the log innovation variance.
    """

    modes: Floats
    phi: Floats
    innovation: Floats
    loading: Floats
    loudness: float

    @classmethod
    def build(
        cls, connectome: Floats, *, k: int, n_active: int, loudness: float, tr: float, rng: np.random.Generator
    ) -> BrainModel:
        """Modes of a connectome ``[parcels, parcels]`` (symmetric, non-negative) and a random loading.

        ``tr`` is in seconds. Active modes are 1..n_active, the smoothest that are not constant.
        """
        n_parcels = len(connectome)
        if not k < n_active < n_parcels:
            raise ValueError(f"need k < n_active < n_parcels, got {k}, {n_active}, {n_parcels}")
        scale = 1 / np.sqrt(connectome.sum(axis=1))
        eigenvalues, modes = np.linalg.eigh(np.eye(n_parcels) - scale[:, None] * connectome * scale)
        phi = np.exp(-(DECAY_BASE + DECAY_SLOPE * eigenvalues) * tr)
        directions = rng.normal(size=(n_active, k))
        loading = np.zeros((n_parcels, k))
        loading[1 : n_active + 1] = np.linalg.qr(directions - directions.mean(axis=0))[0]
        return cls(modes, phi, (1 - phi**2) / (POWER_OFFSET + eigenvalues), loading, loudness)

    def scans(self, trait: Floats, shift: Floats, n_frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]`` in arbitrary units, zero mean in expectation.

        Parameters
        ----------
        trait : ``[people, k]``
        shift : ``[people, modes]``
            Effect of the scanner on the log innovation variance.
        """
        deviation = np.sqrt(self.innovation * np.exp(self.loudness * trait @ self.loading.T + shift))
        noise = rng.standard_normal((n_frames, *deviation.shape), dtype=np.float32)
        noise *= deviation.astype(np.float32)
        phi = self.phi.astype(np.float32)
        noise[0] /= np.sqrt(1 - phi**2)
        for t in range(1, n_frames):
            noise[t] += phi * noise[t - 1]
        return np.ascontiguousarray((noise @ self.modes.T.astype(np.float32)).transpose(1, 0, 2))

    def read_trait(self, scans: NDArray[np.floating], shift: Floats) -> Floats:
        """The sufficient statistic ``[people, k]``: trait plus noise of variance ``psi1(T/2) / a^2``.

        Parameters
        ----------
        scans : ``[people, frames, parcels]``
        shift : ``[people, modes]``
            Known effect of the scanner, which is taken off.
        """
        n_frames = scans.shape[1]
        series = scans @ self.modes.astype(scans.dtype)
        innovations = series[:, 1:] - self.phi.astype(scans.dtype) * series[:, :-1]
        power = np.einsum("itm,itm->im", innovations, innovations).astype(np.float64)
        power += (1 - self.phi**2) * series[:, 0].astype(np.float64) ** 2
        log_power = np.log(power / self.innovation) - np.log(2) - digamma(n_frames / 2) - shift
        return np.asarray(log_power @ self.loading / self.loudness)
