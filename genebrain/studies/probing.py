"""Probe a scan encoder on the people of a cohort, beside its random twin and the connectome.

The split is that of ``fit`` with the same settings and seed; weights that have seen the scans of its test people are
refused. Features are fitted on training people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genebrain.brain.encoders.build import random_twin
from genebrain.brain.images.cleaning import Cleaning
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.files import StorageError
from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.sides.brains.seen_scans import refuse_seen_people
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import EncoderSide
from genebrain.sides.workspace import Workspace
from genebrain.studies.probes import check_columns, compare_features, read_targets

RANDOM, CONNECTOME = "random weights", "connectome"


@dataclass(frozen=True)
class ProbeSettings:
    """What is predicted, and how the answer is tested.

    Parameters
    ----------
    targets : sequence of str
        Columns of the participants table.
    compare : sequence of {"random", "connectome"}
        What the encoder is compared with.
    random_seed : int
        Of the twin with random weights.
    n_bootstrap, n_permutations : int
    """

    targets: Sequence[str] = ("sex",)
    compare: tuple[str, ...] = ("random", "connectome")
    random_seed: int = 1
    n_bootstrap: int = 1000
    n_permutations: int = 1000

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "compare", tuple(self.compare))
        problems = []
        if not self.targets:
            problems.append("target=[] leaves nothing to predict")
        if unknown := set(self.compare) - {"random", "connectome"}:
            problems.append(f"compare={sorted(unknown)}: use random, connectome")
        if min(self.n_bootstrap, self.n_permutations) < 1:
            problems.append("n_bootstrap and n_permutations must be at least 1")
        if problems:
            raise UserError("probe: " + "; ".join(problems))


def probe_encoder(
    side: EncoderSide,
    workspace: Workspace,
    split_settings: SplitSettings,
    settings: ProbeSettings,
    *,
    seed: int = 0,
) -> Metrics:
    """Scores of linear and nearest-neighbour probes on test people, one entry per target.

    Raises
    ------
    UserError
        Columns that do not exist or cannot be predicted (all together), or weights that have seen test people.
    """
    check_columns(workspace.cohort.table, settings.targets)  # before hours of reading scans
    workspace.ingest(side)
    cohort, store = workspace.cohort, workspace.store
    split = split_settings.make(cohort, seed)
    refuse_seen_people(side, cohort, store, split.test)
    targets = read_targets(cohort.table, settings.targets, split.training, split.test)
    features: dict[str, dict[str, FloatArray]] = {}
    (embeddings,) = workspace.brain_inputs(side, split.training)
    notes: list[str] = []
    features[row_name(side)] = {"embedding": np.asarray(embeddings)}
    if side.path is None:
        notes.append(
            f"brain.path names no weights: {side.encoder} has random ones itself (seed {side.weights_seed}), a control"
        )
    if "random" in settings.compare:
        twin = random_twin(side.shared(cohort, store), settings.random_seed)
        (values,) = side.inputs(cohort, store, split.training, encoder=twin, progress=workspace.progress)
        features[RANDOM] = {"embedding": np.asarray(values)}
    if "connectome" in settings.compare:
        features |= _connectome(workspace, side.cleaning, split.training, notes)
    family = np.asarray(cohort.table["family"], np.int64)
    return {
        "encoder": workspace.brain_description(side),
        "split": {"training": len(split.training), "test": len(split.test), "seed": seed},
        "notes": notes,
        "targets": {
            target.name: compare_features(
                features, target, family, split.training, split.test,
                n_bootstrap=settings.n_bootstrap, n_permutations=settings.n_permutations, seed=seed,
            )
            for target in targets
        },
    }  # fmt: skip


def row_name(side: EncoderSide) -> str:
    """What the encoder is called among what it is compared with; random weights are no result of an encoder."""
    return side.encoder if side.path is not None else f"{side.encoder} ({RANDOM})"


def _connectome(
    workspace: Workspace, cleaning: Cleaning, training: IntArray, notes: list[str]
) -> dict[str, dict[str, FloatArray]]:
    """Tangent features and correlations of the same scans; left out, with a note, where they cannot be had."""
    side, everybody = ConnectomeSide(cleaning=cleaning), len(workspace.cohort)
    try:
        _, usable = side.ingest(workspace.cohort, workspace.store, progress=workspace.progress)
    except StorageError:  # no fault of the scans: the same command goes on
        raise
    except UserError as error:
        notes.append(f"no connectome to compare with: {error}")
        return {}
    if len(usable) < everybody:
        notes.append(f"no connectome to compare with: it reads the scans of {len(usable)} of {everybody} people only")
        return {}
    found: dict[str, FloatArray] = {}
    for kind in ("innovation", "correlation"):
        _, values = workspace.brain_features(replace(side, kind=kind), training)
        found |= values
    return {CONNECTOME: found}


def table(metrics: Metrics) -> str:
    """The scores as text, one line per target, source and probe."""
    lines = list(metrics["notes"])
    for name, found in metrics["targets"].items():
        people = found["people"]
        words = found["score"].replace("_", " ")
        lines.append(
            f"{name}: {words} of {people['test']} test people, chance {found['chance']:.2f} "
            f"({people['training']} training, {people['unknown']} unknown)"
        )
        width = max(map(len, found["probes"]))
        for source, kinds in found["probes"].items():
            for kind, row in kinds.items():
                low, high = row["ci"]
                line = f"  {source:{width}s} {kind:7s} {row['value']:6.3f} [{low:.3f}, {high:.3f}]  p = {row['p']:.3f}"
                for other, gap in row.get("better_than", {}).items():
                    line += f"; {gap['value']:+.3f} [{gap['ci'][0]:+.3f}, {gap['ci'][1]:+.3f}] to {other}"
                lines.append(line)
    return "\n".join(lines)
