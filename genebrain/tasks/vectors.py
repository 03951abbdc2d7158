"""The verbs that use a fitted run: export of vectors, search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genebrain.common.types import UserError
from genebrain.tasks.second_cohort import CohortPlace, is_own, opened_elsewhere

if TYPE_CHECKING:
    from genebrain.runs.run import PeopleVectors, Run


def export(
    run: Path | str = "runs/fit",
    out: Path | str = "runs/vectors",
    features: bool = False,
    progress: bool = True,
    cohort: CohortPlace | Path | str | None = None,
    store: Path | str | None = None,
) -> Path:
    """Write the vectors of the people of a run; see :func:`genebrain.runs.export.export_run`. Returns the folder.

    ``cohort`` is a second cohort, whose people are written instead, or the cohort of the run, where it has moved.
    """
    from genebrain.runs.export import export_elsewhere, export_run

    folder = Path(out)
    opened, second = _opened(run, cohort, store, progress)
    if second is not None:
        if features:
            raise UserError("features=true is for the cohort of the run: leave it out, or cohort.path= away")
        written = export_elsewhere(opened, second, folder, store)
    else:
        written = export_run(opened, folder, features=features)
    for name, what in written.items():
        print(f"{folder / name}: {what}")
    print("these are individual-level data: readable by you alone")
    return folder


def search(
    run: Path | str = "runs/fit",
    genome: Path | str | None = None,
    scan: Path | str | None = None,
    k: int = 10,
    split: str = "test",
    out: Path | str | None = None,
    progress: bool = True,
    vcf: Path | str | None = None,
    cohort: CohortPlace | Path | str | None = None,
    store: Path | str | None = None,
) -> Any:
    """Rank scans for a genome, or genomes for a scan; see :meth:`genebrain.Run.search`. Returns the table.

    ``vcf`` is a genotype file of new people, each of whom looks for scans; ``genome`` and ``scan`` name a person of the
    cohort, or a file of new people (vectors, a scan table, a folder of scans, a ``cohort.yaml``). ``cohort`` is a
    second cohort, whose people are looked through and looked for instead, or the cohort of the run, where it has moved.
    """
    from genebrain.common.private_table import write_table

    if sum(one is not None for one in (genome, scan, vcf)) != 1:
        raise UserError(
            "give genome=ID or vcf=FILE to look for scans, or scan=ID to look for genomes; one of the three"
        )
    opened, second = _opened(run, cohort, store, progress)
    asked: dict[str, Any] = {"k": k, "split": split}
    if (new := vcf if vcf is not None else _file(genome)) is not None:
        asked["genome"] = opened.embed_genomes(new)
    elif _file(scan) is not None:
        asked["scan"] = opened.embed_scans(str(scan))
    else:
        asked |= {"genome": genome if genome is None else str(genome), "scan": scan if scan is None else str(scan)}
    one = isinstance(asked.get("genome"), str) or isinstance(asked.get("scan"), str)
    if second is not None:
        asked |= _among(opened.vectors_of(second, store), asked)
    table = opened.search(**asked)
    if second is not None and one:
        table = table.drop(columns="query")
    if out is None:
        print(table.to_string(index=False))
    else:
        write_table(table, Path(out))
        whose = f"{split} people" if second is None else "second cohort"
        queries = 1 if "query" not in table else table["query"].nunique()
        each = f" for each of {queries:,}" if queries > 1 else ""
        print(f"wrote {out}: the {len(table) // max(queries, 1)} best of the {whose}{each}, readable by you alone")
    return table


def _file(named: Path | str | int | None) -> str | None:
    """What is named, where it is a file or folder: something with an ending or a slash that exists; else an id."""
    path = Path(str(named))
    return str(named) if named is not None and (path.suffix or "/" in str(named)) and path.exists() else None


def _opened(
    run: Path | str, cohort: CohortPlace | Path | str | None, store: Path | str | None, progress: bool
) -> tuple[Run, Path | None]:
    """The run, with its cohort where it lies now; and the path of a second cohort."""
    from genebrain.runs.run import load_run

    place = cohort.path if isinstance(cohort, CohortPlace) else cohort
    opened = load_run(run, store=store, progress=progress)
    if place is None:
        return opened, None
    experiment, workspace = opened_elsewhere(opened.experiment, Path(place), store, progress=progress)
    if is_own(opened.path, experiment, workspace):
        return load_run(run, cohort=place, store=store, progress=progress), None
    return opened, Path(place)


def _among(people: PeopleVectors, asked: dict[str, Any]) -> dict[str, Any]:
    """Query and gallery among the people of a second cohort."""
    import pandas as pd

    from genebrain.runs.new_people.search import row_of

    sides = {"genome": people.genome, "scan": people.brain}
    side = "genome" if asked.get("genome") is not None else "scan"
    other = "scan" if side == "genome" else "genome"
    found: dict[str, Any] = {"gallery": pd.DataFrame(sides[other], index=people.ids)}
    if isinstance(asked[side], str):
        row = row_of(asked[side], people.ids)
        found[side] = pd.DataFrame(sides[side][row : row + 1], index=people.ids[row : row + 1])
    return found
