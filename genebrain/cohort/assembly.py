"""Join the participants table, the genotype file and the scan table of a cohort by person, counting every
loss.

The work behind ``load_cohort`` and ``check_cohort``: goes on after a problem as far as anything can still be
said, so that one look at a broken cohort tells everything. Opens only headers and tables, never genotypes or
scans (except a ``genomewide:`` file, for kinship).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.cohort.pairing import Match, match_names
from genebrain.cohort.problems import Problems, named
from genebrain.cohort.relatives import Relatives, families_from
from genebrain.cohort.sources import genotype_samples, read_scans
from genebrain.cohort.tables import Description, is_missing, numbers, read_description, read_ids, read_table
from genebrain.types import BoolArray

TEXT_COLUMNS = ("site", "sex", "ancestry")
NUMERIC = re.compile(r"age|mean_fd|PC\d+")


@dataclass
class Assembly:
    """What could be read of a cohort; a part is None when its file is unusable (see ``problems``)."""

    description: Description
    problems: Problems
    participants: pd.DataFrame | None = None
    samples: list[str] | None = None
    scans: pd.DataFrame | None = None
    table: pd.DataFrame | None = None
    person_scans: pd.DataFrame | None = None
    relatives: Relatives | None = None
    funnel: dict[str, Any] = field(default_factory=dict)


def assemble(path: Path) -> Assembly:
    """Read ``cohort.yaml`` and join everything it names; see :class:`Assembly`."""
    problems = Problems()
    description = read_description(path, problems)
    parts = Assembly(description, problems)
    files = description.files
    if "participants" in files:
        parts.participants = _read_participants(files["participants"], problems)
    if "genotypes" in files:
        parts.samples = genotype_samples(files["genotypes"], problems)
    if "scans" in files:
        parts.scans = read_scans(files["scans"], problems)
    if parts.participants is not None and parts.samples is not None and parts.scans is not None:
        _join(parts, parts.participants, parts.samples, parts.scans)
    return parts


def _read_participants(path: Path, problems: Problems) -> pd.DataFrame | None:
    table = read_table(path, ["participant_id"], problems)
    if table is None:
        return None
    if "genotype_id" not in table.columns:
        table["genotype_id"] = table["participant_id"]
    table["genotype_id"] = table["genotype_id"].mask(
        is_missing(table["genotype_id"]), table["participant_id"]
    )
    if n_empty := int((table["participant_id"] == "").sum()):
        problems.error("empty id", f"{path.name}: {n_empty} rows without a participant_id", rows=n_empty)
    for column in ("participant_id", "genotype_id"):
        repeated = table[column].duplicated() & (table[column] != "")
        if repeated.any():
            problems.error(
                f"duplicate {column}",
                f"{path.name}: {int(repeated.sum())} rows repeat the {column} of an earlier row: "
                f"{named(table.loc[repeated, column].unique())}; one row per person, scans of several "
                f"visits belong "
                "in the scan table",
                rows=int(repeated.sum()),
            )
            table = table[~repeated]
    for column in [name for name in table.columns if NUMERIC.fullmatch(name)]:
        table[column] = numbers(table[column], f"{path.name}, column `{column}`", problems)
    for column in [name for name in TEXT_COLUMNS if name in table.columns]:
        table[column] = table[column].mask(is_missing(table[column]), "missing")
    reserved = table.columns.intersection(["family", "genome"])
    if len(reserved):
        problems.error(
            "reserved column",
            f"{path.name}: rename column {named(reserved)}; family_id and genome_id are read",
        )
    return table[table["participant_id"] != ""].reset_index(drop=True)


def _join(parts: Assembly, listed: pd.DataFrame, samples: list[str], scans: pd.DataFrame) -> None:
    """Fill ``table``, ``person_scans``, ``relatives`` and ``funnel`` of ``parts``."""
    problems, files = parts.problems, parts.description.files
    genomes = match_names(list(listed["genotype_id"]), samples)
    scan_ids = list(pd.unique(scans["participant_id"]))
    visits = match_names(scan_ids, list(listed["participant_id"]))
    row_of_scan_id = {name: int(row) for name, row in zip(scan_ids, visits.rows, strict=True)}
    scan_rows = scans["participant_id"].map(row_of_scan_id).to_numpy(dtype=np.int64)
    genotyped = genomes.rows >= 0
    scanned = np.isin(np.arange(len(listed)), scan_rows)
    both = genotyped & scanned
    _report_pairing(listed, genomes, "genotypes", samples, problems)
    _report_pairing(listed, visits, "scans", scan_ids, problems)

    motion = _mean_motion(listed, scans, scan_rows, parts)
    dropped = {
        "participants without genotypes": int((~genotyped).sum()),
        "participants without scans": int((~scanned).sum()),
        "genotypes without participant": len(samples) - genomes.n_matched,
        "scanned ids without participant": len(scan_ids) - visits.n_matched,
    }
    withdrawn = np.zeros(len(listed), dtype=bool)
    if "exclude" in files:
        excluded = read_ids(files["exclude"])
        found = match_names(list(dict.fromkeys(excluded)), list(listed["participant_id"]))
        withdrawn[found.rows[found.rows >= 0]] = True
        withdrawn |= listed["genotype_id"].isin(excluded).to_numpy()
        dropped["withdrawn (exclude list)"] = int((both & withdrawn).sum())
        dropped["excluded ids that are not listed"] = len(found.rows) - found.n_matched
    kept = both & ~withdrawn
    if motion is not None:
        dropped["mean_fd above max_mean_fd or unknown"] = int((kept & ~motion).sum())
        kept &= motion

    rows = np.flatnonzero(kept)
    table = listed.iloc[rows].reset_index(drop=True)
    table = table[["participant_id", "genotype_id", *table.columns.drop(["participant_id", "genotype_id"])]]
    table["genotype_id"] = [samples[row] for row in genomes.rows[rows]]
    person = np.full(
        len(listed) + 1, -1, dtype=np.int64
    )  # the last entry serves scans without a participant (-1)
    person[rows] = np.arange(len(rows))
    scans = scans.assign(person=person[scan_rows])
    dropped["scan rows of people not kept"] = int((scans["person"] < 0).sum())
    scans = scans[scans["person"] >= 0].sort_values("person", kind="stable").reset_index(drop=True)
    scans["participant_id"] = table["participant_id"].to_numpy()[scans["person"]]
    parts.funnel = {
        "listed": len(listed),
        "genotyped": int(genotyped.sum()),
        "scanned": int(scanned.sum()),
        "both": int(both.sum()),
        "after_filters": len(table),
        "scans": len(scans),
        "dropped": dropped,
    }
    if both.any() and table.empty:
        problems.error(
            "all filtered", f"all {int(both.sum())} people with genome and scan are filtered out: {dropped}"
        )
    if table.empty:
        return
    _attach_split(parts, table)
    parts.relatives = families_from(table, files.get("kinship"), files.get("genomewide"), problems)
    for place, column in ((2, "family"), (3, "genome")):
        table.insert(place, column, getattr(parts.relatives, column))
    parts.table, parts.person_scans = table, scans


def _report_pairing(
    listed: pd.DataFrame, match: Match, what: str, names: list[str], problems: Problems
) -> None:
    """Say what did not match between the table and the genotype or scan side, in both directions."""
    if what == "genotypes":
        without = listed["participant_id"][match.rows < 0]
        known = set(match.rows.tolist())
        strangers = [name for row, name in enumerate(names) if row not in known]
        wanted = list(listed["genotype_id"])
    else:
        without = listed["participant_id"][~np.isin(np.arange(len(listed)), match.rows)]
        strangers = [name for name, row in zip(names, match.rows, strict=True) if row < 0]
        wanted = list(listed["participant_id"])
    if match.n_matched == 0:
        hint = f" ({match.hint})" if match.hint else ""
        problems.error(
            "empty overlap",
            f"no id of the participants table is in the {what}: {named(wanted)} against {named(names)}{hint}",
            listed=len(wanted),
            found=len(names),
        )
        return
    if match.rule:
        problems.warning(
            "ids matched by rule",
            f"{what}: {match.n_exact} ids are equal as written; {match.rule}, and {match.n_matched} match",
            exact=match.n_exact,
            matched=match.n_matched,
        )
    if match.hint:
        problems.warning("ids nearly match", f"{what}: {match.hint}")
    if len(without):
        problems.warning(
            f"no {what}",
            f"{len(without)} of {len(listed)} participants have no {what}: {named(without)}; they are left "
            f"out",
            people=len(without),
        )
    if strangers:
        problems.warning(
            f"unlisted {what}",
            f"{len(strangers)} of {len(names)} ids of the {what} are not in the participants table: "
            f"{named(strangers)}; "
            "they are left out",
            ids=len(strangers),
        )


def _mean_motion(
    listed: pd.DataFrame, scans: pd.DataFrame, scan_rows: np.ndarray[Any, Any], parts: Assembly
) -> BoolArray | None:
    """Copy ``mean_fd`` of the scans to a table without it; True where ``max_mean_fd`` is kept."""
    if "mean_fd" not in listed.columns and "mean_fd" in scans.columns:
        known = scan_rows >= 0
        listed["mean_fd"] = (
            scans["mean_fd"][known].groupby(scan_rows[known]).mean().reindex(range(len(listed)))
        )
    limit = parts.description.settings.get("max_mean_fd")
    if limit is None:
        return None
    if "mean_fd" not in listed.columns or not isinstance(limit, int | float):
        parts.problems.error(
            "max_mean_fd",
            f"`max_mean_fd: {limit}` needs a number (millimetres) and a column `mean_fd` in the "
            f"participants or scan table",
        )
        return None
    return (listed["mean_fd"] <= limit).to_numpy()


def _attach_split(parts: Assembly, table: pd.DataFrame) -> None:
    """Put the user's own split (a column, or a file with participant_id and split) in column ``split``."""
    wanted = parts.description.settings.get("split")
    if wanted is None:
        return
    if str(wanted) in table.columns:
        table["split"] = table[str(wanted)]
        return
    file = parts.description.folder / str(wanted)
    if not file.is_file():
        parts.problems.error(
            "split", f"`split: {wanted}` is neither a column of the participants table nor a file"
        )
        return
    given = read_table(file, ["participant_id", "split"], parts.problems)
    if given is not None:
        match = match_names(list(table["participant_id"]), list(given["participant_id"]))
        words = given["split"].to_numpy()
        table["split"] = [words[row] if row >= 0 else "" for row in match.rows]
