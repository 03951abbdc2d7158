"""Training, validation and test people: no family on two sides, every site in its share, sizes exact.

Works on row numbers of the cohort's table; a saved split holds row numbers and the cohort's fingerprint, no
ids. Does not decide who is related (see ``relatives``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from genebrain.cohort.participants import Cohort
from genebrain.cohort.splits.allocation import allocate_families
from genebrain.cohort.splits.audit import audit_saved, audit_split
from genebrain.cohort.tables.problems import did_you_mean, named
from genebrain.common.files import replacing
from genebrain.common.reading import read_record
from genebrain.common.types import IntArray, UserError

PARTS = ("train", "validation", "test")
SPELLINGS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
NO_VALIDATION = "validation people taken from its train people"
FEWEST = {"train": 10, "validation": 2, "test": 5}
SCHEMA = 1


@dataclass(frozen=True)
class Split:
    """Row numbers of the cohort's table on each side, sorted int ``[people of the side]``.

    Attributes
    ----------
    train, validation, test : int array
    left_out : int array
        People on no side: without a label in the user's own split, or relatives of a held-out site.
    audit : dict
        JSON-ready proof: see :func:`genebrain.cohort.splits.audit.audit_split`.
    fingerprint : str
        Of the cohort that the rows belong to.
    gone : dict
        People of each side whom the cohort has no longer; None where it is as it was when the split was made.
    """

    train: IntArray
    validation: IntArray
    test: IntArray
    left_out: IntArray
    audit: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    gone: dict[str, int] | None = None

    @property
    def training(self) -> IntArray:
        """Training and validation people together, sorted: whom a final closed-form fit may see."""
        return np.sort(np.concatenate([self.train, self.validation]))

    @property
    def sizes(self) -> dict[str, int]:
        """People on each side."""
        return {part: len(getattr(self, part)) for part in (*PARTS, "left_out")}

    def save(self, path: Path) -> None:
        """Write as JSON (row numbers, audit and fingerprint; no ids)."""
        content = {"schema": SCHEMA, "fingerprint": self.fingerprint, "audit": self.audit}
        content |= {part: getattr(self, part).tolist() for part in (*PARTS, "left_out")}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, private=False) as partial:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_split(path: Path, cohort: Cohort, now: IntArray | None = None) -> Split:
    """Read a saved split of ``cohort``.

    Parameters
    ----------
    now : int array, optional
        Row that every row of the split has in this cohort, -1 for who is gone, where the cohort changed since.

    Raises
    ------
    UserError
        When the file is no split, puts a person or a family on two sides, or was made for other people, families or
        files and ``now`` is not given: its row numbers would then mean other people.
    """
    try:
        content = read_record(path)
        rows = {part: np.asarray(content[part], dtype=np.int64) for part in (*PARTS, "left_out")}
        fingerprint = str(content["fingerprint"])
    except (UserError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{path} is not a saved split: {error}") from error
    if now is None and fingerprint != cohort.fingerprint:
        raise UserError(
            f"split {path.name} belongs to another cohort or an older state of this one (fingerprint "
            f"{fingerprint[:8]}, this cohort {cohort.fingerprint[:8]}): people, families or files changed, and the run "
            "knows none of these people, or is of a version that could not tell who is who. Other people are judged as "
            "a second cohort (cohort.path= and out=); of people who withdraw 'genebrain forget ids.txt' keeps the run. "
            "Or fit anew"
        )
    audit, gone = content.get("audit", {}), None
    if now is not None:
        if (people := np.concatenate(list(rows.values()))).size and not 0 <= people.min() <= people.max() < len(now):
            raise UserError(f"{path} names people who were never in its cohort: restore it from a copy")
        gone = {part: int((now[old] < 0).sum()) for part, old in rows.items()}
        rows = {part: np.sort(now[old][now[old] >= 0]) for part, old in rows.items()}
    audit_saved(cohort, rows, audit, PARTS, path)
    return Split(**rows, audit=audit, fingerprint=cohort.fingerprint, gone=gone)


def make_split(
    cohort: Cohort,
    *,
    seed: int = 0,
    test: float = 1 / 3,
    validation: float = 0.1,
    site_column: str | None = "site",
    held_out_site: str | None = None,
    train_share: float | None = None,
    fold: tuple[int, int] | None = None,
    crossing: Literal["error", "report"] = "error",
) -> Split:
    """Divide the people of a cohort; the same arguments always give the same split.

    A split of the user's own (key ``split`` of ``cohort.yaml``) is taken as it is and audited; where it names no
    validation people, some of its train people are taken.

    Parameters
    ----------
    test, validation : float
        Shares of all people, within one family of exact (exact when there are enough single people).
    site_column : str or None
        Column whose values keep their share on every side; ignored when the cohort has no such column.
    held_out_site : str, optional
        Leave one site out: its people are the test set, their relatives elsewhere are left out of training,
        and only validation is drawn at random.
    train_share : float, optional
        Share of the train people, and of the validation people, who are used; the others are left out.
    fold : (int, int), optional
        Number of a fold, from 0, and how many there are: its people are the test set; each person is in one.
    crossing : "error" or "report"
        What to do when the user's own split puts one family on two sides.

    Raises
    ------
    UserError
        Too few people for the sizes asked, an unknown site, or a family on two sides of the user's own split.
    """
    if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise UserError(f"shares test={test:g} and validation={validation:g} must leave room for training")
    sites = _sites(cohort, site_column)
    fewest = dict(FEWEST, validation=FEWEST["validation"] if validation > 0 else 0)
    if fold is not None:
        side, how = _fold(cohort, sites, fold, validation, seed), f"fold {fold[0] + 1} of {fold[1]}, by family"
    elif held_out_site is not None:
        side = _leave_site_out(cohort, sites, site_column, held_out_site, validation, seed)
        how = f"site {held_out_site} left out"
    elif "own_split" in cohort.table.columns:
        side = _own_split(cohort.table["own_split"])
        how = "given by the user"
        fewest["validation"] = 0
        if validation > 0 and not (side == PARTS.index("validation")).any():
            side, how = _with_validation(side, cohort, sites, validation, seed), f"{how}, {NO_VALIDATION}"
    else:
        sizes = _sizes(len(cohort), test, validation)
        _enough(sizes, fewest)
        side = allocate_families(cohort.table["family"].to_numpy(), sites, sizes, seed)
        how = "by family, stratified by site"
    if train_share is not None:
        side, how = _thinned(side, cohort.table["family"].to_numpy(), train_share, seed), f"{how}, training thinned"
    rows = {part: np.flatnonzero(side == code) for code, part in enumerate(PARTS)}
    mend = "change shares" if fold is None else f"take at most split.folds={max(2, len(cohort) // FEWEST['test'])}"
    _enough([len(rows[part]) for part in PARTS], fewest, mend)
    audit = audit_split(cohort, side, PARTS, sites) | {"how": how, "seed": seed}
    crosses = any(audit[f"{what}_crossing"] for what in ("families", "genomes", "pairs"))
    if crosses and crossing == "error":
        raise UserError(
            f"the split puts {audit['families_crossing']} families and {audit['genomes_crossing']} genomes on two "
            f"sides ({audit['pairs_crossing']} related pairs): test results would be too good. Move whole families to "
            "one side"
        )
    return Split(**rows, left_out=np.flatnonzero(side < 0), audit=audit, fingerprint=cohort.fingerprint, gone=None)


def _fold(cohort: Cohort, sites: pd.Series[str], fold: tuple[int, int], validation: float, seed: int) -> IntArray:
    """Test people of one fold, the others divided into train and validation; whole families, sites in their share."""
    if "own_split" in cohort.table.columns:
        raise UserError(
            "split.folds: the cohort has a split of its own (`split:` in cohort.yaml); leave one of the two out"
        )
    (number, n_folds), family = fold, cohort.table["family"].to_numpy()
    n = len(cohort)
    sizes = [n // n_folds + (one < n % n_folds) for one in range(n_folds)]
    tested = allocate_families(family, sites, sizes, seed) == number
    rest = np.flatnonzero(~tested)
    n_validation = round(n * validation)
    side = np.full(n, PARTS.index("test"), dtype=np.int64)
    side[rest] = allocate_families(family[rest], sites.iloc[rest], [len(rest) - n_validation, n_validation], seed)
    return side


def _thinned(side: IntArray, family: IntArray, share: float, seed: int) -> IntArray:
    """The split with this share of its train and validation people, whole families; smaller shares lie in larger."""
    thin = side.copy()
    order = np.random.default_rng([seed, 1]).permutation(len(side))
    turn = np.full(int(family.max(initial=0)) + 1, len(side))
    np.minimum.at(turn, family[order], np.arange(len(order)))  # relatives come where the first of them does
    for code in (PARTS.index("train"), PARTS.index("validation")):
        people = np.flatnonzero(side == code)
        late = people[np.argsort(turn[family[people]], kind="stable")][round(share * len(people)) :]
        thin[late] = -1
    return thin


def _sizes(n: int, test: float, validation: float) -> list[int]:
    n_test, n_validation = round(n * test), round(n * validation)
    return [n - n_test - n_validation, n_validation, n_test]


def _enough(sizes: list[int], fewest: dict[str, int], mend: str = "change shares") -> None:
    short = [
        f"{part} {size} (at least {fewest[part]})"
        for part, size in zip(PARTS, sizes, strict=True)
        if size < fewest[part]
    ]
    if short:
        shares = ", ".join(short)
        raise UserError(f"{sum(sizes)} people are too few for this split: {shares}; add people or {mend}")


def _sites(cohort: Cohort, site_column: str | None) -> pd.Series[str]:
    if site_column is not None and site_column in cohort.table.columns:
        return cohort.table[site_column].astype(str)
    return pd.Series(["all"] * len(cohort), dtype=str)


def _own_split(words: pd.Series[str]) -> IntArray:
    """Side of each person from the user's words; an empty cell leaves a person out."""
    lower = words.str.lower().replace(SPELLINGS)
    unknown = lower[~lower.isin([*PARTS, "", "na", "n/a", "nan"])]
    if len(unknown):
        raise UserError(f"{len(unknown)} people have a split other than {', '.join(PARTS)}: {named(unknown.unique())}")
    return lower.map({part: code for code, part in enumerate(PARTS)}).fillna(-1).to_numpy(dtype=np.int64)


