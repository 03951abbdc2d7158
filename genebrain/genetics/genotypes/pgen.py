"""The reader of PLINK 2 files (``.pgen`` with ``.pvar`` and ``.psam``).

The same arrays as from a VCF, about 25 times faster. Multiallelic and phased records are read whole; the ploidy of
X, Y and MT follows from SEX, because a .pgen stores every call as diploid. Known limits of the format: a
half-missing call (``.|1``) is missing, the order of an unphased genotype is lost (the lower allele number comes
first), and pseudo-autosomal regions must be split off (``plink2 --split- par``).
"""

from __future__ import annotations

import csv
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pgenlib
from numpy.typing import NDArray

from genebrain.common.text_lines import text_lines
from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import canonical, recorded_name
from genebrain.genetics.genome.foreign import reading
from genebrain.genetics.genome.gene_windows import SHOWN, Window
from genebrain.genetics.genotypes.record_filter import EVERYTHING, RecordFilter
from genebrain.genetics.genotypes.records import ABSENT, MISSING, Alleles, Sites, allele_type

AT_ONCE = 50_000_000
"""Genotypes that are decoded at once, 9 bytes each."""
AGAIN = "Copy the three files again, or make them again with `plink2 --make-pgen`."


class PgenFile:
    """PLINK 2 genotypes, read with pgenlib (https://github.com/chrchang/plink-ng)."""

    def __init__(self, path: Path, filters: RecordFilter = EVERYTHING) -> None:
        self.path, self.filters = path, filters
        psam, pvar = path.with_suffix(".psam"), path.with_suffix(".pvar")
        if absent := [file.name for file in (pvar, psam) if not file.is_file()]:
            raise UserError(
                f"{path} needs {' and '.join(absent)} beside it (a compressed .pvar.zst: "
                f"`zstd -d {path.stem}.pvar.zst`)"
            )
        with reading(psam, AGAIN):
            self.samples, self._sex = _read_psam(psam)
        with reading(pvar, AGAIN):
            self._sites, fields = _read_pvar(pvar)
        filters.check(fields, str(path))
        self._n_alleles = np.array([2 if alt == "." else alt.count(",") + 2 for alt in self._sites["ALT"]], np.int64)
        offsets = np.concatenate([[0], np.cumsum(self._n_alleles)]).astype(np.uintp)
        _check_counts(path, len(self._sites), len(self.samples))
        with reading(path, f"Do {pvar.name} and {psam.name} belong to it? {AGAIN}"):
            self._reader = pgenlib.PgenReader(
                str(path).encode(),
                raw_sample_ct=len(self.samples),
                variant_ct=len(self._sites),
                allele_idx_offsets=offsets,
            )
        self._spans = _contig_spans(self._sites["#CHROM"].to_numpy(), pvar)
        self.contigs = list(self._spans)
        self._position = self._sites["POS"].to_numpy(np.int64) - 1
        self._end = self._position + self._sites["REF"].str.len().to_numpy(np.int64)
        for first, stop in self._spans.values():
            if np.any(np.diff(self._position[first:stop]) < 0):
                raise UserError(f"{pvar} is not sorted by position; run `plink2 --make-pgen --sort-vars`")

    @property
    def recorded(self) -> list[str]:
        """Contigs that have variants: all that the .pvar names."""
        return self.contigs

    def read(self, window: Window, sample_rows: Sequence[int] | None = None) -> Sites:
        """All records that overlap the window, for the wanted samples in the wanted order."""
        wanted = np.arange(len(self.samples)) if sample_rows is None else np.asarray(sample_rows, np.int64)
        contig = recorded_name(window.contig, self.recorded, self.contigs, str(self.path))
        first, stop = self._spans[contig]
        stop = first + int(np.searchsorted(self._position[first:stop], window.end))
        chosen = first + np.flatnonzero(self._end[first:stop] > window.start)
        chosen, left_out = self._kept(chosen)
        alleles, phased = self._calls(chosen, wanted)
        self._apply_ploidy(alleles, contig, wanted)
        rows = self._sites.iloc[chosen]
        alternatives = [() if alt == "." else tuple(alt.encode().split(b",")) for alt in rows["ALT"]]
        return Sites(
            self._position[chosen],
            [ref.encode() for ref in rows["REF"]],
            alternatives,
            alleles,
            phased,
            rows["FILTER"].isin([".", "PASS"]).to_numpy(bool),
            left_out=left_out,
        )

    def _kept(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[str, int]]:
        """Variants that the user's filters let through, and how many they do not, by reason."""
        if self.filters == EVERYTHING:
            return chosen, {}
        rows = self._sites.iloc[chosen]
        reasons = [
            self.filters.reason(kept, _info(info)) for kept, info in zip(rows["FILTER"], rows["INFO"], strict=True)
        ]
        left_out = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason is not None}
        return chosen[[reason is None for reason in reasons]], left_out

    def _calls(self, chosen: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[Alleles, NDArray[np.bool_]]:
        """Alleles ``[variants, samples, 2]`` and phase flags, decoded some variants at a time."""
        n, block = len(self.samples), max(1, AT_ONCE // max(1, len(self.samples)))
        highest = int(self._n_alleles[chosen].max(initial=1)) - 1
        alleles = np.empty((len(chosen), len(wanted), 2), allele_type(highest))
        phased = np.empty((len(chosen), len(wanted)), np.bool_)
        for first in range(0, len(chosen), block):
            variants = chosen[first : first + block].astype(np.uint32)
            raw = np.empty((len(variants), 2 * n), np.int32)
            flags = np.empty((len(variants), n), np.bool_)
            with reading(self.path, f"Is it truncated? {AGAIN}"):
                self._reader.read_alleles_and_phasepresent_list(variants, raw, flags)
            np.maximum(raw, MISSING, out=raw)  # pgenlib has a number of its own for what is missing
            alleles[first : first + block] = raw.reshape(len(variants), n, 2)[:, wanted]
            phased[first : first + block] = flags[:, wanted]
        return alleles, phased

    def _apply_ploidy(self, alleles: Alleles, contig: str, wanted: NDArray[np.int64]) -> None:
        """Turn the doubled calls of haploid contigs into one allele; a heterozygous one is missing."""
        name = canonical(contig)
        if name not in ("X", "Y", "MT"):
            return
        sex = self._sex[wanted]
        if name != "MT" and (n_unknown := int(np.sum((sex != 1) & (sex != 2)))):
            raise UserError(
                f"{self.path}: the ploidy of contig {contig} follows from SEX, which the .psam does not give "
                f"for {n_unknown} of {len(wanted)} people; fill it (1 male, 2 female) or drop those windows"
            )
        haploid = np.ones(len(wanted), bool) if name == "MT" else sex == 1
        calls = alleles[:, haploid]
        calls[calls[:, :, 0] != calls[:, :, 1], 0] = MISSING
        calls[:, :, 1] = ABSENT
        alleles[:, haploid] = calls
        if name == "Y":
            alleles[:, sex == 2] = ABSENT

    def __enter__(self) -> PgenFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()


def _read_psam(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Sample names and sex (1, 2, else 0); without a header line the columns are those of a .fam file."""
    lines = [line.split() for line in text_lines(path) if line.strip()]
    lines = [fields for fields in lines if not fields[0].startswith("##")]
    header = ["FID", "IID", "PAT", "MAT", "SEX"]
    if lines and lines[0][0].startswith("#"):
        header = [lines[0][0][1:], *lines.pop(0)[1:]]
    if "IID" not in header:
        raise UserError(f"{path}: no IID column among {', '.join(header)}")
    short = [number for number, fields in enumerate(lines, start=1) if len(fields) < len(header)]
    if short:
        raise UserError(f"{path}: {len(short)} rows have fewer than {len(header)} columns: {short[:SHOWN]}")
    names = [fields[header.index("IID")] for fields in lines]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: {len(names) - len(set(names))} of {len(names)} IIDs are not unique")
    sex = [fields[header.index("SEX")] if "SEX" in header else "0" for fields in lines]
    code = {"1": 1, "M": 1, "m": 1, "2": 2, "F": 2, "f": 2}
    return names, np.array([code.get(text, 0) for text in sex], np.int64)


def _check_counts(path: Path, n_variants: int, n_samples: int) -> None:
    """Compare the counts in the first bytes of a .pgen with the tables beside it."""
    with path.open("rb") as raw:
        head = raw.read(11)
    if head[:2] != b"\x6c\x1b" or len(head) < 3:
        raise UserError(f"{path} is no .pgen: it begins with {head[:4]!r}. {AGAIN}")
    if head[2] == 1 or len(head) < 11:
        raise UserError(
            f"{path} is a PLINK 1 .bed with another name, or cut off; a .bed has no phase, so it has no haplotypes"
        )
    for what, there, beside, table in (
        ("variants", struct.unpack_from("<I", head, 3)[0], n_variants, ".pvar"),
        ("samples", struct.unpack_from("<I", head, 7)[0], n_samples, ".psam"),
    ):
        if there and there != beside:
            raise UserError(
                f"{path} holds {there:,} {what}, the {table} beside it lists {beside:,}: they do not belong together. "
                f"{AGAIN}"
            )


def _info(text: str) -> dict[str, object]:
    """INFO column as field -> value; flags are left out."""
    return {name: value for name, mark, value in (part.partition("=") for part in text.split(";")) if mark}


def _read_pvar(path: Path) -> tuple[pd.DataFrame, set[str]]:
    """``#CHROM, POS, REF, ALT, FILTER, INFO`` of every variant, and the declared INFO fields."""
    n_comments, fields = 0, set()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("##"):
                break
            n_comments += 1
            if declared := re.match(r"##INFO=<ID=([^,>]+)", line):
                fields.add(declared[1])
    columns = ["#CHROM", "POS", "REF", "ALT", "FILTER", "INFO"]
    try:
        table = pd.read_csv(
            path,
            sep="\t",
            skiprows=n_comments,
            dtype=str,
            keep_default_na=False,
            usecols=lambda name: name in columns,
            quoting=csv.QUOTE_NONE,  # a quote is a letter: paired, it would swallow the lines between
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if absent := [name for name in columns[:4] if name not in table.columns]:
        raise UserError(f"{path}: columns {', '.join(absent)} are absent; is it a .bim with another name?")
    for column in ("FILTER", "INFO"):
        table[column] = table[column].fillna(".") if column in table.columns else "."
    table = table.fillna("")
    odd = np.flatnonzero(~table["POS"].str.fullmatch(r"\d{1,10}") | (table["REF"] == "") | (table["ALT"] == ""))
    if len(odd):
        raise UserError(
            f"{path}: {len(odd)} of {len(table)} variants have no whole number as POS, or no REF or ALT; the first is "
            f"variant {odd[0] + 1}. {AGAIN}"
        )
    table["POS"] = table["POS"].astype(np.int64)
    return table, fields


def _contig_spans(contigs: NDArray[np.object_], path: Path) -> dict[str, tuple[int, int]]:
    starts = np.flatnonzero(np.r_[True, contigs[1:] != contigs[:-1]]) if len(contigs) else np.array([], int)
    stops = np.r_[starts[1:], len(contigs)]
    names = [str(contigs[start]) for start in starts]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: a contig is in two places; run `plink2 --make-pgen --sort-vars`")
    return {name: (int(a), int(b)) for name, a, b in zip(names, starts, stops, strict=True)}
