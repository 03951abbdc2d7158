"""Predictors without a model: the error that a reconstruction must beat.

A signal ``[batch, parcels, frames]`` and a mask of the same shape (True = hidden) in, one prediction per predictor
out, made of visible values only. Neighbouring frames of a scan look alike, so a low reconstruction loss alone says
nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor


def trivial_predictions(signal: Tensor, hidden: Tensor) -> dict[str, Tensor]:
    """Predictions by name, each ``[batch, parcels, frames]``.

    Parameters
    ----------
    signal : Tensor
        ``[batch, parcels, frames]``.
    hidden : Tensor
        bool, the same shape: where the signal may not be looked at.

    Returns
    -------
    dict
        ``parcel mean``: mean of the parcel's visible frames. ``neighbouring frames``: straight line between the
        nearest visible frames of the parcel (the nearest one at the ends). ``other parcels``: mean of the parcels
        that are visible in the frame. ``zero``: the middle of the scale, into which a scaling by the whole window has
        put the hidden values too. Where nothing is visible: the mean of all that is visible in the window.
    """
    if signal.shape != hidden.shape or signal.ndim != 3:
        raise ValueError(
            f"signal and mask must be [batch, parcels, frames]: {list(signal.shape)}, {list(hidden.shape)}"
        )
    visible = ~hidden
    seen = torch.where(visible, signal, 0)
    everything = seen.sum(dim=(1, 2), keepdim=True) / visible.sum(dim=(1, 2), keepdim=True).clamp(min=1)

    def mean(dim: int) -> Tensor:
        count = visible.sum(dim=dim, keepdim=True)
        return torch.where(count > 0, seen.sum(dim=dim, keepdim=True) / count.clamp(min=1), everything)

    predicted = {"zero": torch.zeros_like(everything), "parcel mean": mean(2), "other parcels": mean(1)}
    predicted["neighbouring frames"] = torch.where(
        visible.any(dim=2, keepdim=True), _between(seen, visible), everything
    )
    return {name: value.expand_as(signal) for name, value in predicted.items()}


def _between(signal: Tensor, visible: Tensor) -> Tensor:
    """Linear interpolation along the frames between visible values."""
    frames = signal.shape[2]
    time = torch.arange(frames, device=signal.device).expand_as(signal)
    before = torch.where(visible, time, -1).cummax(dim=2).values
    after = torch.where(visible, time, frames).flip(2).cummin(dim=2).values.flip(2)
    # Beyond the first or the last visible frame there is one neighbour only.
    left = torch.where(before < 0, after, before).clamp(0, frames - 1)
    right = torch.where(after >= frames, before, after).clamp(0, frames - 1)
    share = (time - left) / (right - left).clamp(min=1)
    low, high = signal.gather(2, left), signal.gather(2, right)
    return low + (high - low) * share.to(signal.dtype)
