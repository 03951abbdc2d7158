"""Check that no record of a VCF or BCF is lost between the file and its reader.

The index must belong to the file, and what was read of a window must be as many records as a second count
finds there: a pass over the whole file where that is cheap, else pysam.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.bgzf import BgzfBlocks
from genebrain.genetics.genome.foreign import reading
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.record_scan import SCANNED_WHOLE, scan
from genebrain.genetics.genotypes.vcf_header import VcfHeader
from genebrain.genetics.genotypes.vcf_index import Span, tiles


@dataclass(frozen=True)
class Counts:
    """The second count of one file.

    Attributes
    ----------
    spans : dict
        Contigs that have records.
    positions : dict, optional
        0-based positions of all records of each contig; None for files that are too big for a pass.
    """

    path: Path
    index: Path
    spans: dict[str, Span]
    positions: dict[str, NDArray[np.int64]] | None
    again: str

    def compare(self, contig: str, window: Window, read: Sequence[int]) -> None:
        """Raise a UserError when other records were read than begin in the window."""
        starts = np.asarray(read, np.int64)
        starts = starts[(starts >= window.start) & (starts < window.end)]
        if np.any(np.diff(starts) < 0):
            raise UserError(f"{self.path}: records of window {window.name} are not in order. Sort and index it again.")
        there = self._through_pysam(contig, window) if self.positions is None else self._counted(contig, window)
        if len(starts) != there:
            raise UserError(
                f"{self.path}: {len(starts)} of {there} records of window {window.name} could be read; the file is "
                f"damaged, or its index {self.index.name} belongs to another file. Copy the file again, and make the "
                f"index again with {self.again}"
            )

    def _counted(self, contig: str, window: Window) -> int:
        positions = (self.positions or {}).get(contig, np.zeros(0, np.int64))
        first, stop = np.searchsorted(positions, [window.start, window.end])
        return int(stop - first)

    def _through_pysam(self, contig: str, window: Window) -> int:
        """Count again: cyvcf2 takes a damaged block for the end of the region, pysam raises."""
        if contig not in self.spans:
            return 0
        states = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in (self.path, self.index))
        return _n_through_pysam(states, contig, window.start, window.end)


@functools.lru_cache(maxsize=4096)
def _n_through_pysam(states: tuple[tuple[Path, int, int], ...], contig: str, start: int, end: int) -> int:
    """Records that begin in a window: counted once per process, however often it is read."""
    (path, _, _), (index, _, _) = states
    with reading(path, "Copy or download it again and index it again."):
        if path.suffix == ".bcf":
            with pysam.VariantFile(str(path), index_filename=str(index)) as file:
                starts = [record.start for record in file.fetch(contig, start, end)]
        else:
            with pysam.TabixFile(str(path), index=str(index)) as lines:
                starts = [int(line.split("\t", 2)[1]) - 1 for line in lines.fetch(contig, start, end)]
    return sum(start <= one < end for one in starts)


def counted(path: Path, index: Path, header: VcfHeader, spans: dict[str, Span], again: str) -> Counts:
    """Check the index against the file, and count the records of small files; once per process and state of the files.

    Raises
    ------
    UserError
        The index belongs to another file or an earlier version; the file is damaged or unsorted.
    """
    states = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in (path, index))
    positions = _checked(states, header, tuple(spans.items()), again)
    return Counts(path, index, spans, positions, again)


@functools.lru_cache(maxsize=64)
def _checked(
    states: tuple[tuple[Path, int, int], ...], header: VcfHeader, spans: tuple[tuple[str, Span], ...], again: str
) -> dict[str, NDArray[np.int64]] | None:
    (path, size, changed), (index, _, index_changed) = states
    with reading(path), BgzfBlocks(path) as blocks:
        belongs = tiles(dict(spans), blocks, header.end)
    positions = None
    if size <= SCANNED_WHOLE:
        with reading(path):
            positions = scan(path, header)
        counts = {name: len(found) for name, found in positions.items()}
        stored = {name: span.records for name, span in spans}
        belongs &= counts.keys() == stored.keys()
        belongs &= all(n is None or n == counts.get(name) for name, n in stored.items())
    if not belongs:
        older = " (it is older than the file)" if index_changed < changed else ""
        raise UserError(
            f"the index {index} does not belong to {path}{older}: it was made of another version or of a part of the "
            f"file, and would hide records. Index the file again with {again}"
        )
    return positions
