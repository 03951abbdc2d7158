"""More examples than pairs: mixtures of two people, and windows of a scan.

*Mixup*: in every batch the features of both sides are mixed with those of another pair by one and the same share, and
the mixtures are the pairs of InfoNCE (Zhang et al. 2018, arXiv 1710.09412). *Windows*: contrastive training reads the
whole scan and four halves of it as scans of their own, all positives of the person's genome, by the package's own rows
of single scans (``brain.positives=scans``). Closed form, validation and test people stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from genebrain.alignment.closed_form.latents import JOINED
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.pairs import PairDataset
from genebrain.sides.people import Subjects
from genebrain.sides.single_scans import single_scans
from genebrain.sides.workspace import Workspace

WINDOWS = 4


def mixed(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """``share`` of each row and the rest of its partner's, ``[rows, features]``."""
    return share[:, None] * values + (1 - share[:, None]) * values[partner]


class MixedPairs(PairDataset):
    """Pairs whose batches are mixtures, other than batches of ``apart`` people alone (validation)."""

    def __init__(self, pairs: PairDataset, apart: set[int], strength: float, seed: int) -> None:
        people = pairs.people
        super().__init__(people["gene"], pairs.brain, people["genome_id"], people["family_id"], pairs.person)
        self.apart, self.strength = apart, strength
        self.rng = np.random.default_rng(seed)

    def __getitem__(self, rows: list[int]) -> dict[str, Tensor]:
        """A batch."""
        batch = super().__getitem__(rows)
        if self.apart.issuperset(rows):
            return batch
        share = torch.from_numpy(self.rng.beta(self.strength, self.strength, len(rows))).float()
        share = torch.maximum(share, 1 - share)  # the ids are those of the larger part
        partner = torch.from_numpy(self.rng.permutation(len(rows)))
        return batch | {side: mixed(batch[side], partner, share) for side in ("gene", "brain")}


@dataclass(frozen=True)
class MixedSubjects(Subjects):
    """People whose pairs are mixed in training."""

    apart: Any = ()
    strength: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, subjects: Subjects, apart: Any, strength: float, seed: int) -> MixedSubjects:
        """The same people."""
        own = {one.name: getattr(subjects, one.name) for one in fields(Subjects)}
        return cls(**own, apart=apart, strength=strength, seed=seed)

    def pairs(self, closed: Any) -> PairDataset:
        """As of :class:`Subjects`, mixed."""
        return MixedPairs(super().pairs(closed), set(np.asarray(self.apart).tolist()), self.strength, self.seed)


def cut(path: Path, folder: Path, people: set[str]) -> Path:
    """The same cohort, where these people have their scan and overlapping halves of it as scans."""
    scans = pd.read_csv(path.parent / "scans.tsv", sep="\t")
    (folder / "windows").mkdir(parents=True)
    rows = []
    for number, row in enumerate(scans.to_dict("records")):
        place = path.parent / row["path"]
        rows.append({**row, "session": 1, "path": str(place)})
        if row["participant_id"] not in people:
            continue
        whole = np.load(place)
        half = len(whole) // 2
        for part, start in enumerate(np.linspace(0, len(whole) - half, WINDOWS).astype(int)):
            place = folder / "windows" / f"{number}-{part}.npy"
            np.save(place, whole[start : start + half])
            rows.append({**row, "session": part + 2, "path": str(place)})
    pd.DataFrame(rows).to_csv(folder / "scans.tsv", sep="\t", index=False)
    words = yaml.safe_load(path.read_text())
    named = {key: str(path.parent / value) for key, value in words.items() if (path.parent / str(value)).exists()}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(words | named | {"scans": str(folder / "scans.tsv")}))
    return folder / "cohort.yaml"


def with_windows(
    subjects: Subjects, workspace: Workspace, side: ConnectomeSide, path: Path, folder: Path, training: Any, name: str
) -> Subjects:
    """People whose training rows are their scans and windows of these.

    Features are those of the candidate ``name``, fitted on the whole scans.
    """
    people = set(workspace.cohort.table["participant_id"].iloc[training])
    pieces = Workspace(cut(path, folder, people), folder / "store", progress=False)
    pieces.ingest(side)
    known, _ = workspace.brain_features(side, training)
    fitted = {part: known[part] for part in name.split(JOINED)}
    return replace(subjects, scans=single_scans(side, pieces.cohort, pieces.store, training, fitted, progress=False))
