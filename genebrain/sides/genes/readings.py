"""Gene columns of a cohort for the closed form: blocks of every source, and the sets of columns that are made of them.

Masks and dosages know the alleles of the training people only. Sets, with the lower frequency t and the higher T:

- dosages of alleles not below t, columns of frequent alleles larger;
- dosages of alleles not below T, standardised;
- by how much heterozygotes of these differ from the middle of both homozygotes, standardised;
- copies of all rare alleles of a window together;
- embeddings with alleles below t masked, all components, columns of frequent alleles larger;
- embeddings with alleles below T masked, all components, whitened, varimax within chunks;
- where they are asked for, counts of words that are found when the latents are known, beside the first dosages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from genebrain.alignment.closed_form.column_sets import Blocks, ColumnSet, GeneBlocks
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.motifs.members import MOTIFS
from genebrain.alignment.made_blocks import MadeBlocks, lacking
from genebrain.common.types import FloatArray, IntArray
from genebrain.common.words import counted
from genebrain.sides.pooling import KEPT

if TYPE_CHECKING:
    from genebrain.genetics.haplotypes.common_alleles import AlleleTable
    from genebrain.sides.genome import GeneSide

BURDEN = "rare alleles"
"""Name of the counts of all rare alleles together, and of their set."""
BY_FREQUENCY = 0.5
"""Power of a column's standard deviation under the frequency prior."""


def source_of(family: str, frequency: float) -> str:
    """Name of the blocks of a family under a mask."""
    return f"{family} {frequency:g}" if frequency else family


def column_sets(
    families: Sequence[str], frequencies: Sequence[float], widths: Mapping[str, int | None]
) -> tuple[ColumnSet, ...]:
    """Sets of columns; the first one chooses the brain latents.

    Parameters
    ----------
    frequencies : sequence of float
        In ascending order, of which the first and the last are used; (0,) where all alleles are read.
    widths : mapping
        Width of a chunk's vector by source of embeddings; None where chunks are not kept apart.
    """
    sets = []
    low, high = frequencies[0], frequencies[-1]
    if "dosages" in families:
        settings = ColumnSettings("dosages", min_maf=0.0, power=BY_FREQUENCY)
        sets.append(_set("dosages", low, settings, " by frequency"))
        plain = ColumnSettings("dosages", min_maf=0.0)
        sets.append(_set("dosages", high, plain))
        sets.append(_set("dosages", high, replace(plain, effects="deviation"), " heterozygotes"))
        sets.append(ColumnSet(BURDEN, BURDEN, "dosages", plain))
    if "embeddings" in families:
        first, last = (_of_chunks(widths[source_of("embeddings", one)], masked=one > 0) for one in (low, high))
        sets.append(_set("embeddings", low, replace(first, rotate=False, power=BY_FREQUENCY), " by frequency"))
        sets.append(_set("embeddings", high, last))
    if MOTIFS in families:
        sets.append(ColumnSet(MOTIFS, MOTIFS, MOTIFS, sets[0].settings))
    return tuple(sets)


def _of_chunks(width: int | None, *, masked: bool) -> ColumnSettings:
    # Without a mask what is left out of a chunk is mostly rare alleles.
    return ColumnSettings(item_width=width, variance=1.0 if masked and width is not None else None)


def _set(family: str, frequency: float, settings: ColumnSettings, more: str = "") -> ColumnSet:
    source = source_of(family, frequency)
    return ColumnSet(source + more, source, family, settings)


def dosage_sources(table: AlleleTable, frequencies: Sequence[float]) -> dict[str, Sequence[FloatArray]]:
    """Blocks of everything that is made of dosages, by source."""
    used = frequencies or (0.0,)
    return {source_of("dosages", one): _dosage_blocks(table, one) for one in used} | {BURDEN: table.burden(used[-1])}


def _dosage_blocks(table: AlleleTable, frequency: float) -> Sequence[FloatArray]:
    """Dosages by window; of a large cohort each is made whenever it is asked for."""
    if sum(4 * block.size for block in table.dosages) <= KEPT:  # as single precision, however they are stored
        return table.blocks(frequency)
    widths = [sum(a.varies(frequency) for a in alleles) for alleles in table.alleles]
    return MadeBlocks(partial(table.block, frequency), len(table.dosages[0]), widths)


def uses_sets(gene: GeneSide) -> bool:
    """Whether a gene side has more than the one plain set of columns."""
    return bool(gene.frequencies) or "dosages" in gene.families


def gene_blocks(
    gene: GeneSide,
    embeddings: Mapping[str, Sequence[FloatArray]],
    dosages: Mapping[str, Sequence[FloatArray]],
    widths: Mapping[str, int | None],
    words: Callable[[], Any],
) -> Blocks:
    """Blocks of both families with their sets; a plain list where there is one set only.

    Parameters
    ----------
    embeddings, dosages : mapping
        Blocks by source.
    words : callable
        Counts of all words in the people's chunks with all their alleles, where they are read.
    """
    if not uses_sets(gene):
        (blocks,) = embeddings.values()
        return blocks
    sets = column_sets(gene.families, gene.frequencies or (0.0,), widths)
    sources: dict[str, Sequence[FloatArray]] = {**embeddings, **dosages}
    if MOTIFS in gene.families:
        sources[MOTIFS] = [words(), *dosages[sets[0].source]]
    return GeneBlocks(sources, sets)


def filled(block: FloatArray, training: IntArray) -> tuple[FloatArray, FloatArray]:
    """Windows that a person lacks become the mean of the training people who have them; the mean as well."""
    missing, mean = np.asarray(np.isnan(block).any(axis=1)), np.zeros(block.shape[1], block.dtype)
    if not missing.any():
        return block, mean
    have = training[~missing[training]]
    mean = block[have].mean(axis=0) if len(have) else mean
    return np.where(missing[:, None], mean, block).astype(np.float32), mean


def told_missing(blocks: Sequence[FloatArray]) -> str:
    """How many windows of people have no embedding, in words; empty where all have."""
    missing = lacking(blocks)
    if not missing.any():
        return ""
    people, nobody = int(missing.any(axis=1).sum()), int(missing.all(axis=0).sum())
    return (
        f"note: {int(missing.sum()):,} of {missing.size:,} windows of people ({counted(people, 'person')}) have no "
        "embedding, as too many genotypes are missing (genetics.missing_threshold) or the sequence is unknown; they "
        "take the mean of the training people" + (f". Missing in everybody: {nobody} windows" if nobody else "")
    )
