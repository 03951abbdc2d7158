"""Records of a VCF or BCF as cyvcf2 gives them, gathered to the arrays of a window."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genotypes.record_filter import R2_FIELDS, RecordFilter
from genebrain.genetics.genotypes.records import ABSENT, MISSING, Alleles, Sites, allele_type

NO_SET = -1
"""Number of the phase set of genotypes that name none."""


_Calls = tuple[Alleles, NDArray[np.bool_] | bool]


class RecordTable:
    """Rows of a :class:`Sites`, added one by one.

    Parameters
    ----------
    path : Path
        For messages.
    filters : RecordFilter
    phase_sets : bool
        Read FORMAT/PS.
    """

    def __init__(self, path: Path, filters: RecordFilter, *, phase_sets: bool) -> None:
        self.path, self.filters = path, filters
        self.position: list[int] = []
        self._kept: list[int] = []
        self._rows: list[tuple[bytes, tuple[bytes, ...], bool]] = []
        self._calls: list[_Calls | None] = []
        self._sets: list[NDArray[np.int64]] | None = [] if phase_sets else None
        self._left_out: dict[str, int] = {}

    def add(self, record: Any, n: int) -> None:
        """Take over one record with ``n`` samples, or count why it is left out."""
        self.position.append(record.POS - 1)
        filters = self.filters
        if filters.kept is not None or filters.min_r2 is not None:
            info = {name: record.INFO.get(name) for name in R2_FIELDS} if filters.min_r2 is not None else {}
            if reason := filters.reason(record.FILTER or "PASS", info):
                self._left_out[reason] = self._left_out.get(reason, 0) + 1
                return
        self._kept.append(record.POS - 1)
        alternatives = tuple(alt.encode() for alt in record.ALT)
        self._rows.append((record.REF.encode(), alternatives, record.FILTER is None))
        self._calls.append(self._read_calls(record, n, len(alternatives)))
        if self._sets is not None:
            self._sets.append(self._read_sets(record, n))

    def _read_calls(self, record: Any, n: int, n_alternatives: int) -> _Calls | None:
        """Alleles ``[samples, 2]`` and phase flags ``[samples]``; None for a record without genotypes."""
        where = f"{self.path}: the record at {record.CHROM}:{record.POS}"
        if "GT" not in record.FORMAT:
            return None
        array: NDArray[np.int16] = record.genotype.array()
        if array.shape[1] not in (2, 3):
            raise UserError(f"{where} has genotypes of {array.shape[1] - 1} alleles; one or two are supported")
        if (highest := int(array[:, :-1].max(initial=0))) > n_alternatives:
            raise UserError(
                f"{where} has genotypes with allele {highest}, but names {n_alternatives} ALT alleles. Mend or drop it."
            )
        kind = allele_type(n_alternatives)
        if array.shape[1] == 3:
            phased = array[:, 2].astype(bool)
            return array[:, :2].astype(kind), True if phased.all() else phased
        out = np.full((n, 2), ABSENT, kind)  # haploid files come with one allele column
        out[:, 0] = array[:, 0]
        return out, True

    def _read_sets(self, record: Any, n: int) -> NDArray[np.int64]:
        """Numbers of the phase sets, equal for equal values."""
        out = np.full(n, NO_SET, np.int64)
        if "PS" not in record.FORMAT or (values := record.format("PS")) is None:
            return out
        values = np.asarray(values).reshape(n, -1)[:, 0]
        if values.dtype.kind in "US":
            codes = {word: zlib.crc32(str(word).encode()) for word in set(values.tolist()) - {"", "."}}
            return np.array([codes.get(word, NO_SET) for word in values.tolist()], np.int64)
        return np.where(values < 0, NO_SET, values).astype(np.int64)

    def sites(self, n: int, order: NDArray[np.int64]) -> Sites:
        """What was added, with the samples in ``order``; the table is empty then."""
        calls, self._calls = self._calls, []
        as_read = np.array_equal(order, np.arange(n))
        without = np.array([found is None for found in calls], bool)
        kinds = {found[0].dtype for found in calls if found is not None}
        alleles = np.full((len(calls), len(order), 2), MISSING, np.result_type(np.int8, *kinds))
        flags: list[Any] = []
        for row in range(len(calls)):
            found, calls[row] = calls[row], None  # one copy of a large cohort at a time
            if found is not None:
                alleles[row] = found[0] if as_read else found[0][order]
            flags.append(False if found is None else found[1])
        if without.any() and not without.all():
            # A record without genotypes says nothing of ploidy: who has one copy elsewhere has one here.
            single = (alleles[~without, :, 1] == ABSENT).all(axis=0)
            alleles[without, :, 1] = np.where(single, ABSENT, MISSING)
        sets = None
        if self._sets is not None:
            sets = (np.stack(self._sets) if self._sets else np.zeros((0, n), np.int64))[:, order]
        return Sites(
            np.asarray(self._kept, np.int64),
            [row[0] for row in self._rows],
            [row[1] for row in self._rows],
            alleles,
            _phased(flags, len(order), order),
            np.array([row[2] for row in self._rows], bool),
            sets,
            self._left_out,
        )


def _phased(flags: list[Any], n: int, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Phase flags ``[records, samples]``; they take no memory where all genotypes are phased."""
    if all(flag is True for flag in flags):
        return np.broadcast_to(np.True_, (len(flags), n))
    phased = np.empty((len(flags), n), bool)
    for row, flag in enumerate(flags):
        phased[row] = flag if isinstance(flag, bool) else flag[order]
    return phased
