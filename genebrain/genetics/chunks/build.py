"""Genotypes, reference and windows in; unique chunks and the chunk index out.

The one pass over a cohort's genotype file, and the fingerprint that says whether a saved result still holds.
Subjects are rows in the order asked for; every window is looked at before anything is refused, so that all problems
of a kind are told at once; nothing per subject is ever a string.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from genebrain.common.hashing import file_digest
from genebrain.common.types import UserError
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.cutting import CutOrigin, cut_places, distinct_pieces
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.reference import Reference, reverse_complement
from genebrain.genetics.genotypes.record_filter import EVERYTHING
from genebrain.genetics.genotypes.records import recorded_contigs, sample_rows
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.common_alleles import AlleleMask
from genebrain.genetics.haplotypes.dosages import dosages
from genebrain.genetics.haplotypes.policies import Policies
from genebrain.genetics.haplotypes.report import GenotypeReport
from genebrain.genetics.haplotypes.resolve import WindowAlleles, open_genotypes, resolve

__all__ = ["ChunkSet", "build_chunks", "content_fingerprint", "dosages", "stored_chunks"]

KEY_BYTES = 16

RULES = 2
"""Changes when the same files give other chunks than before: 2 uses records with a symbolic allele besides others."""


class _UniqueChunks:
    """Strings in order of first appearance, with their keys."""

    def __init__(self) -> None:
        self.row_of: dict[bytes, int] = {}
        self.sequences: list[bytes] = []

    def add(self, sequence: bytes) -> int:
        key = hashlib.blake2b(sequence, digest_size=KEY_BYTES).digest()
        row = self.row_of.setdefault(key, len(self.sequences))
        if row == len(self.sequences):
            self.sequences.append(sequence)
        return row

    def keys(self) -> NDArray[np.uint8]:
        return np.frombuffer(b"".join(self.row_of), np.uint8).reshape(-1, KEY_BYTES).copy()


def build_chunks(
    genotypes: str | Path | GenotypeSource,
    reference: str | Path,
    windows: Sequence[Window],
    samples: Sequence[str],
    *,
    chunk_bp: int = 1500,
    cut_origin: CutOrigin = "genome",
    policies: Policies | None = None,
    counting_rows: Sequence[int] | None = None,
    mask: AlleleMask | None = None,
    progress: bool = True,
) -> ChunkSet:
    """Cut the haplotypes of all subjects into chunks and index the distinct ones.

    Parameters
    ----------
    genotypes : path
        VCF or BCF with its index, PGEN with .pvar and .psam, or several of them.
    reference : path
        FASTA of the same build.
    windows : sequence of Window
    samples : sequence of str
        Order of the rows of the index; a name may repeat.
    chunk_bp : int
        Bases of reference per chunk. Encoder work is about sites x chunk_bp / 6 tokens.
    cut_origin : {"genome", "window"}
        Cut at multiples of ``chunk_bp`` of the contig (cohorts share chunks), or counted from the window's
        start.
    policies : Policies, optional
    counting_rows : sequence of int, optional
        Rows of ``samples`` whose alleles are counted for the rare-allele mask: the training subjects.
        Required when that mask is on.
    mask : AlleleMask, optional
        Alleles that are kept; all others are written as the major allele of their record.
    progress : bool
        Show a bar over windows.

    Returns
    -------
    ChunkSet

    Raises
    ------
    UserError
        Unknown samples, absent contigs, windows over a contig's end, unphased, symbolic or mismatching
        records under an ``error`` policy: each kind once, with counts.
    """
    policies = policies or Policies()
    if not windows or chunk_bp < 1 or cut_origin not in ("genome", "window"):
        raise ValueError(
            f"{len(windows)} windows, chunk_bp={chunk_bp}, cut_origin={cut_origin!r}: need at least one "
            "window, a positive chunk_bp and 'genome' or 'window'"
        )
    if policies.masks_rare and counting_rows is None:
        raise UserError("the rare-allele mask counts alleles of training subjects only: name their rows")
    source = genotypes if isinstance(genotypes, GenotypeSource) else GenotypeSource((Path(genotypes),))
    with open_genotypes(source) as file, Reference(reference) as fasta:
        rows = sample_rows(file, samples, source)
        recorded_contigs(windows, file, str(source))
        fasta.check(windows)
        cuts = [cut_places(window, chunk_bp, cut_origin) for window in windows]
        n_chunks = np.array([len(places) - 1 for places in cuts], np.int64)
        index = np.full((len(rows), 2, len(windows), n_chunks.max()), -1, np.int32)
        haploid = np.zeros((len(windows), len(rows)), bool)
        chunks = _UniqueChunks()
        report = GenotypeReport(source.name, Path(reference).name, len(rows))
        for number, window in enumerate(tqdm(windows, "windows", disable=not progress)):
            letters = fasta.fetch(window)
            masked = None if mask is None else partial(mask.apply, number)
            found = resolve(file.read(window, rows), window, letters, policies, counting_rows, masked)
            counts = _fill(index[:, :, number], window, found, letters, cuts[number], chunks)
            report.add(window, found, counts)
            haploid[number] = found.haploid
    report.refuse(policies)
    report.absent_copies_inferred = _drop_absent_copies(index, windows, haploid, report)
    return ChunkSet(
        keys=chunks.keys(),
        sequences=chunks.sequences,
        index=index,
        window_names=[window.name for window in windows],
        n_chunks=n_chunks,
        report=report.as_dict(policies, chunk_bp=chunk_bp, cut_origin=cut_origin),
    )


def stored_chunks(root: Path, *, progress: bool = True, **inputs: Any) -> ChunkSet:
    """Chunks of these inputs of :func:`build_chunks`, built once and kept under ``root`` by their content."""
    folder = root / content_fingerprint(**inputs)
    if (folder / "report.json").exists():
        return ChunkSet.load(folder)
    chunks = build_chunks(**inputs, progress=progress)
    chunks.save(folder)
    return chunks


def _fill(
    slots: NDArray[np.int32],
    window: Window,
    found: WindowAlleles,
    letters: bytes,
    cuts: NDArray[np.int64],
    chunks: _UniqueChunks,
) -> dict[str, int]:
    """Write one window's rows into ``slots [subjects, 2, chunks]``; count what an encoder will not see."""
    counts = {"all_n_chunks": 0, "deleted_chunks": 0, "mostly_n_chunks": 0}
    last = len(cuts) - 2
    distinct: set[int] = set()
    for piece, (strings, which) in enumerate(distinct_pieces(found, letters, cuts)):
        carriers = np.bincount(which, minlength=len(strings))
        row_of = np.full(len(strings), -1, np.int32)
        for number, string in enumerate(strings):
            n_unknown = string.count(b"N")
            if not string:
                counts["deleted_chunks"] += int(carriers[number])
            elif n_unknown == len(string):
                counts["all_n_chunks"] += int(carriers[number])
            else:
                counts["mostly_n_chunks"] += int(carriers[number]) * (2 * n_unknown > len(string))
                oriented = string if window.strand == "+" else reverse_complement(string)
                row_of[number] = chunks.add(oriented)
        slots[:, :, piece if window.strand == "+" else last - piece][found.exists] = row_of[which]
        distinct.update(row_of[row_of >= 0].tolist())
    return counts | {"chunks_unique": len(distinct), "chunks_naive": int((slots >= 0).sum())}


