"""A grid of fits that differ in one thing, on the same people, splits and seeds.

Every cell is an ordinary run folder: it can be evaluated, reported and looked into on its own. Finished cells are
skipped when the grid is started again; failed ones are shown, and do not stop the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import pandas as pd
import yaml
from tqdm import tqdm

from genebrain.cohort.participants import Cohort
from genebrain.cohort.tables.files import repeated_keys
from genebrain.common.alone import alone_in
from genebrain.common.checksums import verify_run
from genebrain.common.files import make_private, replacing, write_private
from genebrain.common.private_table import harmless
from genebrain.common.reading import read_text
from genebrain.common.run_folder import FORMAT, read_json, run_format
from genebrain.common.types import UserError
from genebrain.common.words import no_bar
from genebrain.runs.fit import Experiment
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.cohorts import open_cohort
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.sides.workspace import Workspace
from genebrain.studies.comparison import compare, figure, markdown
from genebrain.studies.judged import fitting_gallery
from genebrain.studies.learning_curve import learning_curve

log = logging.getLogger(__name__)

METRICS = ("recall@1", "recall@5", "percentile_rank", "matched_auc")
LAST = "seconds.txt"
"""Written when a cell is judged and has its figures and its card: what says that it is finished."""


@dataclass(frozen=True)
class Cell:
    """One arm with one seed."""

    arm: str
    seed: int
    experiment: Experiment
    folder: Path


def own_arms(given: Mapping[str, Any] | Path | str) -> dict[str, Any]:
    """Arms as a user gives them: a mapping, or a YAML file that holds it (under ``arms:`` or by itself).

    Raises
    ------
    UserError
        No such file, no mapping of mappings, fewer than two arms.
    """
    if isinstance(given, str | Path):
        text = read_text(Path(given), "name a YAML file of arms")
        try:
            if twice := repeated_keys(yaml.compose(text, yaml.SafeLoader)):
                raise UserError(f"arms={given}: {', '.join(twice)}: there more than once; only the last would be read")
            given = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"arms={given} is no YAML file: {error}") from error
    arms = given.get("arms", given) if isinstance(given, Mapping) else None
    parts = ("genetics", "brain", "pooling", "alignment", "trainer", "split")
    whole = isinstance(arms, Mapping) and all(isinstance(one, Mapping | None) for one in arms.values())
    changes = [values for one in arms.values() if one for values in one.values()] if whole else []  # type: ignore[union-attr]
    whole = whole and all(isinstance(values, Mapping) for values in changes)
    if not whole or len(arms) < 2 or any(set(one or ()) - set(parts) for one in arms.values()):  # type: ignore[arg-type, union-attr]
        raise UserError(
            f"arms={given}: at least two arms {{name: {{part: {{setting: value}}}}}} are wanted, part being one of "
            f"{', '.join(parts)}; an arm {{}} is the recipe as it stands"
        )
    return {str(name): dict(one or {}) for name, one in arms.items()}  # type: ignore[union-attr]


def run_ablation(
    workspace: Workspace,
    base: Experiment,
    arms: Mapping[str, Mapping[str, Any]],
    run: Path,
    seeds: list[int],
    *,
    fit: Callable[..., Path],
    evaluate: Callable[..., Any],
    reference: str | None = None,
    gallery_size: int | None = None,
    jobs: int = 2,
) -> Path:
    """Run all arms with all seeds.

    Parameters
    ----------
    arms : mapping
        Arm name -> ``{part of the experiment: {setting: value}}``, e.g. ``{"mean": {"pooling": {"chunk":
        "mean"}}}``.
    run : Path
        Gets ``results.csv`` (a row per cell), ``comparison.csv``, ``comparison.md`` and ``comparison.png`` (a row
        per arm, tested against ``reference`` with correction), and ``cells/``; where arms differ in the number of
        training people also ``learning_curve.png``.
    fit, evaluate : callables
        The verbs; the same ones a user calls.
    gallery_size : int or None
        Candidates per query, the same in every cell; None: 64, or everybody of the smallest test set of the seeds.
    jobs : int
        Cells at a time.

    Returns
    -------
    Path
        ``results.csv``.
    """
    if reference is not None and reference not in arms:
        raise UserError(f"reference arm '{reference}' is not in the grid: {', '.join(arms)}")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0 or not jobs:
        raise UserError(f"seeds={seeds}, jobs={jobs}: different whole numbers from 0 are wanted, and at least one job")
    cells = _cells(base, arms, seeds, run)
    _refuse_older(cells, run)
    # Every arm sees the same people: those whose scans all arms can read.
    for brain in dict.fromkeys(cell.experiment.brain for cell in cells):
        workspace.ingest(brain)
    gallery_size = _gallery(gallery_size, workspace.cohort, cells)
    make_private(run)
    with alone_in(run, "folder of an ablation"):
        return _run(workspace, cells, run, fit, evaluate, reference or next(iter(arms)), gallery_size, jobs)


def _run(
    workspace: Workspace,
    cells: list[Cell],
    run: Path,
    fit: Callable[..., Path],
    evaluate: Callable[..., Any],
    reference: str,
    gallery_size: int,
    jobs: int,
) -> Path:
    brains = tuple(dict.fromkeys(cell.experiment.brain for cell in cells))
    reads = {(cell.experiment.genetics, cell.experiment.split, cell.seed) for cell in cells}
    for gene, split, seed in sorted(reads, key=str):
        workspace.embed(gene, training=split.make(workspace.cohort, seed).training)
    todo = [cell for cell in cells if not (cell.folder / LAST).exists()]
    shared = (_Place.of(workspace, cells[0].experiment), brains, gallery_size, fit, evaluate)
    by_arm = [[cell for cell in todo if cell.arm == arm] for arm in dict.fromkeys(cell.arm for cell in cells)]
    work = (joblib.delayed(_run_cells)(group, *shared) for group in by_arm if group)
    errors: dict[tuple[str, int], str] = {}
    with tqdm(total=len(cells), initial=len(cells) - len(todo), desc="cells", unit="cell", disable=no_bar()) as bar:
        for outcome in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(work):
            errors |= {key: message for key, message in outcome.items() if message}
            bar.update(len(outcome))
    results = pd.DataFrame([_row(cell, errors.get((cell.arm, cell.seed), "")) for cell in cells])
    _write(results, run / "results.csv")
    failed = results[results["error"] != ""]
    for _, row in failed.iterrows():
        log.warning(f"failed: {row['arm']} seed {row['seed']}: {row['error']}")
    if len(failed) == len(results):
        raise UserError(f"all {len(results)} cells failed (reasons above)")
    table = compare(results[results["error"] == ""], reference, METRICS[0])
    _write(table, run / "comparison.csv")
    text = markdown(table, gallery_size, _bounds(results))
    with replacing(run / "comparison.md", private=False) as partial:
        partial.write_text(text, encoding="utf-8")
    figure(table, gallery_size, run / "comparison.png")
    learning_curve(results[results["error"] == ""], METRICS[0], run / "learning_curve.png")
    log.info(text)
    return run / "results.csv"


def _cells(base: Experiment, arms: Mapping[str, Mapping[str, Any]], seeds: list[int], run: Path) -> list[Cell]:
    parts = {f.name for f in fields(Experiment)} - {"seed"}
    problems, cells = [], []
    for number, (arm, changes) in enumerate(arms.items()):
        changed = base
        for part, values in changes.items():
            if part not in parts:
                problems.append(f"arm '{arm}': no part '{part}' (parts: {', '.join(sorted(parts))})")
                continue
            try:
                # A whole settings object replaces the part; a mapping changes some of its settings.
                whole: Any = values if is_dataclass(values) else replace(getattr(changed, part), **dict(values))
                changed = replace(changed, **{part: whole})
            except (TypeError, UserError) as error:
                problems.append(f"arm '{arm}', {part}: {error} (given: {values})")
        for seed in seeds:
            folder = run / "cells" / f"{number:02d}-seed{seed}"
            cells.append(Cell(arm, seed, replace(changed, seed=seed), folder))
    if problems:
        raise UserError("the grid is not right:\n" + "\n".join(f"  - {p}" for p in problems))
    return cells


def _refuse_older(cells: list[Cell], run: Path) -> None:
    done = [cell.folder for cell in cells if (cell.folder / "provenance.json").exists()]
    older = sum(run_format(folder) < FORMAT for folder in done)
    if older:
        raise UserError(
            f"{older} of {len(done)} finished cells of {run} are of an older version, in which an arm could "
            "read brain features of the arm before it: compute them anew in another folder (run=), or delete "
            f"{run / 'cells'}"
        )


def _gallery(asked: int | None, cohort: Cohort, cells: list[Cell]) -> int:
    """One gallery for all cells: recalls among different numbers of candidates cannot be compared."""
    arms = {(cell.experiment.split, cell.seed): cell.arm for cell in reversed(cells)}
    sizes = list[int]()
    for (split, seed), arm in sorted(arms.items(), key=str):
        try:
            sizes.append(fitting_gallery(asked, cohort, split.make(cohort, seed).test, f"test set of seed {seed}"))
        except UserError as error:
            raise UserError(f"arm '{arm}': {error}") from error
    return min(sizes)


class _Place(NamedTuple):
    """From where a worker process reads the cohort."""

    cohort: Path
    store: Path
    genetics: GenomeSide
    brain: BrainSide

    @classmethod
    def of(cls, workspace: Workspace, base: Experiment) -> _Place:
        return cls(workspace.cohort.folder / "cohort.yaml", workspace.store, base.genetics, base.brain)


@lru_cache(maxsize=1)
def _workspace(place: _Place) -> Workspace:
    """One per worker process: arms that follow each other share scans, connectomes and chunk tables."""
    return Workspace(open_cohort(place.cohort, place.genetics, place.brain), place.store, progress=False)


def _run_cells(
    cells: list[Cell], place: _Place, brains: tuple[BrainSide, ...], gallery_size: int, fit: Any, evaluate: Any
) -> dict[tuple[str, int], str]:
    outcome = {}
    for cell in cells:
        try:
            workspace = _workspace(place)
            for brain in brains:
                workspace.ingest(brain)
            made = {f.name: getattr(cell.experiment, f.name) for f in fields(Experiment)}
            started = time.perf_counter()
            fit(place.cohort, run=cell.folder, workspace=workspace, progress=False, **made)
            evaluate(
                cell.folder, gallery_size=gallery_size, comparisons=(), n_bootstrap=200, n_permutations=200,
                workspace=workspace, progress=False, findings=False,
            )  # fmt: skip
            write_private(cell.folder / LAST, f"{time.perf_counter() - started:.2f}\n".encode())
            outcome[cell.arm, cell.seed] = ""
        except Exception as error:  # any failure is shown; the other cells go on
            outcome[cell.arm, cell.seed] = f"{type(error).__name__}: {error}"
    return outcome


def _row(cell: Cell, error: str) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": cell.arm, "seed": cell.seed}
    if error:
        return {**row, "error": error}
    verify_run(cell.folder)
    metrics = read_json(cell.folder / "metrics.json")
    for name in METRICS:
        one = metrics["retrieval"]["mean"][name]
        row |= {name: one["value"], f"{name}_low": one["ci"][0], f"{name}_high": one["ci"][1]}
    splits = metrics["splits"]
    return {
        **row,
        "gallery_size": metrics["gallery_size"],
        "chance_recall@1": metrics["chance"]["recall@1"],
        **{f"{name}_recall@1": (metrics.get(name) or {}).get("recall@1") for name in ("ceiling", "learners_ceiling")},
        "n_train": splits["train"] + splits["validation"],
        "n_test": metrics["n_subjects"],
        "seconds": read_json(cell.folder / LAST, "delete it: this cell is judged again"),
        "run": str(cell.folder),
        "error": "",
    }


def _bounds(results: pd.DataFrame) -> dict[str, float]:
    """What could be reached at best on a simulated cohort, mean over seeds; nothing where it is not known."""
    named = {"learner's ceiling": "learners_ceiling_recall@1", "ceiling": "ceiling_recall@1"}
    known = {name: results.drop_duplicates("seed").get(column) for name, column in named.items()}
    return {name: float(one.mean()) for name, one in known.items() if one is not None and one.notna().any()}


def _write(table: pd.DataFrame, path: Path) -> None:
    with replacing(path, private=False) as partial:
        harmless(table).to_csv(partial, index=False)
