"""Fit of an experiment on a cohort into a run folder: split, features, recipe, checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.alignment.model import AlignmentModel
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.alignment.towers.registry import POOLINGS
from genebrain.brain.connectome.side_by_side import joined
from genebrain.brain.store.report import lasting
from genebrain.cohort.column_roles import strata_columns
from genebrain.cohort.participants import Cohort
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.cohort.splits.splits import Split
from genebrain.common.checksums import verify_run
from genebrain.common.files import replacing
from genebrain.common.reading import read_history
from genebrain.common.run_folder import RunFolder, write_json
from genebrain.common.tensor_files import write_tensors
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.evaluation.report.model_card import write_model_card
from genebrain.runs.care.needs import NEEDS, write_needs
from genebrain.runs.care.withdrawn import WITHDRAWN, blocks_of_then, withdrawn_from
from genebrain.runs.contents import begin, claim_contents, own_split
from genebrain.runs.recipe import NO_CLOSED_FORM, closed_form_settings, fit_alignment, race_of_kinds
from genebrain.runs.saved_features import FEATURES, read_features
from genebrain.sides.brains.seen_scans import refuse_seen_people
from genebrain.sides.genes.readings import filled
from genebrain.sides.people import EncoderMaker, Subjects
from genebrain.sides.pooling import GenePooling
from genebrain.sides.readings import Readings
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.sides.vectors.genes import VectorGenes, refuse_trained
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.sides.workspace import Workspace

log = logging.getLogger(__name__)

COMMON_SHIFT = (
    "note: training moves what people share of an embedding a hundred times more than what tells them apart; with "
    "genetics.delta=true (differences to the reference) the shared part cancels"
)


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the numbers of a run, besides the cohort."""

    genetics: GenomeSide
    brain: BrainSide
    pooling: GenePooling
    alignment: AlignmentSettings
    trainer: TrainerSettings
    split: SplitSettings
    seed: int = 0

    def __post_init__(self) -> None:
        words = {field.name: getattr(self, field.name) for field in fields(self)}
        if problems := [f"{name}={word!r}" for name, word in words.items() if isinstance(word, str)]:
            raise UserError(
                f"{', '.join(problems)}: in Python a settings object is wanted, such as genebrain.GeneSide(...), "
                "genebrain.ConnectomeSide(...), genebrain.EncoderSide(...); words are for the command line"
            )

    def check(self) -> None:
        """Raise a UserError for parts that do not go together, before any work."""
        if isinstance(self.genetics, VectorGenes):
            refuse_trained(self.pooling)
        tuned = [f"{side}.tuning={getattr(self, side).tuning}" for side in self.tuned_sides]
        if getattr(self.brain, "aggregate", "mean") == "attention":
            tuned.append("brain.aggregate=attention")
        if tuned and self.alignment.train == "none":
            raise UserError(
                f"{' and '.join(tuned)} with alignment.train=none trains nothing: use alignment.train=residual or "
                "full, or tuning=frozen and brain.aggregate=mean or motion"
            )
        if self.pooling.trainable and self.alignment.start != "random":
            raise UserError(NO_CLOSED_FORM)
        if self.pooling.trainable and self.pooling.window not in POOLINGS:
            raise UserError(
                f"pooling.chunk={self.pooling.chunk} is trained with the towers, and pooling.window="
                f"{self.pooling.window} is fitted before: use pooling.window=mean, max, or one that is trained"
            )
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed={self.seed}: a whole number from 0 to {2**32 - 1} is wanted")
        if self.alignment.train != "none":
            self.trainer.on_gpu()

    @property
    def tuned_sides(self) -> list[str]:
        """Sides whose encoder is trained."""
        return [side for side in ("genetics", "brain") if getattr(getattr(self, side), "tuning", "frozen") != "frozen"]


