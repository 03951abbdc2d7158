"""Parts of a store that no named run reads, and what killed writers left: told, or deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from genebrain.common.alone import refuse_links, waiting_for
from genebrain.common.leftovers import abandoned, sweep
from genebrain.common.types import UserError
from genebrain.engines.claims import STALE_S, in_work
from genebrain.engines.run import CLAIMS
from genebrain.genetics.chunks.spread import UNFINISHED
from genebrain.runs.care.named_runs import NamedRun, same_place
from genebrain.runs.care.needs import CHUNK_INDEX, read_needs
from genebrain.runs.care.parts import Part


def needed_by(store: Path, runs: Sequence[NamedRun]) -> dict[str, list[str]]:
    """Runs by the part of the store that they read.

    Raises
    ------
    UserError
        Runs of this store do not say what they need, all of them named.
    """
    needs: dict[str, list[str]] = {}
    problems = []
    for run in runs:
        if "experiment" not in run.settings or not same_place(run.store, store):
            continue
        try:
            for name in read_needs(run.path):
                needs.setdefault(name, []).append(str(run.path))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))
    return needs


def unneeded(store: Path, parts: Sequence[Part], runs: Sequence[NamedRun]) -> list[Part]:
    """Parts that none of these runs reads.

    Raises
    ------
    UserError
        No run of this store is named; one needs a part that is not there; or see :func:`needed_by`.
    """
    needs = needed_by(store, runs)
    if not needs:
        raise UserError(
            f"none of the {len(runs)} runs named (runs=) uses the store {store}: prune keeps what the named runs need, "
            "and would delete all of it. Name them; a store that nobody needs is a folder to delete"
        )
    return [part for part in parts if part.name not in needs]


def half_made(store: Path) -> list[Path]:
    """Half-made chunk indexes of killed writers, while nobody fills the store: windows hold letters and dosages."""
    found = [path for path in (store / CHUNK_INDEX).glob("*.partial-*") if abandoned(path)]
    found += [path for path in (store / CHUNK_INDEX).glob(f"*{UNFINISHED}") if not in_work(path / CLAIMS)]
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def refuse_jobs(store: Path) -> None:
    """Refuse to go on while jobs of an array fill a store: they hold what they have read, and would store it after us.

    Raises
    ------
    UserError
        Naming the folders in which they work.
    """
    places = [path.parent for depth in ("*", "*/*") for path in store.glob(f"{depth}/{CLAIMS}") if in_work(path)]
    if places:
        raise UserError(
            f"nothing was deleted: jobs of an array fill the store ({', '.join(map(str, places))}); end them, or wait "
            f"until they have ended, and repeat the command ({STALE_S / 60:g} minutes later, if they were killed on "
            "another machine)"
        )


def delete_parts(store: Path, parts: Sequence[Part]) -> None:
    """Delete these parts, what is half-made, and temporary files, while nobody fills the store."""
    refuse_links(store)
    with waiting_for(store / ".filling.lock", f"another process is filling the store {store}; waiting for it"):
        for folder in [*(part.path for part in parts), *half_made(store)]:
            # Under another name first: whoever is killed in between leaves no part that looks whole.
            gone = folder.with_name(f"{folder.name}.deleted")
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(folder, gone)
            shutil.rmtree(gone)
        for left in [*store.glob("*.deleted"), *store.glob("*/*.deleted")]:
            shutil.rmtree(left, ignore_errors=True)
        sweep(store)