def _drop_absent_copies(
    index: NDArray[np.int32], windows: Sequence[Window], haploid: NDArray[np.bool_], report: GenotypeReport
) -> int:
    """Remove second copies in windows without records, where the rest of the contig says there is none.

    Ploidy is written in genotypes only; a window of X without a record would otherwise give males a second,
    all-reference copy. Returns how many windows of subjects were changed.
    """
    recorded = np.array([counts["records"] > 0 for counts in report.per_window])
    changed = 0
    for number in np.flatnonzero(~recorded).tolist():
        same = recorded & np.array([window.contig == windows[number].contig for window in windows])
        if same.any():
            single = haploid[same].all(axis=0) & (index[:, 1, number] >= 0).any(axis=1)
            index[single, 1, number] = -1
            report.per_window[number]["chunks_naive"] = int((index[:, :, number] >= 0).sum())
            changed += int(single.sum())
    return changed


def content_fingerprint(
    genotypes: str | Path | GenotypeSource,
    reference: str | Path,
    windows: Sequence[Window],
    samples: Sequence[str],
    **settings: Any,
) -> str:
    """Name for the result of :func:`build_chunks`: equal inputs and settings give equal names.

    The place of the files does not enter. Files of more than 64 MiB are told apart by size, time of change,
    first and last MiB. Settings are the keyword arguments of :func:`build_chunks`; ``progress`` is left out.
    """
    source = genotypes if isinstance(genotypes, GenotypeSource) else GenotypeSource((Path(genotypes),))
    files = [*source.files, Path(reference)]
    for file in source.files:
        if file.suffix == ".pgen":
            files += [file.with_suffix(".pvar"), file.with_suffix(".psam")]
    policies = settings.pop("policies", None) or Policies()
    settings.pop("progress", None)
    rows = settings.pop("counting_rows", None)
    mask = settings.pop("mask", None)
    described = {
        "rules": RULES,
        "files": [file_digest(path) for path in files],
        **({} if source.filters == EVERYTHING else {"filters": asdict(source.filters)}),
        "windows": [astuple(window) for window in windows],
        "samples": list(samples),
        "policies": asdict(policies),
        **({} if mask is None else {"mask": mask.digest}),
        "counting_rows": None if rows is None else [int(row) for row in rows],
        "settings": {"chunk_bp": 1500, "cut_origin": "genome"} | settings,
    }
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=KEY_BYTES).hexdigest()
