"""Chunks that an encoder will read before there is a split: rare alleles are counted on everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.chunks.chunk_set import ChunkSet, together
from genebrain.genetics.haplotypes.common_alleles import allele_table


def planned_chunks(frequencies: Sequence[float], inputs: Mapping[str, Any]) -> ChunkSet:
    """Chunks under all masks; ``inputs`` of :func:`~genebrain.genetics.chunks.build.build_chunks`."""
    if not frequencies:
        return build_chunks(**inputs, progress=False)
    genomes = (inputs[name] for name in ("genotypes", "windows", "samples"))
    everybody = np.arange(len(inputs["samples"]))
    table = allele_table(*genomes, counting_rows=everybody, frequency=frequencies[0])
    return together([build_chunks(**inputs, mask=table.mask(one), progress=False) for one in frequencies])
