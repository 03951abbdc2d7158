"""Chunks that an encoder will read before there is a split: rare alleles are counted on everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from genebrain.engines.run import using
from genebrain.engines.settings import EngineSettings
from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.chunks.chunk_set import ChunkSet, together
from genebrain.genetics.chunks.spread import cut_windows
from genebrain.genetics.chunks.window import CutInputs
from genebrain.genetics.haplotypes.common_alleles import allele_table


def planned_chunks(frequencies: Sequence[float], inputs: Mapping[str, Any]) -> ChunkSet:
    """Chunks under all masks, read as often as for good; ``inputs`` of ``build_chunks``."""
    if not frequencies:
        return build_chunks(**inputs, progress=False)
    genomes = (inputs[name] for name in ("genotypes", "windows", "samples"))
    everybody = np.arange(len(inputs["samples"]))
    table = allele_table(*genomes, counting_rows=everybody, frequency=frequencies[0])
    masked = [{**inputs, "mask": table.mask(one)} for one in frequencies]
    with TemporaryDirectory() as name, using(EngineSettings(workers=1)):
        folders = [Path(name) / str(number) for number in range(len(masked))]
        wanted = {folder: CutInputs.of(**one) for folder, one in zip(folders, masked, strict=True)}
        cut_windows(wanted, progress=False)
        return together(
            [build_chunks(**one, progress=False, cut_in=folder) for folder, one in zip(folders, masked, strict=True)]
        )
