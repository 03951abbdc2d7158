"""Alleles of a large cohort, counted window by window as shares by whichever engine, and read back in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.common.files import make_private
from genebrain.engines.run import current, run_shares
from genebrain.engines.share import Share
from genebrain.genetics.chunks.spread import window_file, worth_spreading
from genebrain.genetics.chunks.stored_alleles import load_alleles, save_alleles
from genebrain.genetics.chunks.window import CutInputs
from genebrain.genetics.haplotypes.common_alleles import AlleleTable, allele_table, window_table

Counting = tuple[str, CutInputs, NDArray[np.int64], float]
"""Folder of the parts, genotypes, rows of training people, frequency at which an allele is common."""


def count_share(counting: Counting, number: int) -> None:
    """Count the alleles of one window into its file."""
    folder, inputs, counted, frequency = counting
    target = window_file(Path(folder), number)
    if target.exists():
        return
    with inputs.opened() as (file, _, rows):
        window = inputs.windows[number]
        save_alleles(target, window_table(file.read(window, rows), window, counted, frequency))


def counted_alleles(
    inputs: CutInputs, counting_rows: NDArray[np.int64], frequency: float, place: Path, *, progress: bool = True
) -> AlleleTable:
    """Alleles of training people, and everybody's dosages; of a large cohort by the engine in use.

    Numbered jobs of an array count for themselves: none can wait for the others.

    Parameters
    ----------
    place : Path
        Folder of the parts while they are made; its name says what is counted. It is the caller's to delete, once what
        is given back has been stored.

    Raises
    ------
    UserError
        What :meth:`CutInputs.opened` refuses.
    """
    engine = current()
    numbered = engine.is_array and not engine.shard.claims
    if numbered or not worth_spreading(inputs):
        return allele_table(
            inputs.source, inputs.windows, inputs.samples, counting_rows=counting_rows, frequency=frequency
        )
    with inputs.opened():
        make_private(place)
    shares = [Share(f"alleles-{n:05d}", (n,), w.end - w.start) for n, w in enumerate(inputs.windows)]
    files = [window_file(place, number) for number in range(len(shares))]
    counting: Counting = str(place.absolute()), inputs, counting_rows, frequency
    known = {share.key: None for share, file in zip(shares, files, strict=True) if file.exists()}
    for _ in run_shares(
        count_share, shares, place, shared=counting, what="alleles", unit="base", known=known, progress=progress
    ):
        pass
    return AlleleTable.joined([load_alleles(file) for file in files])
