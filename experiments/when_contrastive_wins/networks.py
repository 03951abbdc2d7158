"""A scan encoder of one's own: networks of parcels learned by contrast between moments, and how each holds together.

    genebrain pretrain brain=brainlm brain.encoder=networks plugins=[networks.py] run=runs/networks
    genebrain fit brain=brainlm brain.encoder=networks brain.path=runs/networks/encoder plugins=[networks.py]

Every parcel belongs to each network by a share (a softmax). The *coherence* of a network at a moment is the power of
its sum over the sum of its powers: 1 over the number of parcels if they move alone, 1 if they move as one. Training is
InfoNCE between moments of one scan: the coherences of all networks must find those a few frames later among other
moments of the scan. Nothing of the person helps there, so a cohort has as many examples as frames. A person's
vector is of second order: means, variances and autocorrelations of signals and coherences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain import SCAN_ENCODERS, EncoderFamily, RegisteredObjective
from genebrain.brain.pretraining.objectives import Objective, Outcome
from genebrain.brain.pretraining.settings import OBJECTIVES

LAGS = (1, 2, 4, 8, 16)
"""Frames between the moments of an autocorrelation."""
SMOOTH, AHEAD, MOMENTS = 3, 4, 48
"""Frames that a coherence is of; frames to the moment that is to be found; moments of a scan that are compared."""
FRAMES = 200
"""Of a window; further lengths by ``brain.windows.seconds``."""
TINY = 1e-3


@dataclass(frozen=True)
class Sizes:
    """Sizes of the encoder."""

    n_parcels: int
    networks: int = 16


class Networks(nn.Module):
    """Windows ``[windows, frames, parcels]`` to ``[windows, networks * (3 + 2 * lags)]``."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.hidden_size = config.networks * (3 + 2 * len(LAGS))
        self.membership = nn.Parameter(torch.randn(config.networks, config.n_parcels))

    def moments(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Signal ``[windows, frames, networks]`` and coherence (2 frames fewer) of every network."""
        x = windows - windows.mean(dim=1, keepdim=True)
        x = x / x.square().mean(dim=1, keepdim=True).sqrt().clamp(min=TINY)
        share = functional.normalize(self.membership.softmax(dim=0), dim=1)
        signal = functional.linear(x, share)
        together, each = (smooth(one) for one in (signal.square(), functional.linear(x.square(), share.square())))
        return signal, together / (each + TINY)

    def forward(self, windows: Tensor) -> Tensor:
        """Second-order summary of the moments."""
        signal, coherence = self.moments(windows)
        mean = coherence.mean(dim=1)
        return torch.cat([mean, *second_order(signal), *second_order(coherence - mean[:, None])], dim=1)


class MomentContrast(Objective):
    """InfoNCE between moments of one scan; clips are ``[batch, 1, frames, parcels]``."""

    def __init__(self, encoder: Networks) -> None:
        super().__init__()
        self.encoder: Networks = encoder
        self.log_scale = nn.Parameter(torch.zeros(encoder.membership.shape[0]))

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator, compare: bool = False) -> Outcome:
        """Loss of a batch."""
        _, found = self.encoder.moments(batch["clips"][:, 0])
        found = found - found.mean(dim=1, keepdim=True)
        found = found / (found.square().mean(dim=1, keepdim=True).sqrt() + TINY)
        now = torch.randint(found.shape[1] - AHEAD, (MOMENTS,), generator=generator, device=generator.device)
        first, second = found[:, now] * self.log_scale.exp(), found[:, now + AHEAD]
        logits = torch.einsum("bmn,bkn->bmk", first, second) / found.shape[2] ** 0.5
        partner = torch.arange(MOMENTS, device=logits.device).expand(len(logits), -1)
        loss = functional.cross_entropy(logits.flatten(0, 1), partner.flatten())
        alike = functional.cross_entropy(torch.zeros_like(logits).flatten(0, 1), partner.flatten())
        return Outcome(loss, {"all moments alike": alike} if compare else {})


def smooth(x: Tensor) -> Tensor:
    """Running mean over frames, ``[windows, frames - 2, networks]``."""
    return functional.avg_pool1d(x.transpose(1, 2), SMOOTH, stride=1).transpose(1, 2)


def second_order(x: Tensor) -> list[Tensor]:
    """Log variance and autocorrelations of ``x [windows, frames, networks]``, each ``[windows, networks]``."""
    variance = x.square().mean(dim=1) + 1e-6
    return [variance.log(), *((x[:, lag:] * x[:, :-lag]).mean(dim=1) / variance for lag in LAGS)]


FAMILY = EncoderFamily("parcels", Sizes, Networks, lambda scans: Sizes(int(scans.n_parcels or 0)), tiny_frames=FRAMES)
if "networks" not in SCAN_ENCODERS:
    SCAN_ENCODERS.add("networks", FAMILY)
    OBJECTIVES.add("networks", RegisteredObjective(lambda module, _: MomentContrast(module)))
