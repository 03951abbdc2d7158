"""Single scans of training people, as rows of their own beside the people.

Every scan of a training person who has several, through the features that were fitted on people (means over scans).
Contrastive training may read these rows instead of the person's (``brain.positives=scans``); whatever is fitted,
chosen or judged stays on people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genebrain.brain.connectome.base import needed
from genebrain.brain.encoders.embed import embed_windows, embeddings_folder
from genebrain.cohort.participants import Cohort
from genebrain.common.types import FloatArray, IntArray
from genebrain.sides.connectome import ConnectomeSide, person_scans
from genebrain.sides.person_vectors import ready_encoder
from genebrain.sides.readings import Readings
from genebrain.sides.scans import AnyFeature, BrainSide, EncoderSide

AT_A_TIME = 256
"""Scans whose numbers are in memory together before they become features."""


@dataclass(frozen=True)
class SingleScans:
    """Scans of people who have several.

    Attributes
    ----------
    person : int array
        Row of the person, ``[scans]``.
    brain : mapping
        Features of each scan by candidate name, float32 ``[scans, features]``; empty where there is no scan.
    """

    person: IntArray
    brain: Mapping[str, FloatArray]

    def rows(self, people: IntArray, n_people: int) -> IntArray:
        """Rows of training: people with one scan, and behind all ``n_people`` the scans of the others."""
        of_scans = n_people + np.flatnonzero(np.isin(self.person, people))
        return np.concatenate([people[~np.isin(people, self.person)], of_scans])

    def counted(self, people: IntArray) -> dict[str, int]:
        """How many of these people are trained on scan by scan, and on how many scans."""
        of_people = self.person[np.isin(self.person, people)]
        return {"people": len(people), "people_scan_by_scan": len(np.unique(of_people)), "scans": len(of_people)}


def single_scans(
    side: BrainSide,
    cohort: Cohort,
    store: Path,
    training: IntArray,
    fitted: Mapping[str, AnyFeature],
    *,
    progress: bool = True,
) -> SingleScans:
    """Scans of those of the ``training`` people who have several, block by block.

    Parameters
    ----------
    fitted : mapping
        Candidates fitted on the training people.
    """
    numbers = _moments if isinstance(side, ConnectomeSide) else _embeddings
    person, blocks = numbers(side, cohort, store, training, progress)  # type: ignore[arg-type]
    parts: dict[str, list[FloatArray]] = {name: [] for name in fitted}
    for inputs in blocks:
        for name, feature in fitted.items():
            parts[name].append(feature.transform(*needed(feature, inputs)))
    return SingleScans(person, Readings({name: np.concatenate(part) for name, part in parts.items() if part}))


Numbers = tuple[IntArray, Iterator[tuple[Any, ...]]]
"""Person of each scan, and blocks of what is computed of scans before anything is fitted."""


def _moments(side: ConnectomeSide, cohort: Cohort, store: Path, training: IntArray, progress: bool) -> Numbers:
    scans = side.scans(cohort, store)
    person, blocks = _several(person_scans(cohort, scans), training)
    return person, (side.summaries(scans, keys, progress=progress) for keys in blocks)


def _embeddings(side: EncoderSide, cohort: Cohort, store: Path, training: IntArray, progress: bool) -> Numbers:
    encoder, bank = ready_encoder(side, cohort, store, training)
    scans = person_scans(cohort, side.scans(cohort, store))
    planned = bank.plan([key for row in training for key in scans[row]])
    person, blocks = _several([[key for key in keys if key in planned] for keys in scans], training)
    folder = embeddings_folder(store / "scan_embeddings", encoder, bank)

    def embedded(keys: list[str]) -> tuple[FloatArray]:
        chosen = {key: planned[key] for key in keys}
        found = embed_windows(encoder, bank, chosen, folder, batch=side.batch, device=side.device, progress=progress)
        return (np.stack([found[key].mean(axis=0, dtype=np.float64) for key in keys]).astype(np.float32),)

    return person, (embedded(keys) for keys in blocks)


def _several(scans: Sequence[Sequence[str]], rows: IntArray) -> tuple[IntArray, list[list[str]]]:
    """Scans of those of the people (``rows``) who have several: row of the person of each, and keys in blocks."""
    found = [(row, key) for row in np.sort(rows).tolist() if len(scans[row]) > 1 for key in scans[row]]
    keys = [key for _, key in found]
    blocks = [keys[start : start + AT_A_TIME] for start in range(0, len(keys), AT_A_TIME)]
    return np.array([row for row, _ in found], np.int64), blocks
