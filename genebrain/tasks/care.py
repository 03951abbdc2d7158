"""The verbs of care: what a store holds and whether it is whole, and people who withdraw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from genebrain.common.types import UserError
from genebrain.tasks.second_cohort import CohortPlace

Action = Literal["list", "verify", "prune"]
ACTIONS: tuple[Action, ...] = ("list", "verify", "prune")


def store(
    action: str = "list",
    store: Path | str | None = None,
    cohort: CohortPlace | Path | str | None = None,
    runs: Sequence[Path | str] = (),
    yes: bool = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Say what lies in a store (``list``), compare all checksums (``verify``), delete what no run needs (``prune``).

    Parameters
    ----------
    action : {"list", "verify", "prune"}
    store : path, optional
        The folder; None: ``store`` beside ``cohort``.
    cohort : path, optional
        A ``cohort.yaml``.
    runs : sequence of paths
        Runs, or folders of runs: ``list`` says what they need, ``prune`` keeps that.
    yes : bool
        Let ``prune`` delete; otherwise it only says what it would delete.

    Returns
    -------
    list of dict
        One row per part: ``part``, ``kind``, ``bytes``, ``files``, ``last_used`` (a day), ``options``, ``needed_by``;
        of ``prune`` the parts that are not needed.

    Raises
    ------
    UserError
        Damaged files, all of them named; no store; runs that do not say what they need.
    """
    from genebrain.runs.care.named_runs import runs_below
    from genebrain.runs.care.parts import parts_of

    if action not in ACTIONS:
        raise UserError(f"genebrain store {action}: use {', '.join(ACTIONS)}")
    folder = _folder(store, cohort)
    parts = parts_of(folder)
    if action == "verify":
        return _verify(folder, parts, progress)
    named = runs_below(runs)
    return _list(folder, parts, named) if action == "list" else _prune(folder, parts, named, yes)


def forget(
    ids: Path | str,
    cohort: CohortPlace | Path | str | None = None,
    store: Path | str | None = None,
    runs: Sequence[Path | str] = ("runs",),
    dry_run: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Delete everything individual of people who withdrew from the store and the runs of a cohort.

    Parameters
    ----------
    ids : path
        One person a line (participant or genotype id), as for ``exclude:`` in ``cohort.yaml``, which names them too.
    cohort : path
        The ``cohort.yaml``, whose tables still list them.
    store : path, optional
        None: ``store`` beside the cohort.
    runs : sequence of paths
        Runs, or folders of runs; those of this cohort are mended.
    dry_run : bool
        Only say what would be done.

    Returns
    -------
    dict
        Counts of what was deleted, and ``runs``: what became of each, in words.
    """
    from genebrain.runs.care.forget import forget_people

    place = _cohort(cohort)
    if place is None:
        raise UserError("say whose people these are: cohort.path=FOLDER/cohort.yaml")
    return forget_people(
        Path(ids), place, _folder(store, cohort), [Path(run) for run in runs], dry_run=dry_run, progress=progress
    )


def _cohort(cohort: CohortPlace | Path | str | None) -> Path | None:
    named = cohort.path if isinstance(cohort, CohortPlace) else cohort
    if named is None:
        return None
    path = Path(named)
    return path / "cohort.yaml" if path.is_dir() else path


def _folder(store: Path | str | None, cohort: CohortPlace | Path | str | None) -> Path:
    place = _cohort(cohort)
    if store is None and place is None:
        raise UserError("say which store: store=FOLDER, or the cohort that it belongs to (cohort.path=)")
    return Path(store) if store is not None else (place or Path()).parent / "store"


def _list(store: Path, parts: list[Any], runs: list[Any]) -> list[dict[str, Any]]:
    from genebrain.runs.care.parts import size_in_words
    from genebrain.runs.care.prune import needed_by

    needs = needed_by(store, runs)
    rows = [_row(part, needs.get(part.name, [])) for part in parts]
    print(f"{store}: {len(parts)} parts, {size_in_words(sum(part.size for part in parts))}")
    for row in rows:
        print(f"{row['part']}\n  {row['kind']}: {row['options']}")
        used = f"{size_in_words(row['bytes'])} in {row['files']} files, last used {row['last_used']}"
        print(f"  {used}{_needed(row['needed_by'], bool(runs))}")
    if lacking := sorted(needs.keys() - {part.name for part in parts}):
        print(f"not there, though runs need it (made again when they are judged): {', '.join(lacking)}")
    return rows


def _verify(store: Path, parts: list[Any], progress: bool) -> list[dict[str, Any]]:
    from genebrain.runs.care.verify import verify_parts

    found = verify_parts(parts, progress=progress)
    print(f"{store}: {found.files:,} files in {len(parts)} parts were read to their end")
    if found.without:
        print(f"note: without a checksum (of an older version, or not finished): {', '.join(found.without)}")
    if found.damaged:
        lines = "\n".join(f"  - {name}: {words}" for name, words in sorted(found.damaged.items()))
        raise UserError(f"{len(found.damaged)} of them are damaged:\n{lines}")
    print("all of them are as they were written")
    return [_row(part, []) for part in parts]


def _prune(store: Path, parts: list[Any], runs: list[Any], yes: bool) -> list[dict[str, Any]]:
    from genebrain.runs.care.parts import size_in_words
    from genebrain.runs.care.prune import delete_parts, unneeded

    gone = unneeded(store, parts, runs)
    rows = [_row(part, []) for part in gone]
    size = size_in_words(sum(part.size for part in gone))
    print(f"{len(gone)} of {len(parts)} parts ({size}) are needed by none of the runs named:")
    for row in rows:
        print(f"  {row['part']}: {row['kind']}, {size_in_words(row['bytes'])}, last used {row['last_used']}")
    if yes:
        delete_parts(store, gone)
        print(f"deleted; {len(parts) - len(gone)} parts stay")
    else:
        print("nothing was deleted: say yes=true to delete them")
    return rows


def _needed(runs: list[str], asked: bool) -> str:
    if not asked:
        return ""
    return f"; needed by {', '.join(runs)}" if runs else "; needed by none of the runs named"


def _row(part: Any, runs: list[str]) -> dict[str, Any]:
    from time import localtime, strftime

    return {
        "part": part.name,
        "kind": part.kind,
        "bytes": part.size,
        "files": part.files,
        "last_used": strftime("%Y-%m-%d", localtime(part.used)),
        "options": part.options(),
        "needed_by": runs,
    }
