"""People who withdrew: everything individual of them is deleted from stores and runs, the others keep their runs.

Order of work, so that the same call can be repeated after a kill: all is read and checked before anything is changed;
then run by run what it says of its people is written anew (:mod:`genebrain.runs.care.forget_runs`); then the stores
lose their scans and letters (:mod:`genebrain.runs.care.forget_store`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.cohort.join import Assembly, assemble
from genebrain.cohort.participants import load_cohort
from genebrain.cohort.tables.id_lists import find_people, read_id_list
from genebrain.cohort.tables.names import match_names
from genebrain.cohort.tables.problems import named
from genebrain.common.types import UserError
from genebrain.common.words import counted
from genebrain.runs.care.forget_runs import Outcome, mend_run, planned
from genebrain.runs.care.forget_store import forget_in_store
from genebrain.runs.care.named_runs import runs_below, same_place
from genebrain.runs.care.prune import refuse_jobs

log = logging.getLogger(__name__)

NOT_TOUCHED = (
    "not touched: your own files (tables, genotypes, scans), folders of export, embed-scans, embed-sequences and of "
    "second cohorts (out=), and copies elsewhere; delete these people there yourself"
)


@dataclass(frozen=True)
class Withdrawn:
    """People of a list, in the words of the tables of a cohort.

    Attributes
    ----------
    participants : frozenset of str
        ``participant_id``.
    scans : DataFrame
        Rows of the scan table that are theirs.
    """

    participants: frozenset[str]
    scans: pd.DataFrame


def forget_people(
    ids: Path, cohort: Path, store: Path, runs: Sequence[Path], *, dry_run: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Forget the people of a list; see :func:`genebrain.tasks.care.forget`."""
    who = people_of(ids, cohort)
    mine = [run for run in runs_below([run for run in runs if run.exists()]) if same_place(run.cohort, cohort)]
    plans = [planned(run, who.participants, who.scans) for run in mine]
    if broken := [plan.problem for plan in plans if plan.problem]:
        raise UserError("nothing was deleted: " + "; ".join(broken))
    stores = list(
        {place.resolve(): place for place in (store, *(run.store for run in mine)) if place.is_dir()}.values()
    )
    for place in () if dry_run else stores:
        refuse_jobs(place)
    counts: dict[str, int] = {"people": len(who.participants)}
    outcomes: list[Outcome] = []
    for plan in plans:
        outcomes.append(plan.outcome if dry_run else mend_run(plan, progress=progress))
    # Of a dry run those that stay as they are: the others will need chunk indexes that are not there yet.
    mended = [plan.run for plan in plans if plan.mendable and not (dry_run and plan.changes)]
    for place in stores:
        for what, n in forget_in_store(place, cohort, who.scans, mended, dry_run=dry_run, progress=progress).items():
            counts[what] = counts.get(what, 0) + n
    _tell(counts, outcomes, stores, dry_run)
    return {**counts, "runs": {str(one.run): one.words for one in outcomes}}


def people_of(ids: Path, cohort: Path) -> Withdrawn:
    """Who is meant by a list of ids.

    Raises
    ------
    UserError
        Ids that the participants table does not have, people whom the cohort still reads, an empty list, or a cohort
        that cannot be read.
    """
    if not ids.is_file():
        raise UserError(f"no list of ids at {ids}: a text file with one id a line is wanted")
    parts = assemble(cohort)
    parts.problems.raise_errors(f"cohort {parts.description.name}")
    listed = parts.participants
    if listed is None:
        raise UserError(f"{cohort} names no table of participants")
    lines = read_id_list(ids)
    found = find_people(lines, [list(listed["participant_id"]), list(listed["genotype_id"])])
    wrong = found.unknown + found.ambiguous
    if wrong or not found.rows:
        what = f"{len(wrong)} of {len(lines)} ids of {ids} name nobody, or several people: {named(wrong)}"
        raise UserError(
            f"{what if wrong else f'{ids} names nobody'}; leave the rows of these people in the tables of the cohort "
            "until they are forgotten, and call them as these do"
        )
    participants = frozenset(listed["participant_id"].iloc[sorted(found.rows)])
    read = load_cohort(cohort)
    still = participants & (set(read.table["participant_id"]) | read.alone)
    if still:
        raise UserError(
            f"{len(still)} of these {len(participants)} people are still read: name the list in {cohort.name} first "
            f"(exclude: {ids.name}), or the next fit would bring them back"
        )
    return Withdrawn(participants, _their_scans(parts, participants))


def _their_scans(parts: Assembly, participants: frozenset[str]) -> pd.DataFrame:
    """Rows of the scan table, with participants as the participants table calls them."""
    scans, listed = parts.scans, parts.participants
    if scans is None or listed is None:
        raise UserError(f"cohort {parts.description.name}: the scan table cannot be read")
    ids = list(pd.unique(scans["participant_id"]))
    rows = match_names(ids, list(listed["participant_id"])).rows
    usual = {name: str(listed["participant_id"].iloc[row]) for name, row in zip(ids, rows, strict=True) if row >= 0}
    scans = scans.assign(participant_id=scans["participant_id"].map(usual))
    return scans[np.isin(scans["participant_id"], list(participants))].reset_index(drop=True)


def _tell(counts: dict[str, int], outcomes: Sequence[Outcome], stores: Sequence[Path], dry_run: bool) -> None:
    verb = "would be deleted" if dry_run else "deleted"
    what = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if name != "people")
    people, where = counted(counts["people"], "person"), ", ".join(map(str, stores)) or "no store"
    log.info(f"{people}; {verb} from {where}: {what or 'nothing'}")
    for one in outcomes:
        log.info(f"{one.run}: {one.words}")
    if again := [str(one.run) for one in outcomes if one.fit_again]:
        log.info(f"must be fitted again, then deleted, as they have learned from these people: {', '.join(again)}")
    log.info(NOT_TOUCHED)
    if dry_run:
        log.info("nothing was deleted: leave dry_run=true away to do it")