def run_fit(
    experiment: Experiment,
    workspace: Workspace,
    run: Path,
    *,
    record: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Fit a checked experiment on a cohort; returns the run folder.

    A folder that holds the same experiment and is finished is returned as it is; an unfinished one goes on.
    ``record`` is kept as ``config.yaml`` once the folder belongs to this experiment.
    """
    if experiment.split.fold is not None:  # too many folds: said before scans and genomes are read
        experiment.split.make(workspace.cohort, experiment.seed)
    folder = RunFolder(run)
    with folder.alone():
        return _fit(experiment, workspace, folder, record, progress)


def _fit(
    experiment: Experiment,
    workspace: Workspace,
    folder: RunFolder,
    record: Mapping[str, Any] | None,
    progress: bool,
) -> Path:
    from genebrain.runs.transfer import save_coordinates  # it reads runs too

    run = folder.path
    with folder.stage("scans"):
        ingested = workspace.ingest(experiment.brain)
    cohort = workspace.cohort
    split = experiment.split.make(cohort, experiment.seed)
    if not folder.finished:
        with folder.stage("embed"):
            workspace.embed(experiment.genetics, training=split.training)
    if not begin(folder, {"cohort": cohort.fingerprint}, experiment, record):
        verify_run(run, results=False)
        claim_contents(run, experiment, workspace, own_split(run, experiment, workspace))
        if progress:
            log.info(f"{run} holds this fit, finished before: nothing is computed again")
        return run
    claim_contents(run, experiment, workspace, split)
    with folder.stage("features"):
        split.save(run / "split.json")
        refuse_seen_people(experiment.brain, cohort, workspace.store, split.test)
        subjects = gather_subjects(experiment, workspace, split.training, people=split.training)
        alone = next(iter(subjects.unpaired.values()), None)
        counts: dict[str, Any] = {} if alone is None else {"unpaired": {"people_with_scans": len(alone)}}
        if experiment.brain.positives == "scans":
            subjects = replace(subjects, scans=workspace.single_scans(experiment.brain, split.training))
            counts["training_rows"] = told_rows(experiment, subjects, split.training)
    with folder.stage("fit"):
        fitted = fit_alignment(
            subjects,
            split.train,
            split.validation,
            experiment.alignment,
            experiment.trainer,
            folder.checkpoints,
            seed=experiment.seed,
            progress=progress,
        )
    fitted.save(folder.checkpoints)
    if isinstance(experiment.brain, EncoderSide) and experiment.brain.trained:
        from genebrain.sides.tuned.save import save_tuned_scans

        trained = save_tuned_scans(fitted, experiment.brain, cohort, workspace.store, split.training, run)
        if trained is not None and progress:
            log.info(f"weights of the scan encoder: use them with brain.path={trained}")
    features = workspace.fitted_features(experiment.brain, split.training)
    write_tensors(folder.checkpoints / FEATURES, joined(features, fitted.brain_name).state())
    with replacing(run / "history.csv", private=False) as partial:
        pd.DataFrame(fitted.history).to_csv(partial, index=False)
    save_coordinates(experiment, workspace, split, folder.checkpoints)
    write_needs(run, experiment, workspace, split.training)
    cost, genotypes = workspace.genome_facts(experiment.genetics, split.training)
    folder.record(cost)
    write_json(
        run / "funnel.json",
        {**cohort.funnel, "split": split.sizes, "ingest": lasting(ingested), **counts, **genotypes},
    )
    brain = workspace.brain_description(experiment.brain)
    counted = {name: asdict(count) for name, count in fitted.parameters.items()}
    known = {"cohort": cohort.name, "cohort_fingerprint": cohort.fingerprint, "seed": experiment.seed}
    folder.finish({**known, "brain": brain, "parameters": counted})
    write_model_card(run)
    return run


def gather_subjects(
    experiment: Experiment, workspace: Workspace, training: IntArray, *, later: bool = False,
    people: IntArray | None = None,
) -> Subjects:  # fmt: skip
    """Features of everybody; what is fitted is fitted on ``training``, of scans ``later`` only where asked for.

    Scans of a large cohort are read of ``people`` alone.
    """
    cohort, pooling, genetics = workspace.cohort, experiment.pooling, experiment.genetics

    def brain() -> dict[str, FloatArray]:
        return workspace.brain_features(experiment.brain, training, people)[1]

    # The closed form beside a trained pooling reads the default pooling of the same tokens.
    plain = GenePooling(token=pooling.token) if pooling.trainable else pooling
    blocks, width = workspace.gene_blocks(genetics, plain, training)
    common: dict[str, Any] = {"blocks": blocks, "item_width": width}
    if not later:
        settings = closed_form_settings(experiment.alignment, width)
        common["race"] = race_of_kinds(workspace, experiment.brain, training, blocks, settings, experiment.seed)
    common |= {
        "unpaired": workspace.unpaired_features(experiment.brain, training),
        # Its own: what a checkpoint restores must not reach other runs.
        "brain": Readings({}, brain) if later else Readings(brain()),
        "genome": np.array(cohort.table["genome"], dtype=np.int64),
        "family": np.array(cohort.table["family"], dtype=np.int64),
        "strata": strata_codes(cohort),
    }
    read, *_ = workspace.masked(genetics, training)
    tuned: dict[str, EncoderMaker] = {}
    if pooling.trainable or genetics.tuning != "frozen":
        common["index"] = workspace.chunks(read).index
    if pooling.trainable:
        common |= {"pooling": pooling, "table": workspace.table(read, pooling.token)}
    if genetics.tuning != "frozen":
        from genebrain.sides.tuned.genomes import genome_encoder

        if not genetics.delta:
            log.warning(COMMON_SHIFT)
        blocks, _ = workspace.blocks(genetics, plain)
        chunks, means = workspace.chunks(genetics), [filled(block, training)[1] for block in blocks]
        tuned["gene"] = genome_encoder(  # vectors have nothing to tune
            genetics, pooling, chunks, means, common.get("table"), experiment.seed  # type: ignore[arg-type]
        )  # fmt: skip
    if isinstance(experiment.brain, EncoderSide) and experiment.brain.trained:
        from genebrain.sides.tuned.scans import scan_encoder

        features = workspace.fitted_features(experiment.brain, training)
        tuned["brain"] = scan_encoder(
            experiment.brain, cohort, workspace.store, features, training, experiment.seed  # type: ignore[arg-type]
        )  # fmt: skip
    return Subjects(tuned=tuned, **common)


def told_rows(experiment: Experiment, subjects: Subjects, training: IntArray) -> dict[str, int]:
    """Counts of people and scans that contrastive training reads, printed."""
    if subjects.scans is None:
        raise ValueError("no single scans were read")
    counts = subjects.scans.counted(training)
    if experiment.alignment.train == "none":
        log.warning("note: brain.positives=scans changes nothing with alignment.train=none: no towers are trained")
    elif counts["scans"] == 0:
        log.warning("note: brain.positives=scans changes nothing: no training person has several scans")
    else:
        log.info(
            f"brain.positives=scans: {counts['people_scan_by_scan']} of {counts['people']} training people are trained "
            f"on scan by scan ({counts['scans']} scans)"
        )
    return counts


def load_fit(
    run: Path, experiment: Experiment, workspace: Workspace, *, alone: bool = False
) -> tuple[AlignmentModel, Subjects, Split]:
    """Read a fitted run back, with its features; ``alone``: of a large cohort those of test people are enough."""
    workspace.ingest(experiment.brain)
    split = own_split(run, experiment, workspace)
    withdrawn = withdrawn_from(run, experiment, split)
    claim_contents(run, experiment, workspace, split)
    # The checkpoint carries its own statistics: they, not a refit, decide the features that are judged.
    subjects = gather_subjects(experiment, workspace, split.training, later=True)
    model = AlignmentModel.load(run / "checkpoints", subjects.empty_towers(split.train))
    inputs = workspace.brain_inputs(experiment.brain, split.training)
    closed = model.closed_form
    if race := closed.chosen.get("race"):
        workspace.go_on(experiment.brain, split.training, race["on"])
    learners = workspace.learners(experiment.brain, split.training) if alone else split.training
    people = np.union1d(split.test, learners) if alone else None
    values = read_features(
        run, experiment.brain, inputs, closed, split.training, withdrawn, subjects.unpaired, people, learners
    )
    if (run / WITHDRAWN).exists() or any((split.gone or {}).values()):
        then = blocks_of_then(run, experiment, workspace, model, subjects.blocks, split.training)
        subjects = replace(subjects, blocks=then)
    if not (run / NEEDS).exists():
        write_needs(run, experiment, workspace, split.training)
    subjects.brain.update(values)
    model.history = read_history(run / "history.csv")
    return model, subjects, split


def strata_codes(cohort: Cohort) -> IntArray | None:
    """One code per person for the sampler ``within_stratum``; None when there is nothing to stratify by."""
    columns = strata_columns(cohort.table, cohort.own.strata)
    if not columns:
        return None
    return np.unique(cohort.strata(columns), return_inverse=True)[1].astype(np.int64)
