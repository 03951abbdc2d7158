"""Log spectra of the parcels as features: how strongly each parcel moves, and at which frequencies.

Six triangular bands lie on an axis that is half equal power and half equal width, learned from training people. Each
feature is divided by the noise that a log power of so many coefficients has, so that bands count by what they tell.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from genebrain.brain.connectome.band_powers import EDGES
from genebrain.brain.connectome.base import BeyondMoments
from genebrain.brain.connectome.missing_parcels import Float64
from genebrain.brain.connectome.moments import Float32
from genebrain.common.types import FloatArray, UserError

BANDS = 6
FLOOR = 1e-12
"""Added to powers before the logarithm."""


class LogSpectrum(BeyondMoments):
    """Log power of every shared parcel in triangular bands, ``6 x parcels`` features.

    Parameters
    ----------
    n_bands : int
    """

    powers_needed = True
    learned = ("weights", "noise", "mean")
    words = "strength and rhythm of each parcel, log spectra"

    def __init__(self, n_bands: int = BANDS) -> None:
        super().__init__()
        self.n_bands = n_bands

    def learn(self, *powers_and_seconds: FloatArray) -> None:
        """Learn the axis and the mean of training people.

        Parameters
        ----------
        powers_and_seconds
            ``[people, fine bands, parcels]``, see :func:`~genebrain.brain.connectome.band_powers.band_powers`, and the
            length of all scans of a person, ``[people]``.
        """
        powers, seconds = _given(powers_and_seconds)
        keep = np.flatnonzero(self.fitted(powers.shape[2]).used)
        # Bands that every training scan reaches: those below half of the slowest sampling frequency.
        by_person = np.any(powers > 0, axis=2)
        known = np.any(by_person, axis=1)
        reached = np.all(by_person[known], axis=0) & bool(known.any())
        if reached.sum() < 2:
            raise UserError("the scans share fewer than two frequency bands: too slow, or without a time step (tr)")
        width = np.diff(EDGES) * reached
        relative = powers[known][:, :, keep].astype(np.float64) * width[:, None]
        total = relative.sum(axis=1, keepdims=True)
        share = np.mean(relative / np.where(total > 0, total, 1), axis=(0, 2))
        step = share / share.sum() / 2 + width / width.sum() / 2
        position = self.n_bands * (np.cumsum(step) - step / 2)
        triangles = np.maximum(0.0, 1 - np.abs(position - (np.arange(self.n_bands)[:, None] + 0.5))) * reached
        coefficients = 2 * width * float(np.median(np.asarray(seconds)[known]))
        weights = triangles * coefficients
        count = weights.sum(axis=1)
        self.weights = weights / count[:, None]
        degrees = np.maximum(count**2 / (triangles**2 * coefficients).sum(axis=1), 1.0)
        self.noise = np.sqrt(2 / degrees)
        logs, present = self._logs(powers)
        self.mean = (logs * present).sum(axis=0) / np.maximum(present.sum(axis=0), 1)

    def features(self, *powers_and_seconds: FloatArray) -> Float32:
        """Features of any people, float32 ``[people, bands x shared parcels]``."""
        powers, _ = _given(powers_and_seconds)
        logs, present = self._logs(powers)
        self.report["subjects_filled"] = int((~present).any(axis=(1, 2)).sum())
        filled = np.where(present, logs, self.mean)
        return filled.reshape(len(filled), -1).astype(np.float32)

    def _logs(self, powers: FloatArray) -> tuple[Float64, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Scaled log powers ``[people, bands, parcels]``, and which of them are known."""
        keep = np.flatnonzero(self.fitted(powers.shape[2]).used)
        banded = np.einsum("bf,nfp->nbp", self.weights, powers[:, :, keep].astype(np.float64), optimize=True)
        # A slower scan than those of training reaches part of a band: the mean over that part, if it is the most of it.
        covered = np.any(powers > 0, axis=2) @ self.weights.T
        present = (banded > 0) & (covered > 0.5)[:, :, None]
        return np.log(banded / np.maximum(covered, 0.5)[:, :, None] + FLOOR) / self.noise[:, None], present

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        return cls(len(state["noise"])).restore(state)


def _given(powers_and_seconds: tuple[FloatArray, ...]) -> tuple[FloatArray, FloatArray]:
    if len(powers_and_seconds) < 2:
        raise ValueError("log spectra are made of a ScanSummary (powers and seconds), not of moments alone")
    return powers_and_seconds[0], powers_and_seconds[1]
