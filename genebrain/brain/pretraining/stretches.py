"""Contrast between two stretches of a scan for a bank of filters: which shapes are a person's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.brain.models.filters.bank import FilterBank
from genebrain.brain.pretraining.contrast import pair_logits
from genebrain.brain.pretraining.objectives import Batch, Objective, Outcome, partners_found

LOGIT_SCALE, LEAST = 2.0, 1e-3


class StretchContrast(Objective):
    """Two stretches of one scan find each other among those of other people (NT-Xent).

    Clips are ``[batch, 2, frames, parcels]``. What the bank says of a parcel is standardised over the batch, so that
    nothing but differences between people counts; the only weights beside the bank are the logit scale.
    """

    encoder: FilterBank
    clips, alone = 2, False

    def __init__(self, encoder: FilterBank) -> None:
        super().__init__()
        self.encoder = encoder
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE))

    def forward(self, batch: Batch, generator: torch.Generator, compare: bool = False) -> Outcome:
        """Loss over the pairs of the batch; nothing is drawn."""
        first, second = (self._embed(batch["clips"][:, i]) for i in (0, 1))
        scale = (self.logit_scale / 2).exp()
        logits, positive = pair_logits(scale * first, scale * second, 1.0, "dot", batch.get("subject"), self.ranks)
        outcome = partners_found(logits, positive)
        return outcome if compare else Outcome(outcome.loss)

    def _embed(self, clips: Tensor) -> Tensor:
        found = self.encoder.peakedness(clips)
        found = (found - found.mean(dim=0)) / (found.std(dim=0, correction=0) + LEAST)
        return functional.normalize((found * self.encoder.log_scale.exp()).flatten(1), dim=1)
