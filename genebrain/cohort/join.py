"""Join the participants table, the genotype file and the scan table by person, counting every loss.

The work behind ``load_cohort`` and ``check_cohort``: goes on after a problem as far as anything can still be
said, so that one look at a broken cohort tells everything. Opens only headers and tables, never genotypes or
scans (except a ``genomewide:`` file, for kinship).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.cohort.relatedness.relatives import Relatives, families_from
from genebrain.cohort.tables.files import Description, read_description, read_table
from genebrain.cohort.tables.id_lists import find_people, read_id_list
from genebrain.cohort.tables.names import Match, match_names, natural
from genebrain.cohort.tables.own_columns import OwnColumns
from genebrain.cohort.tables.problems import Problems, named
from genebrain.cohort.tables.sources import genotype_samples, read_participants, read_scans
from genebrain.cohort.tables.vectors import gene_vector_ids, people_of_ids, vector_scans
from genebrain.cohort.tables.visits import fill_motion, in_order, scans_of, without_relatives
from genebrain.common.types import BoolArray, UserError
from genebrain.common.words import counted


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
    unpaired_scans: pd.DataFrame = field(default_factory=pd.DataFrame)
    put_back: frozenset[str] = frozenset()
    own: OwnColumns = field(default_factory=OwnColumns)


def assemble(path: Path, vectors: Mapping[str, Path] | None = None, put_back: frozenset[str] = frozenset()) -> Assembly:
    """Read ``cohort.yaml`` and join everything it names; see :class:`Assembly`.

    ``vectors`` names files of vectors that are used instead, see :func:`read_description`; ``put_back`` are
    participants whom the exclude list does not leave out.
    """
    problems = Problems()
    description = read_description(path, problems, vectors)
    parts = Assembly(description, problems, put_back=put_back, own=OwnColumns.of(description.settings, problems))
    files = description.files
    if "participants" in files:
        parts.participants = read_participants(files["participants"], problems, parts.own)
    if "genotypes" in files:
        parts.samples = genotype_samples(description.genotypes or files["genotypes"], problems)
    if "scans" in files:
        parts.scans = read_scans(files["scans"], problems, description.settings.get("choose"))
    if "gene_vectors" in files:
        parts.samples = gene_vector_ids(files["gene_vectors"], problems)
        if parts.participants is None and parts.samples is not None and "participants" not in files:
            parts.participants = people_of_ids(parts.samples, problems)
    if "brain_vectors" in files:
        parts.scans = vector_scans(files["brain_vectors"], problems)
    if parts.participants is not None:
        # In an order of their own: that of the rows must not decide who is drawn into which split.
        keys = parts.participants["participant_id"].map(natural)
        parts.participants = parts.participants.loc[keys.sort_values(kind="stable").index].reset_index(drop=True)
    if parts.participants is not None and parts.samples is not None and parts.scans is not None:
        _join(parts, parts.participants, parts.samples, parts.scans)
    if parts.table is not None:
        parts.own.check(parts.table, problems)
    return parts


def _join(parts: Assembly, listed: pd.DataFrame, samples: list[str], scans: pd.DataFrame) -> None:
    """Fill ``table``, ``person_scans``, ``relatives`` and ``funnel`` of ``parts``."""
    problems, files = parts.problems, parts.description.files
    if "gene_vectors" in files:
        listed = _named_as_vectors(listed, samples)
    genomes = match_names(list(listed["genotype_id"]), samples)
    scan_ids = list(pd.unique(scans["participant_id"]))
    visits = match_names(scan_ids, list(listed["participant_id"]))
    listed_row = dict(zip(scan_ids, visits.rows.tolist(), strict=True))
    scan_rows = scans["participant_id"].map(listed_row).to_numpy(dtype=np.int64)
    genotyped = genomes.rows >= 0
    scanned = np.isin(np.arange(len(listed)), scan_rows)
    _report_pairing(listed, genomes, "genotypes", samples, parts)
    _report_pairing(listed, visits, "scans", scan_ids, parts)

    kept, alone = genotyped & scanned, scanned & ~genotyped
    dropped = {
        "participants without genotypes": int((~genotyped).sum()),
        "participants without scans": int((~scanned).sum()),
        "genotypes without participant": len(samples) - genomes.n_matched,
        "scanned ids without participant": len(scan_ids) - visits.n_matched,
    }
    parts.funnel = {
        "listed": len(listed), "genotyped": int(genotyped.sum()),
        "scanned": int(scanned.sum()), "both": int(kept.sum()),
    }  # fmt: skip
    fill_motion(listed, scans, scan_rows)
    for reason, unwanted in (*_withdrawn(parts, listed), *_too_much_motion(parts, listed)):
        dropped[reason] = int((kept & unwanted).sum())
        kept, alone = kept & ~unwanted, alone & ~unwanted

    rows = np.flatnonzero(kept)
    table = listed.iloc[rows].reset_index(drop=True)
    table["genotype_id"] = [samples[row] for row in genomes.rows[rows]]
    person = np.full(len(listed) + 1, -1, dtype=np.int64)  # the last entry serves row -1: nobody's scans
    person[rows] = np.arange(len(rows))
    parts.unpaired_scans = scans_of(scans, scan_rows, without_relatives(alone, listed, kept))
    scans = scans.assign(person=person[scan_rows])
    dropped["scan rows of people not kept"] = int((scans["person"] < 0).sum())
    scans = in_order(scans[scans["person"] >= 0])
    scans["participant_id"] = table["participant_id"].to_numpy()[scans["person"]]
    parts.funnel |= {"after_filters": len(table), "scans": len(scans), "dropped": dropped}
    if table.empty:
        if parts.funnel["both"]:
            words = f"all {parts.funnel['both']} people with genome and scan are filtered out: {dropped}"
            problems.error("all filtered", words, people=parts.funnel["both"])
        elif genotyped.any() and scanned.any():
            words = f"{genotyped.sum()} people have genotypes and {scanned.sum()} have scans, but nobody has both"
            problems.error("nobody has both", words, genotyped=int(genotyped.sum()), scanned=int(scanned.sum()))
        return
    own_split = _own_split(parts, listed, table)
    if own_split is not None:
        table["own_split"] = own_split
    parts.relatives = families_from(table, files.get("kinship"), files.get("genomewide"), problems)
    codes = {"family": parts.relatives.family, "genome": parts.relatives.genome}
    names = ["participant_id", "genotype_id"]
    parts.table = table.assign(**codes)[[*names, *codes, *table.columns.drop(names)]]
    parts.person_scans = scans


def _withdrawn(parts: Assembly, listed: pd.DataFrame) -> Iterator[tuple[str, BoolArray]]:
    """People of the ``exclude:`` list, by participant or genotype id."""
    if "exclude" not in parts.description.files:
        return
    try:
        lines = read_id_list(parts.description.files["exclude"])
    except UserError as error:
        parts.problems.error("exclude list", f"the exclude list cannot be read: {error}")
        return
    if not lines:
        parts.problems.warning("exclude list", "the exclude list names nobody (no line that is no comment)")
    people = find_people(lines, [list(listed["participant_id"]), list(listed["genotype_id"])], _ids_elsewhere(parts))
    unwanted = np.zeros(len(listed), dtype=bool)
    unwanted[list(people.rows)] = True
    unwanted &= ~listed["participant_id"].isin(parts.put_back).to_numpy()
    _report_unknown(parts, "exclude", len(lines), people.unknown)
    if people.ambiguous:
        parts.problems.error(
            "exclude list",
            f"the exclude list has several words a line, and {len(people.ambiguous)} lines name somebody by the first "
            f"and somebody else by the second, or lines differ in which is the id ({named(people.ambiguous)}): write "
            "one id a line, or a header line such as `FID IID`",
            ids=len(people.ambiguous),
        )
    yield "withdrawn (exclude list)", unwanted


def _ids_elsewhere(parts: Assembly) -> list[list[str]]:
    """Ids of the genotype file and the scan table: who is there but not in the table is known, and out anyway."""
    scans = [] if parts.scans is None else list(pd.unique(parts.scans["participant_id"]))
    return [parts.samples or [], scans]


def _report_unknown(parts: Assembly, key: str, n_lines: int, unknown: list[str]) -> None:
    """Ids of a list that are found nowhere: an error, since the list would not be obeyed, unless told otherwise."""
    option, told = f"{key}_unknown", parts.description.settings.get(f"{key}_unknown", "error")
    if told not in ("error", "ignore"):
        parts.problems.error(f"{key} list", f"`{option}: {told}` in {parts.description.path.name}: use error or ignore")
    if not unknown:
        return
    words = f"{len(unknown)} of {n_lines} ids of the {key} list are found nowhere in the cohort: {named(unknown)}"
    if told == "ignore":
        parts.problems.warning(f"{key} list", f"{words} ({option}: ignore)", ids=len(unknown))
        return
    parts.problems.error(
        f"{key} list",
        f"{words}. If they are written another way, mend them: these people would stay in. If they are no longer in "
        f"your files, say `{option}: ignore` in {parts.description.path.name}",
        ids=len(unknown),
    )


def _too_much_motion(parts: Assembly, listed: pd.DataFrame) -> Iterator[tuple[str, BoolArray]]:
    """People whose ``mean_fd`` (millimetres) is above ``max_mean_fd`` or unknown."""
    limit = parts.description.settings.get("max_mean_fd")
    if limit is None:
        return
    if "mean_fd" not in listed.columns or not isinstance(limit, int | float):
        parts.problems.error(
            "max_mean_fd",
            f"`max_mean_fd: {limit}` needs a number (millimetres), and a column `mean_fd` in the participants or scan "
            "table or confounds tables with a column framewise_displacement",
        )
        return
    yield f"mean_fd above {limit:g} mm or unknown", ~(listed["mean_fd"] <= limit).to_numpy()


def _named_as_vectors(listed: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """Vectors of genomes may be named by genotype or by participant: by whichever finds more people."""
    by_genotype, by_person = (match_names(list(listed[c]), samples) for c in ("genotype_id", "participant_id"))
    better = by_person.n_matched > by_genotype.n_matched
    return listed.assign(genotype_id=listed["participant_id"]) if better else listed


def _report_pairing(listed: pd.DataFrame, match: Match, what: str, names: list[str], parts: Assembly) -> None:
    """Say what did not match between the table and the genotype or scan side, in both directions."""
    problems, files = parts.problems, parts.description.files
    vectors = {"genotypes": "gene_vectors", "scans": "brain_vectors"}[what]
    words = vectors.replace("_", " ") if vectors in files else what
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
        column = "genotype_id" if what == "genotypes" else "participant_id"
        hint = f" ({match.hint})" if match.hint else f". Column `{column}` must name people as the {words} do"
        problems.error(
            "empty overlap",
            f"no id of the participants table is in the {words}: {named(wanted)} against {named(names)}{hint}",
            listed=len(wanted),
            found=len(names),
        )
        return
    if match.rule:
        problems.warning(
            "ids matched by rule",
            f"{words}: {match.n_exact} ids are equal as written; {match.rule}, and {match.n_matched} match",
            exact=match.n_exact,
            matched=match.n_matched,
        )
    if match.hint:
        problems.warning("ids nearly match", f"{words}: {match.hint}")
    if len(without):
        problems.warning(
            f"no {what}",
            f"{len(without)} of {len(listed)} participants have no {words} (left out): {named(without)}",
            people=len(without),
        )
    if strangers:
        problems.warning(
            f"unlisted {what}",
            f"{len(strangers)} of {len(names)} ids of the {words} are not in the participants table (left out): "
            f"{named(strangers)}",
            ids=len(strangers),
        )


def _own_split(parts: Assembly, listed: pd.DataFrame, table: pd.DataFrame) -> list[str] | None:
    """The user's word for the side of each person, from the column or the file that ``split:`` names."""
    wanted = parts.description.settings.get("split")
    if wanted is None:
        return None
    if str(wanted) in table.columns:
        return list(table[str(wanted)])
    file = parts.description.folder / str(wanted)
    if not file.is_file():
        words = f"`split: {wanted}` is neither a column of the participants table nor a file"
        parts.problems.error("split", words)
        return None
    given = read_table(file, ["participant_id", "split"], parts.problems)
    if given is None:
        return None
    ids = list(given["participant_id"])
    if twice := [name for name, n in Counter(ids).items() if n > 1]:
        words = f"{file.name} gives {counted(len(twice), 'person')} several sides: {named(twice)}; one row each"
        parts.problems.error("split", words, people=len(twice))
        return None
    people = find_people([(name,) for name in ids], [list(listed["participant_id"])], _ids_elsewhere(parts))
    _report_unknown(parts, "split", len(ids), people.unknown)
    match = match_names(list(table["participant_id"]), ids)
    return [str(given["split"].iloc[row]) if row >= 0 else "" for row in match.rows]
