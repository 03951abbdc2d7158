"""A few thousand common SNPs from a genome-wide VCF, BCF or PGEN, for kinship only.

Keeps biallelic autosomal SNPs with a minor allele of at least one per cent, thinned evenly to a bounded
number, so that memory depends on the number of people and not on the size of the file. Phase is ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import cyvcf2
import numpy as np
import pandas as pd
import pgenlib
from numpy.typing import NDArray

from genebrain.genetics.genome.bgzf import check_bgzf, is_bgzf
from genebrain.genetics.genome.foreign import as_sentence, reading
from genebrain.genetics.genotypes.vcf_header import read_vcf_header
from genebrain.genetics.haplotypes.resolve import open_genotypes

AUTOSOMES = frozenset([str(i) for i in range(1, 23)] + [f"chr{i}" for i in range(1, 23)])
BASES = frozenset("ACGT")


def read_dosages(path: Path, *, minimum_maf: float = 0.01, most: int = 20_000) -> tuple[list[str], NDArray[np.int8]]:
    """Sample names and alternate-allele counts of evenly spread common SNPs.

    Parameters
    ----------
    path : Path
        ``.pgen`` (with ``.pvar`` and ``.psam`` beside it) or anything htslib reads as VCF/BCF.
    minimum_maf : float
        Smallest frequency of the rarer allele among known genotypes.
    most : int
        Upper bound of SNPs kept: when reached, every second one is dropped and only every second of the rest
        read.

    Returns
    -------
    samples : list of str
    dosage : int8 ``[people, SNPs]``, -1 is missing
    """
    samples, snps = _pgen(path) if path.suffix == ".pgen" else _vcf(path)
    kept: list[NDArray[np.int8]] = []
    stride, seen = 1, 0
    for calls in snps:
        known = calls[calls >= 0]
        frequency = known.mean() / 2 if len(known) else 0.0
        if min(frequency, 1 - frequency) < minimum_maf:
            continue
        if seen % stride == 0:
            kept.append(calls)
        seen += 1
        if len(kept) > most:
            kept, stride = kept[::2], stride * 2
    return samples, np.stack(kept, axis=1) if kept else np.zeros((len(samples), 0), np.int8)


def _vcf(path: Path) -> tuple[list[str], Iterator[NDArray[np.int8]]]:
    with reading(path), path.open("rb") as raw:
        packed = is_bgzf(raw.read(18))
    if packed:
        check_bgzf(path, "")
        read_vcf_header(path)
    with reading(path):
        reader = cyvcf2.VCF(str(path), gts012=True)

    def snps() -> Iterator[NDArray[np.int8]]:
        try:
            for record in reader:
                if record.CHROM in AUTOSOMES and record.is_snp and len(record.ALT) == 1 and "GT" in record.FORMAT:
                    calls = record.gt_types.astype(np.int8)
                    calls[calls == 3] = -1
                    yield calls
            reader.close()
        except Exception as error:
            raise as_sentence(path, error) from error

    return list(reader.samples), snps()


def _pgen(path: Path) -> tuple[list[str], Iterator[NDArray[np.int8]]]:
    samples = open_genotypes(path).samples
    with path.with_suffix(".pvar").open(encoding="utf-8") as lines:
        n_comments = sum(1 for _ in takewhile(lambda line: line.startswith("##"), lines))
    sites = pd.read_csv(path.with_suffix(".pvar"), sep="\t", skiprows=n_comments, dtype=str, quoting=csv.QUOTE_NONE)
    usable = sites["#CHROM"].isin(AUTOSOMES) & sites["REF"].isin(BASES) & sites["ALT"].isin(BASES)
    n_alleles = sites["ALT"].str.count(",").to_numpy() + 2
    offsets = np.concatenate([[0], np.cumsum(n_alleles)]).astype(np.uintp)

    def snps() -> Iterator[NDArray[np.int8]]:
        try:
            with pgenlib.PgenReader(str(path).encode(), len(samples), allele_idx_offsets=offsets) as reader:
                for variant in np.flatnonzero(usable):
                    calls = np.empty(len(samples), dtype=np.int8)
                    reader.read(np.uint32(variant), calls)
                    calls[calls < 0] = -1
                    yield calls
        except Exception as error:
            raise as_sentence(path, error) from error

    return samples, snps()
