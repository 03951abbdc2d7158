"""Judged runs side by side: a tidy table of their numbers with intervals, as CSV, Markdown and LaTeX.

Reads ``metrics.json`` of each folder (runs, second cohorts, cells of an ablation) and computes nothing anew. What may
not be compared is said: galleries of several sizes, other test people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from genebrain.common.checksums import verify_run
from genebrain.common.reading import contents_of, read_record
from genebrain.common.types import Metrics, UserError
from genebrain.evaluation.result_files import result_path
from genebrain.evaluation.verdict import judge, judged_people

SHOWN = ("recall@1", "recall@5", "percentile_rank")
AGAIN = "judge the run again (genebrain evaluate)"
DIRECTIONS = ("gene_to_brain", "brain_to_gene", "mean")
LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
         "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip


def tidy_table(runs: Sequence[Path], split: str = "test") -> pd.DataFrame:
    """One row per run, method, direction and metric.

    Returns
    -------
    DataFrame
        ``run``, ``cohort`` (of a second cohort its name), ``people`` (test, validation, second-cohort), ``test_set``
        (a mark; equal marks are the same people), ``n``, ``gallery_size``, ``method`` (model, or a comparison),
        ``direction``, ``metric``, ``value``, ``low``, ``high`` (95 %), ``chance``.

    Raises
    ------
    UserError
        Folders that are not judged yet; all are named.
    """
    unjudged = [str(run) for run in runs if not result_path(run, "metrics.json", split).is_file()]
    if unjudged:
        raise UserError(
            f"{len(unjudged)} of {len(runs)} folders hold no metrics of {split} people ({', '.join(unjudged[:5])}): "
            "judge them first (genebrain evaluate run=...)"
        )
    names, judged = names_of(runs), list[tuple[Metrics, set[str]]]()
    for run in runs:
        verify_run(run)
        metrics = read_record(result_path(run, "metrics.json", split))
        with contents_of(result_path(run, "metrics.json", split), AGAIN):
            judged.append((metrics, _marks(run, split, metrics)))
    rows: list[dict[str, Any]] = []
    sets = _test_sets([marks for _, marks in judged])
    for name, run, (metrics, _), test_set in zip(names, runs, judged, sets, strict=True):
        with contents_of(result_path(run, "metrics.json", split), AGAIN):
            about = {
                "run": name,
                "cohort": (metrics.get("cohort") or {}).get("name", ""),
                "people": judged_people(metrics),
                "test_set": test_set,
                "n": metrics["n_subjects"],
                "gallery_size": metrics["gallery_size"],
            }
            methods = {"model": metrics["retrieval"]}
            methods |= {other: {"mean": one} for other, one in (metrics.get("baselines") or {}).items() if one}
            for method, directions in methods.items():
                for direction in (one for one in DIRECTIONS if one in directions):
                    for metric, found in directions[direction].items():
                        rows.append(
                            {
                                **about, "method": method, "direction": direction, "metric": metric,
                                "value": found["value"], "low": found["ci"][0], "high": found["ci"][1],
                                "chance": metrics["chance"].get(metric),
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows)


def shown_table(runs: Sequence[Path], split: str = "test") -> pd.DataFrame:
    """One row per run, to read: what it is, how many people, values with intervals beside chance, the verdict."""
    rows = []
    for name, run in zip(names_of(runs), runs, strict=True):
        metrics = read_record(result_path(run, "metrics.json", split))
        with contents_of(result_path(run, "metrics.json", split), AGAIN):
            mean, chance = metrics["retrieval"]["mean"], metrics["chance"]
            model = metrics.get("model") or {}
            rows.append(
                {
                    "run": name,
                    "genes": model.get("encoder", ""),
                    "scans": str((model.get("chosen") or {}).get("brain", "")),
                    "people": f"{metrics['n_subjects']} {judged_people(metrics)}",
                    "candidates": metrics["gallery_size"],
                    **{metric: _interval(mean[metric]) for metric in SHOWN},
                    "chance recall@1": f"{chance['recall@1']:.3f}",
                    "found": judge(metrics).kind,
                }
            )
    return pd.DataFrame(rows).fillna("")


def warnings_of(table: pd.DataFrame) -> list[str]:
    """What a reader must know before comparing these rows."""
    found = []
    sizes = sorted(table["gallery_size"].unique().tolist())
    if len(sizes) > 1:
        found.append(
            f"galleries of {', '.join(map(str, sizes))} candidates: recall and MRR of these runs cannot be compared, "
            "percentile_rank can; evaluate them with one gallery_size="
        )
    sets = table["test_set"].nunique()
    if sets > 1:
        found.append(
            f"{sets} sets of people were judged: differences between these are differences of people too, and the "
            "intervals of two rows may overlap although they differ, or not although they do not"
        )
    elif table["run"].nunique() > 1:
        found.append(
            "the same people were judged in all runs: differences are smaller in error than the intervals suggest "
            "(genebrain ablate tests arms in pairs)"
        )
    return found


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown."""
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(str(cell).replace("|", r"\|") for cell in row) + " |" for row in table.to_numpy()]
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame) -> str:
    """A table as LaTeX (booktabs)."""
    body = [" & ".join(map(_escaped, row)) + r" \\" for row in (list(table.columns), *table.to_numpy().tolist())]
    return "\n".join(
        [rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\toprule", body[0], r"\midrule", *body[1:],
         r"\bottomrule", r"\end{tabular}", ""]
    )  # fmt: skip


def names_of(runs: Sequence[Path]) -> list[str]:
    """What runs are called: the shortest ends of their paths that differ."""
    parts = [run.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError("a run is named twice")


def _marks(run: Path, split: str, metrics: Metrics) -> set[str]:
    """What the judged people are known by, without naming anybody; runs that share one have judged the same people.

    Their rows in a cohort of a fingerprint, and, for runs on other files of one side, the other side of these people.
    """
    from genebrain.runs.care.people import PEOPLE, read_people

    if (run / "split.json").is_file() and judged_people(metrics) != "second-cohort":
        content = read_record(run / "split.json")
        rows = content.get(split)
        found = {_digest([content.get("fingerprint"), rows])}
        if (run / PEOPLE).is_file() and isinstance(rows, list):
            people = read_people(run)
            names = list(people.genomes)
            if max(rows, default=-1) < len(names):
                for side in (people.genomes, people.scans):
                    found.add(_digest(sorted(side[names[row]] for row in rows)))
        return found
    cohort = metrics.get("cohort") or {}
    return {_digest(cohort.get("fingerprint") or [cohort, metrics["n_subjects"], str(run.resolve())])}


def _test_sets(marks: Sequence[set[str]]) -> list[str]:
    """A mark of each run's people; runs that share one, themselves or through others, have the same."""
    groups: list[set[str]] = []
    for own in marks:
        apart = [group for group in groups if not group & own]
        groups = [*apart, own.union(*(group for group in groups if group & own))]
    return [next(min(group) for group in groups if group & own) for own in marks]


def _digest(about: Any) -> str:
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=4).hexdigest()


def _interval(metric: Metrics) -> str:
    low, high = metric["ci"]
    return f"{metric['value']:.3f} ({low:.3f} to {high:.3f})"


def _escaped(cell: object) -> str:
    return "".join(LATEX.get(letter, letter) for letter in str(cell))
