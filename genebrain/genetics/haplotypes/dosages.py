"""Allele counts per window: what a model without DNA letters sees.

The additive coding of the same variants that the chunks carry. One column per ALT allele that somebody carries;
missing is NaN, so nothing is imputed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.records import Sites
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.allele_calls import allele_calls
from genebrain.genetics.haplotypes.resolve import sites_of


def dosages(
    genotypes: str | Path | GenotypeSource,
    windows: Sequence[Window],
    samples: Sequence[str],
    *,
    min_allele_count: int = 1,
    counting_rows: Sequence[int] | None = None,
) -> list[NDArray[np.float32]]:
    """Copies of each ALT allele per subject, one array per window.

    Parameters
    ----------
    genotypes : path
        VCF, BCF or PGEN.
    windows : sequence of Window
    samples : sequence of str
        Order of the rows.
    min_allele_count : int
        Copies among the counting subjects that an allele needs to become a column; at least 1.
    counting_rows : sequence of int, optional
        Rows of ``samples`` that are counted (the training subjects); all by default.

    Returns
    -------
    list of float32 ``[subjects, alleles]``
        0, 1 or 2 copies (0 or 1 where the subject is haploid); NaN where an allele of the genotype is missing
        or the subject has no copy of the contig. Symbolic and ``*`` alleles and records over the edge of the
        window make no column. An array may have no column.
    """
    if min_allele_count < 1:
        raise ValueError(f"min_allele_count={min_allele_count}: an allele without a carrier is no column")
    counted = slice(None) if counting_rows is None else np.asarray(counting_rows, np.int64)
    found = zip(sites_of(genotypes, windows, samples), windows, strict=True)
    return [_block(sites, window, counted, min_allele_count) for sites, window in found]


def _block(
    sites: Sites, window: Window, counted: slice | NDArray[np.int64], min_allele_count: int
) -> NDArray[np.float32]:
    columns = [one.copies() for one in allele_calls(sites, window) if one.carried[counted].sum() >= min_allele_count]
    return np.stack(columns, axis=1) if columns else np.zeros((sites.alleles.shape[1], 0), np.float32)
