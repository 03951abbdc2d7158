"""Scans through an encoder that is trained: windows read from the store, averaged per scan and person.

Row numbers of people in, features of the brain tower out. In training a few windows of each person are drawn anew at
every step, from the step's seed; in evaluation all windows count, as for the frozen encoder. Windows are read and
encoded again in the backward pass, so memory holds one micro-batch whatever the number of people. Scans belong to
the store: no state dict holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.brain.windows.bank import WindowBank
from genebrain.cohort.participants import Cohort
from genebrain.common.types import IntArray
from genebrain.sides.connectome import person_scans
from genebrain.sides.embedding_feature import EmbeddingFeature
from genebrain.sides.people import EncoderMaker
from genebrain.sides.person_vectors import ready_encoder, vectors_of_windows
from genebrain.sides.scans import EncoderSide
from genebrain.sides.tuned.person_windows import PersonWindows, StoredScans, WeightedWindow
from genebrain.training.recompute import recomputed
from genebrain.training.tuned_encoder import TunedEncoder


class TunedScans(PersonWindows):
    """Row numbers of people to features of their scans, through an encoder in training.

    Parameters
    ----------
    encoder : TunedEncoder
        Around a :class:`~genebrain.brain.encoders.base.WindowEncoder`.
    bank : WindowBank
    people, feature, attention
        As in :class:`~genebrain.sides.tuned.person_windows.PersonWindows`.
    train_windows : int
        Windows of a person that a training step sees.
    batch : int
        Windows of a micro-batch.

    Attributes
    ----------
    encoded : int
        Windows of the last call.
    """

    def __init__(
        self,
        encoder: TunedEncoder,
        bank: WindowBank,
        people: list[list[WeightedWindow]],
        feature: EmbeddingFeature,
        train_windows: int,
        batch: int,
        *,
        attention: bool = False,
    ) -> None:
        super().__init__(people, feature, attention=attention)
        self.encoder, self.train_windows, self.batch = encoder, train_windows, batch
        self.encoded = 0
        self._bank = bank

    def chosen(self, row: int) -> list[WeightedWindow]:
        """In training a few windows, drawn from the seed of the step; in evaluation all."""
        windows = self._people[row]
        if not self.training or len(windows) <= self.train_windows:
            return windows
        return [windows[i] for i in torch.randperm(len(windows))[: self.train_windows].tolist()]

    def vectors(self, windows: list[WeightedWindow], place: Tensor) -> Tensor:
        """Encoded micro-batch by micro-batch, and again in the backward pass."""
        self.encoded = len(windows)
        parts = []
        for _, alike in groupby(windows, key=lambda one: one.window.frames):
            listed = list(alike)
            for start in range(0, len(listed), self.batch):
                # The tensor only says on which device random states are restored: what is read is not kept.
                parts.append(recomputed(partial(self._encode, listed[start : start + self.batch]), place))
        return torch.cat(parts)

    def _encode(self, windows: list[WeightedWindow], place: Tensor) -> Tensor:
        values = np.stack([self._bank.read(one.key, one.window) for one in windows])
        out: Tensor = self.encoder.model(torch.from_numpy(values).to(place.device))
        return out


def _people(side: EncoderSide, cohort: Cohort, store: Path, bank: WindowBank) -> list[list[WeightedWindow]]:
    """Per person of the cohort, the windows of all scans and what each of them weighs."""
    scans = person_scans(cohort, side.scans(cohort, store))
    planned = bank.plan([key for keys in scans for key in keys])
    weights = side.scan_weights(cohort, store)
    return [
        [
            WeightedWindow(key, window, weights.get(key, 1.0) / len(planned[key]), number)
            for key in keys
            if key in planned
            for number, window in enumerate(planned[key])
        ]
        for keys in scans
    ]


def scan_encoder(
    side: EncoderSide,
    cohort: Cohort,
    store: Path,
    features: Mapping[str, EmbeddingFeature],
    training: IntArray,
    seed: int,
) -> EncoderMaker:
    """Maker of what is trained between a cohort's scans and the brain tower: the encoder, the weights of windows.

    Parameters
    ----------
    features : mapping
        Candidates fitted on the training people; the closed form says which is used.
    training : int array
        Rows whose scans give the statistics of ``scaling=cohort``.
    seed : int
        Of adapters and attention.
    """
    attention = side.aggregate == "attention"

    def make(closed: ClosedForm, rows: IntArray) -> PersonWindows:
        feature = features[closed.chosen["brain"]]
        if side.tuning == "frozen":
            embeddings, bank = vectors_of_windows(side, cohort, store, training)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return StoredScans(embeddings, _people(side, cohort, store, bank), feature)
        side.description(cohort, store)  # of the weights as they are now, before they are trained
        model, bank = ready_encoder(side, cohort, store, training, side.build(cohort, store))
        encoder = TunedEncoder(model, side.tuning, side.lora, seed, model.fingerprint())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tuned = TunedScans(
                encoder, bank, _people(side, cohort, store, bank), feature, side.train_windows, side.batch,
                attention=attention,
            )  # fmt: skip
        encoder.keep_reached(lambda: tuned(torch.zeros(1, dtype=torch.int64)))
        return tuned

    return make
