"""Bank of temporal filters that all parcels share: how peaked the response to each is.

A filter of about the shape of an event answers it with a peak; the same power without that shape gives a flat response.
Kurtosis of the response tells the two apart where powers and covariances are equal: sweeps from their mirror image in
time, rare large events from frequent small ones. A hundred weights: people cannot be learned by heart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.brain.models.filters.config import FilterBankConfig

TINY = 1e-6


class FilterBank(nn.Module):
    """Windows ``[windows, frames, parcels]`` to ``[windows, parcels * filters]``.

    Parameters
    ----------
    config : FilterBankConfig

    Attributes
    ----------
    shapes : Parameter [filters, 1, length]
        Used without their mean, at unit length.
    log_scale : Parameter [filters]
        How much each filter counts in the vector.
    """

    def __init__(self, config: FilterBankConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size = config.n_parcels * config.filters
        self.shapes = nn.Parameter(torch.randn(config.filters, 1, config.length))
        self.log_scale = nn.Parameter(torch.zeros(config.filters))

    def peakedness(self, windows: Tensor) -> Tensor:
        """Log kurtosis of every parcel's response to every filter, ``[windows, parcels, filters]``."""
        series = windows.mT - windows.mT.mean(dim=2, keepdim=True)
        series = series / (series.square().mean(dim=2, keepdim=True).sqrt() + TINY)
        shapes = functional.normalize(self.shapes - self.shapes.mean(dim=2, keepdim=True), dim=2)
        response = functional.conv1d(series.flatten(0, 1)[:, None], shapes)
        power, fourth = (response.pow(p).mean(dim=2) for p in (2, 4))
        return ((fourth + TINY) / (power.square() + TINY)).log().unflatten(0, windows.shape[::2])

    def forward(self, windows: Tensor) -> Tensor:
        """Vectors of windows."""
        return (self.peakedness(windows) * self.log_scale.exp()).flatten(1)
