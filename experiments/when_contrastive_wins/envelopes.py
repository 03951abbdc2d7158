"""A scan encoder of one's own: learned spatial filters, and how their signals and their loudness go on in time.

    genebrain fit brain=brainlm brain.encoder=envelopes brain.tuning=full plugins=[envelopes.py]

Filters over parcels, then two poolings of second order: the variance and autocorrelations of each filtered signal, and
the same of the logarithm of its power. The second tells how long states last, which leaves every covariance of a scan
as it is. Written as a user would write it: one file, one registry line.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genebrain import SCAN_ENCODERS, EncoderFamily

LAGS = (1, 2, 4, 8, 16)
"""Frames."""
SMOOTH = 3
FLOOR = 0.1
"""Added to the power, relative to its mean: the logarithm of nothing is not asked for."""
FRAMES = 200


@dataclass(frozen=True)
class Sizes:
    """Sizes of the encoder."""

    n_parcels: int
    filters: int = 24


class Envelopes(nn.Module):
    """Windows ``[windows, frames, parcels]`` to ``[windows, filters * (2 + 2 * lags)]``."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.hidden_size = config.filters * (2 + 2 * len(LAGS))
        self.filters = nn.Linear(config.n_parcels, config.filters, bias=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Logarithms of variances, and autocorrelations, of signals and of their loudness."""
        x = windows - windows.mean(dim=1, keepdim=True)
        x = x / x.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-6)
        signal = torch.nn.functional.linear(x, nn.functional.normalize(self.filters.weight, dim=1))
        power = signal.square()
        smooth = nn.functional.avg_pool1d(power.transpose(1, 2), SMOOTH, stride=1).transpose(1, 2)
        loudness = (smooth + FLOOR * power.mean(dim=1, keepdim=True)).log()
        return torch.cat([*second_order(signal), *second_order(loudness - loudness.mean(dim=1, keepdim=True))], dim=1)


def second_order(x: Tensor) -> list[Tensor]:
    """Log variance and autocorrelations of ``x [windows, frames, filters]``, each ``[windows, filters]``."""
    variance = x.square().mean(dim=1) + 1e-6
    return [variance.log(), *((x[:, lag:] * x[:, :-lag]).mean(dim=1) / variance for lag in LAGS)]


FAMILY = EncoderFamily("parcels", Sizes, Envelopes, lambda scans: Sizes(int(scans.n_parcels or 0)), tiny_frames=FRAMES)
if "envelopes" not in SCAN_ENCODERS:
    SCAN_ENCODERS.add("envelopes", FAMILY)
