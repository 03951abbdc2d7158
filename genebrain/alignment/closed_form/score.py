"""Scores between a predicted and an observed brain vector.

The log-likelihood ratio (LLR) compares "these two belong to one person" with "they belong to two people" under
``u | genes ~ N(slope * ghat, inflation * s)`` and ``u ~ N(0, variance)``. It is written as a dot product of one
gene vector and one brain vector, so it costs no more than cosine and any retrieval code can use it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from genebrain.common.types import FloatArray

MAX_SLOPE = 1.2
"""Upper clip of the calibrated slope: more would mean that a held-out prediction is systematically too small."""


@dataclass(frozen=True)
class Calibration:
    """Three scalars, pooled over people and dimensions, estimated on held-out predictions.

    Attributes
    ----------
    variance : float
        Mean square of the observed brain latents ``u``.
    slope : float
        Regression slope of ``u`` on ``ghat``; 0 means that the genes predict nothing and makes the score constant.
    inflation : float
        Mean of ``(u - slope * ghat)^2 / s``: above 1 where the model underestimates its own error.
    """

    variance: float = 1.0
    slope: float = 1.0
    inflation: float = 1.0

    def as_dict(self) -> dict[str, float]:
        """Give the scalars as a JSON-ready dictionary."""
        return asdict(self)


def calibrate(ghat: FloatArray, u: FloatArray, s: FloatArray) -> Calibration:
    """Estimate the three calibration scalars from held-out predictions.

    Parameters
    ----------
    ghat, u : array [people, dims]
        Held-out prediction from the genes, and the observed latent.
    s : array [people, dims]
        Predictive variance that the model claims for ``u`` given the genes.
    """
    if not u.size:  # identical brains have no latent at all
        return Calibration(slope=0.0)
    variance = float(np.mean(u**2))
    power = float(np.sum(ghat**2 / s))
    slope = float(np.clip(np.sum(ghat * u / s) / power, 0.0, MAX_SLOPE)) if power > 1e-9 * u.size else 0.0
    inflation = float(np.mean((u - slope * ghat) ** 2 / s))
    if not (variance > 0 and inflation > 0):
        return Calibration(slope=0.0)
    return Calibration(variance, slope, inflation)


def llr_vectors(
    ghat: FloatArray | None, u: FloatArray | None, s: FloatArray, calibration: Calibration
) -> tuple[FloatArray | None, FloatArray | None]:
    """Gene and brain vectors whose dot product is the calibrated LLR: 0 speaks neither for one person nor for two.

    Parameters
    ----------
    ghat : array [people, dims] or None
        Prediction from the genes; None where only brain vectors are wanted.
    u : array [people, dims] or None
        Observed brain latents; None where only gene vectors are wanted.
    s : array [dims]
        Predictive variance per dimension, before inflation.

    Returns
    -------
    gene, brain : arrays [people, dims + 2]
        ``[slope*ghat/sqrt(s'), (sum log(variance/s') - |slope*ghat|^2/s')/2, 1]`` and
        ``[u/sqrt(s'), 1, -sum u^2 (1/s' - 1/variance)/2]``, with ``s'`` after inflation.
    """
    c, noise = calibration.slope, calibration.inflation * s
    gene = brain = None
    if ghat is not None:
        scaled = c * ghat / np.sqrt(noise)
        # The ratio of the two densities' heights, alike for all pairs: it ranks nobody, and gives zero its meaning.
        height = float(np.sum(np.log(calibration.variance / noise))) * float(c > 0)
        norm = 0.5 * (height - np.sum(scaled**2, axis=1, keepdims=True))
        gene = np.concatenate([scaled, norm, np.ones_like(norm)], axis=1)
    if u is not None:
        scaled = u / np.sqrt(noise)
        # Without a signal the brain's own norm must not rank anybody: the score is constant.
        weight = (1.0 / noise - 1.0 / calibration.variance) * float(c > 0)
        norm = -0.5 * (u**2 @ weight)[:, None]
        brain = np.concatenate([scaled, np.ones_like(norm), norm], axis=1)
    return gene, brain


def unit_rows(x: FloatArray) -> FloatArray:
    """Scale each row to length one; an all-zero row stays zero, so that it scores the same against everybody."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)
