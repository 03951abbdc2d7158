"""Scans through an encoder that is trained: windows read from the store, averaged per scan and person.

Contract: row numbers of people in, features of the brain tower out. In training a few windows of each person are
drawn anew at every step, from the step's seed; in evaluation all windows count, as for the frozen encoder. Windows
are read and encoded again in the backward pass, so memory holds one micro-batch whatever the number of people. Scans
belong to the store: no state dict holds them. What this module does NOT know: genomes, losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from genebrain.alignment.closed_form import ClosedForm
from genebrain.alignment.recompute import recomputed
from genebrain.alignment.tuned_encoder import TunedEncoder
from genebrain.brain.window_bank import WindowBank
from genebrain.brain.windows import Window
from genebrain.cohort.brain_side import person_scans
from genebrain.cohort.embedding_feature import EmbeddingFeature
from genebrain.cohort.encoder_side import EncoderSide
from genebrain.cohort.participants import Cohort
from genebrain.cohort.tower_inputs import EncoderMaker
from genebrain.types import IntArray


@dataclass(frozen=True)
class WeightedWindow:
    """A window of a person, and its share of the person's vector before normalisation."""

    key: str
    window: Window
    weight: float


class TunedScans(nn.Module):
    """Row numbers of people to features of their scans, through an encoder in training.

    Parameters
    ----------
    encoder : TunedEncoder
        Around a :class:`~genebrain.brain.window_encoder.WindowEncoder`.
    bank : WindowBank
    people : list of lists of WeightedWindow
        By row number.
    feature : EmbeddingFeature
        From embeddings to what the tower reads, fitted on training people.
    train_windows : int
        Windows of a person that a training step sees.
    batch : int
        Windows of a micro-batch.

    Attributes
    ----------
    encoded : int
        Windows of the last call.
    """

    mean: Tensor
    factor: Tensor
    axes: Tensor | None

    def __init__(
        self,
        encoder: TunedEncoder,
        bank: WindowBank,
        people: list[list[WeightedWindow]],
        feature: EmbeddingFeature,
        train_windows: int,
        batch: int,
    ) -> None:
        super().__init__()
        self.encoder, self.train_windows, self.batch = encoder, train_windows, batch
        self.encoded = 0
        self._bank, self._people = bank, people
        state = {name: torch.from_numpy(np.asarray(values, np.float64)) for name, values in feature.state().items()}
        for name in ("mean", "factor", "axes"):
            self.register_buffer(name, state.get(name))
        self.out_features = len(self.mean) if self.axes is None else self.axes.shape[1]

    def forward(self, rows: Tensor) -> Tensor:
        """``[batch] -> [batch, out_features]``, float32."""
        chosen = [self._drawn(self._people[row]) for row in rows.tolist()]
        # Windows of one length pass the encoder together.
        flat = sorted(
            ((one, owner) for owner, listed in enumerate(chosen) for one in listed), key=lambda x: x[0].window.frames
        )
        self.encoded = len(flat)
        parts = []
        for _, alike in groupby(flat, key=lambda one: one[0].window.frames):
            windows = [one for one, _ in alike]
            for start in range(0, len(windows), self.batch):
                # The tensor only says on which device random states are restored: what is read is not kept.
                encode = partial(self._encode, windows[start : start + self.batch])
                parts.append(recomputed(encode, rows[:1]))
        owners = torch.tensor([owner for _, owner in flat], device=rows.device)
        totals = [sum(one.weight for one in listed) for listed in chosen]
        weights = torch.tensor([one.weight / totals[owner] for one, owner in flat], dtype=torch.float64)
        weighted = torch.cat(parts).double() * weights[:, None].to(rows.device)
        people = torch.zeros(len(rows), weighted.shape[1], dtype=torch.float64, device=rows.device)
        people = (people.index_add(0, owners, weighted) - self.mean) * self.factor
        return (people if self.axes is None else people @ self.axes).float()

    def _drawn(self, windows: list[WeightedWindow]) -> list[WeightedWindow]:
        if not self.training or len(windows) <= self.train_windows:
            return windows
        return [windows[i] for i in torch.randperm(len(windows))[: self.train_windows].tolist()]

    def _encode(self, windows: list[WeightedWindow], place: Tensor) -> Tensor:
        values = np.stack([self._bank.read(one.key, one.window) for one in windows])
        out: Tensor = self.encoder.model(torch.from_numpy(values).to(place.device))
        return out


def _planned_people(side: EncoderSide, cohort: Cohort, store: Path, bank: WindowBank) -> list[dict[str, list[Window]]]:
    """For training: per person of the cohort, the windows of each of the person's scans."""
    scans = person_scans(cohort, side.scans(cohort, store))
    planned = bank.plan([key for keys in scans for key in keys])
    return [{key: planned[key] for key in keys if key in planned} for keys in scans]


def scan_encoder(
    side: EncoderSide,
    cohort: Cohort,
    store: Path,
    features: Mapping[str, EmbeddingFeature],
    training: IntArray,
    seed: int,
) -> EncoderMaker:
    """Maker of the trained encoder of a cohort's scans.

    Parameters
    ----------
    features : mapping
        Candidates fitted on the training people; the closed form says which is used.
    training : int array
        Rows whose scans give the statistics of ``scaling=cohort``.
    seed : int
        Of the adapters.
    """

    def make(closed: ClosedForm, rows: IntArray) -> TunedScans:
        side.description(cohort, store)  # of the weights as they are now, before they are trained
        model, bank = side.ready(cohort, store, training, side.build(cohort, store))
        encoder = TunedEncoder(model, side.tuning, side.lora, seed, model.fingerprint())
        weights = side.scan_weights(cohort, store)
        people = [
            [
                WeightedWindow(key, window, weights.get(key, 1.0) / len(windows))
                for key, windows in scans.items()
                for window in windows
            ]
            for scans in _planned_people(side, cohort, store, bank)
        ]
        tuned = TunedScans(encoder, bank, people, features[closed.chosen["brain"]], side.train_windows, side.batch)
        encoder.keep_reached(lambda: tuned(torch.zeros(1, dtype=torch.int64)))
        return tuned

    return make
