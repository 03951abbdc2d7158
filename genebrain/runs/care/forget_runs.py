"""Traces of people who withdrew in a run: rows of its split, marks of their scans, results.

Rows are numbers in the table of the cohort. The table with these people, as it was at the fit, is made again and known
by its fingerprint; every row gets the number that it has without them. All that changes is written into one file first
(:data:`~genebrain.common.checksums.REDO`), then done from there, so that a kill leaves nothing half-said: the same call
goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.cohort.join import assemble
from genebrain.cohort.participants import Cohort, cohort_of
from genebrain.cohort.restrict import restrict
from genebrain.cohort.splits.splits import PARTS
from genebrain.common.alone import alone_in, refuse_links
from genebrain.common.checksums import CHECKSUMS, REDO, digests_below, verify_run
from genebrain.common.files import replacing
from genebrain.common.hashing import content_digest
from genebrain.common.reading import contents_of, read_record
from genebrain.common.run_folder import as_json, write_json
from genebrain.common.types import IntArray, UserError
from genebrain.runs.care.named_runs import NamedRun
from genebrain.runs.care.needs import NEEDS, needed
from genebrain.runs.care.people import PEOPLE, known_people
from genebrain.runs.care.withdrawn import LEARNED_FROM, WITHDRAWN, read_counts, take_alleles_of_then, tied_to_people
from genebrain.runs.contents import CONTENTS, contents
from genebrain.runs.fit import Experiment
from genebrain.sides.brains.seen_scans import FILE, without_marks
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.sides.vectors.cohorts import vector_files
from genebrain.sides.workspace import Workspace

SIDES = (*PARTS, "left_out")
RESULTS = {"test": ("metrics", "report", "figures"), "validation": ("metrics.validation", "report.validation")}


@dataclass(frozen=True)
class Outcome:
    """What became of a run, in words; ``fit_again``: it has learned from people who withdrew."""

    run: Path
    words: str
    fit_again: bool = False


@dataclass(frozen=True)
class Plan:
    """What is to be done with a run.

    Attributes
    ----------
    run : NamedRun
    outcome : Outcome
    problem : str
        Why nothing may be done before somebody has looked; empty where all is well.
    mendable : bool
        Whether it stays usable for the others.
    rows : int array
        New row of every old one, -1 for people who withdrew; empty for a run that knows nothing of them any more.
    counts : dict
        People who withdrew now, by side.
    """

    run: NamedRun
    outcome: Outcome
    problem: str = ""
    mendable: bool = False
    rows: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    counts: dict[str, int] = field(default_factory=dict)
    scans: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def changes(self) -> bool:
        """Whether something of the run will be written."""
        return bool(len(self.rows)) or (self.run.path / REDO).exists()


def planned(run: NamedRun, participants: frozenset[str], scans: pd.DataFrame) -> Plan:
    """Look at a run and say what is to be done; nothing is changed."""
    experiment = run.settings.get("experiment")
    if not isinstance(experiment, Experiment):
        return Plan(run, Outcome(run.path, "no run of fit: train it again if it has learned from these people", True))
    if not run.finished:
        return Plan(run, Outcome(run.path, "its fit is not finished: delete it, and fit again", True))
    if (run.path / REDO).exists():
        return Plan(run, Outcome(run.path, "goes on from where it was interrupted"), mendable=True)
    if (run.path / "cohort").is_dir():
        return Plan(run, Outcome(run.path, "its folder holds vectors of people: fit again without them", True))
    try:
        verify_run(run.path)
        before, now = cohorts(run, experiment.brain, participants)
        split = read_record(run.path / "split.json")
    except UserError as error:
        return Plan(run, Outcome(run.path, ""), problem=f"{run.path}: {error}")
    if getattr(experiment.brain, "unpaired", False) and (alone := participants & before.alone):
        words = f"has learned from scans of {len(alone)} of them, who have no genome: fit again without them"
        return Plan(run, Outcome(run.path, words, True))
    if split.get("fingerprint") == now.fingerprint:
        return Plan(run, Outcome(run.path, "knows nothing of these people"), mendable=True)
    if split.get("fingerprint") != before.fingerprint:
        words = "was fitted on another state of the cohort, and cannot be mended"
        return Plan(run, Outcome(run.path, words, True))
    rows = new_rows(before, now, participants)
    counts = {side: int((rows[np.asarray(split[side], np.int64)] < 0).sum()) for side in SIDES}
    outcome = _outcome(run, experiment, counts)
    return Plan(run, outcome, "", not tied_to_people(experiment), rows, counts, scans)


def cohorts(run: NamedRun, brain: BrainSide, participants: frozenset[str]) -> tuple[Cohort, Cohort]:
    """The cohort as it was at the fit, and as it is without people who withdrew; of both those with a usable scan."""
    files = vector_files(run.settings["experiment"].genetics, brain)
    found = []
    for put_back in (participants, frozenset[str]()):
        parts = assemble(run.cohort, files, put_back)
        parts.problems.raise_errors(f"cohort {parts.description.name}")
        found.append(_usable(cohort_of(parts), brain, run.store))
    return found[0], found[1]


def new_rows(before: Cohort, now: Cohort, participants: frozenset[str]) -> IntArray:
    """Row that everybody of the old table has in the new one; -1 for people who withdrew.

    Raises
    ------
    UserError
        Others are missing as well.
    """
    place = {name: row for row, name in enumerate(now.table["participant_id"])}
    rows = np.array([place.get(name, -1) for name in before.table["participant_id"]], np.int64)
    others = sum(
        row < 0 and name not in participants for name, row in zip(before.table["participant_id"], rows, strict=True)
    )
    if others:
        raise UserError(f"{others} other people of cohort {now.name} are gone too: forget them together")
    return rows


def mend_run(plan: Plan, *, progress: bool) -> Outcome:
    """Do what is planned for a run; returns what became of it."""
    run = plan.run.path
    redo = run / REDO
    if not redo.exists() and not (plan.mendable and len(plan.rows)):
        if len(plan.rows):  # cannot be read without them: what it holds of them goes all the same
            _apply(run, {}, _results(run, plan.counts))
        return plan.outcome
    refuse_links(run)
    with alone_in(run, "run folder"):
        if not redo.exists():
            write_json(redo, _changes(plan, progress), private=True)
        with contents_of(redo, "delete it and call forget again"):
            changes = read_record(redo)
            _apply(run, changes["write"], changes["delete"])
        checksums = digests_below(run) | {"provenance.json": content_digest(run / "provenance.json")}
        write_json(run / CHECKSUMS, checksums)
        redo.unlink()
    return plan.outcome


def _outcome(run: NamedRun, experiment: Experiment, counts: Mapping[str, int]) -> Outcome:
    learned, judged = sum(counts[part] for part in LEARNED_FROM), counts["test"]
    reason = tied_to_people(experiment)
    words = [f"has learned from {learned} of them" if learned else "has learned from none of them"]
    words += [f"was judged on {judged} of them: judge again"] if judged else []
    words.append(f"cannot be used without them ({reason})" if reason else "stays usable for the others")
    return Outcome(run.path, "; ".join(words), bool(learned or reason))


def _usable(cohort: Cohort, brain: BrainSide, store: Path) -> Cohort:
    """Those with a usable scan in the store, as :meth:`Workspace.ingest` leaves them; no scan is read."""
    if isinstance(brain, ConnectomeSide):
        keys = brain.scans(cohort, store).keys(cohort.scans)
        usable = [key is not None for key in keys]
    elif isinstance(brain, EncoderSide):
        bank = brain.bank(brain.shared(cohort, store), cohort, store)
        keys = brain.scans(cohort, store).keys(cohort.scans)
        windows = bank.plan([key for key in keys if key is not None])
        usable = [key in windows for key in keys]
    else:
        return cohort
    people = np.unique(cohort.scans["person"].to_numpy(np.int64)[np.array(usable, bool)])
    return cohort if len(people) == len(cohort) else restrict(cohort, people, "no usable scan")


def _changes(plan: Plan, progress: bool) -> dict[str, Any]:
    """New contents of the files of a run, and what is deleted."""
    run, experiment = plan.run, plan.run.settings["experiment"]
    _, now = cohorts(run, experiment.brain, frozenset())
    workspace = Workspace(cohort_of_run(run, experiment), run.store, progress=progress)
    workspace.ingest(experiment.brain)
    if workspace.cohort.fingerprint != now.fingerprint:
        raise UserError(f"the scans of cohort {now.name} changed while {run.path} was mended; call forget again")
    split = read_record(run.path / "split.json")
    for side in SIDES:
        rows = plan.rows[np.asarray(split[side], np.int64)]
        split[side] = rows[rows >= 0].tolist()
    split["fingerprint"] = now.fingerprint
    audit = split.get("audit", {})
    if "sizes" in audit:
        audit["sizes"] = {part: len(split[part]) for part in PARTS}
        audit["left_out"] = len(split["left_out"])
    training = np.sort(np.concatenate([np.asarray(split[part], np.int64) for part in LEARNED_FROM]))
    take_alleles_of_then(run.path, experiment, workspace, training)
    before = read_counts(run.path)
    write: dict[str, Any] = {
        "split.json": split,
        "settings.json": read_record(run.path / "settings.json") | {"cohort": now.fingerprint},
        "provenance.json": read_record(run.path / "provenance.json") | {"cohort_fingerprint": now.fingerprint},
        CONTENTS: contents(experiment, workspace, training),
        NEEDS: {"store": needed(experiment, workspace, training)},
        WITHDRAWN: {side: before[side] + plan.counts[side] for side in SIDES},
        str(PEOPLE): asdict(known_people(experiment, workspace, training)),
    }
    text = {name: as_json(content).decode() for name, content in write.items()}
    marks = run.path / "checkpoints" / FILE
    if marks.is_file() and isinstance(experiment.brain, ConnectomeSide | EncoderSide):
        brain = experiment.brain
        store = brain.folder(run.store) if isinstance(brain, ConnectomeSide) else brain.scans(now, run.store).folder
        text[f"checkpoints/{FILE}"] = without_marks(marks, plan.scans, store)
    return {"write": text, "delete": _results(run.path, plan.counts)}


def cohort_of_run(run: NamedRun, experiment: Experiment) -> Cohort:
    """The cohort of a run as its two sides mean it, now."""
    from genebrain.sides.vectors.cohorts import open_cohort

    return open_cohort(run.cohort, experiment.genetics, experiment.brain)


def _results(run: Path, counts: Mapping[str, int]) -> list[str]:
    """Results in which people who withdrew took part, and comparisons that were fitted with them."""
    gone = ["checkpoints/comparisons"]
    if counts["test"]:
        gone += [p.name for p in run.iterdir() if p.name.startswith(RESULTS["test"]) and ".validation" not in p.name]
    if counts["validation"] or counts["train"]:
        gone += [p.name for p in run.iterdir() if ".validation" in p.name]
    return sorted(name for name in gone if (run / name).exists())


def _apply(run: Path, write: Mapping[str, str], delete: list[str]) -> None:
    for name in [*write, *delete]:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} is outside the run")
    for name, text in write.items():
        with replacing(run / name, private=name.startswith("checkpoints")) as partial:
            partial.write_text(text, encoding="utf-8")
    for name in delete:
        if (run / name).is_dir():
            shutil.rmtree(run / name)
        else:
            (run / name).unlink(missing_ok=True)