def _with_validation(side: IntArray, cohort: Cohort, sites: pd.Series[str], validation: float, seed: int) -> IntArray:
    """The split with validation people taken from the train people: whole families, at most half of them."""
    train = np.flatnonzero(side == PARTS.index("train"))
    n_validation = min(max(FEWEST["validation"], round(len(cohort) * validation)), len(train) // 2)
    sizes, family = [len(train) - n_validation, n_validation], cohort.table["family"].to_numpy()[train]
    cut = side.copy()
    cut[train] = allocate_families(family, sites.iloc[train], sizes, seed)
    return cut


def _leave_site_out(
    cohort: Cohort, sites: pd.Series[str], site_column: str | None, site: str, validation: float, seed: int
) -> IntArray:
    known = list(sites.unique())
    if site not in known:
        raise UserError(f"no site `{site}` in column `{site_column}`{did_you_mean(site, known)}; sites: {named(known)}")
    family = cohort.table["family"].to_numpy()
    held_out = (sites == site).to_numpy()
    kin = np.isin(family, family[held_out]) & ~held_out
    rest = np.flatnonzero(~held_out & ~kin)
    n_validation = min(round(len(cohort) * validation), len(rest))
    sizes = [len(rest) - n_validation, n_validation]
    side = np.full(len(cohort), -1, dtype=np.int64)
    side[held_out] = PARTS.index("test")
    side[rest] = allocate_families(family[rest], sites.iloc[rest], sizes, seed)
    return side
