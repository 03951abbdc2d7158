"""Genotypes, reference and windows in; unique chunks and the chunk index out.

The one pass over a cohort's genotype file, and the fingerprint that says whether a saved result still holds.
Subjects are rows in the order asked for; every window is looked at before anything is refused, so that all problems
of a kind are told at once; nothing per subject is ever a string.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from genebrain.common.alone import waiting_for
from genebrain.common.files import mark_used
from genebrain.common.hashing import file_digest
from genebrain.common.words import no_bar
from genebrain.engines.run import current
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.cutting import CutOrigin, cut_places
from genebrain.genetics.chunks.spread import (
    UNFINISHED,
    cut_windows,
    is_large,
    remove_waiting,
    window_file,
    worth_spreading,
)
from genebrain.genetics.chunks.window import KEY_BYTES, CutInputs, CutWindow, UniqueChunks, cut_window
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.kept_letters import KeptLetters
from genebrain.genetics.genotypes.record_filter import EVERYTHING
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.common_alleles import AlleleMask
from genebrain.genetics.haplotypes.dosages import dosages
from genebrain.genetics.haplotypes.policies import NEVER_ON, Policies
from genebrain.genetics.haplotypes.report import GenotypeReport
from genebrain.genetics.model.options import CHUNK_BP

__all__ = ["ChunkSet", "build_chunks", "content_fingerprint", "dosages", "stored_chunks"]

RULES = 2
"""Changes when the same files give other chunks than before: 2 uses records with a symbolic allele besides others."""


def build_chunks(
    genotypes: str | Path | GenotypeSource,
    reference: str | Path | KeptLetters,
    windows: Sequence[Window],
    samples: Sequence[str],
    *,
    chunk_bp: int = CHUNK_BP,
    cut_origin: CutOrigin = "genome",
    policies: Policies | None = None,
    mask: AlleleMask | None = None,
    progress: bool = True,
    cut_in: Path | None = None,
) -> ChunkSet:
    """Cut the haplotypes of all subjects into chunks and index the distinct ones.

    Parameters
    ----------
    genotypes : path
        VCF or BCF with its index, PGEN with .pvar and .psam, or several of them.
    reference : path or KeptLetters
        FASTA of the same build, or the letters that were kept of the windows.
    windows : sequence of Window
    samples : sequence of str
        Order of the rows of the index; a name may repeat.
    chunk_bp : int
        Bases of reference per chunk. Encoder work is about sites x chunk_bp / 6 tokens.
    cut_origin : {"genome", "window"}
        Cut at multiples of ``chunk_bp`` of the contig (cohorts share chunks), or counted from the window's
        start.
    policies : Policies, optional
    mask : AlleleMask, optional
        Alleles that are kept; all others are written as the major allele of their record.
    progress : bool
        Show a bar over windows.
    cut_in : Path, optional
        Folder of windows that were cut before (:mod:`genebrain.genetics.chunks.spread`).

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
    inputs = CutInputs.of(
        genotypes, reference, windows, samples, chunk_bp=chunk_bp, cut_origin=cut_origin, policies=policies,
        mask=mask,
    )  # fmt: skip
    with inputs.opened() as (file, fasta, rows):
        cuts = [cut_places(window, chunk_bp, cut_origin) for window in windows]
        n_chunks = np.array([len(places) - 1 for places in cuts], np.int64)
        index = np.full((len(rows), 2, len(windows), n_chunks.max()), -1, np.int32)
        haploid = np.zeros((len(windows), len(rows)), bool)
        chunks = UniqueChunks()
        report = GenotypeReport(inputs.source.name, fasta.name, len(rows))
        for number, window in enumerate(tqdm(windows, "windows", disable=no_bar(progress))):
            cut = (
                cut_window(inputs, number, file, fasta, rows)
                if cut_in is None
                else CutWindow.load(window_file(cut_in, number))
            )
            row_of = np.fromiter(
                (chunks.add_known(k.tobytes(), s) for k, s in zip(cut.keys, cut.sequences, strict=True)), np.int32
            )
            places = index[:, :, number, : cut.slots.shape[2]]
            np.take(np.append(row_of, np.int32(-1)), cut.slots, out=places)  # -1, nothing, is the last
            report.add(window, cut)
            haploid[number] = cut.haploid
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
    """Chunks of these inputs of :func:`build_chunks`, built once and kept under ``root`` by their content.

    Large cohorts are cut by the engine in use, window by window.
    """
    folder = root / content_fingerprint(**inputs)
    cut_in, wanted = _cut_in(folder), CutInputs.of(**inputs)
    if (folder / "report.json").exists():
        remove_waiting(cut_in)  # whoever joined them may have been killed before this
        mark_used(folder)
        return ChunkSet.load(folder)
    if cut_in.is_dir() or worth_spreading(wanted):
        cut_windows({cut_in: wanted}, progress=progress)
    words = f"another job joins the windows in {root}; waiting for it"
    with waiting_for(root / ".jobs.lock", words) if current().is_array else nullcontext():
        if not (folder / "report.json").exists():
            cut = cut_in if cut_in.is_dir() else None
            chunks = build_chunks(**inputs, progress=progress and cut is None, cut_in=cut)
            chunks.save(folder)
            shutil.rmtree(cut_in, ignore_errors=True)
            return chunks
    remove_waiting(cut_in)  # begun again by this job, when another one had just joined and deleted them
    return ChunkSet.load(folder)


def cut_together(root: Path, several: Sequence[Mapping[str, Any]], *, progress: bool = True) -> None:
    """Cut a large cohort under several masks from one reading of its genotypes; :func:`stored_chunks` takes it up.

    Parameters
    ----------
    several : sequence of mapping
        Arguments of :func:`build_chunks`, which differ in ``mask`` only.
    """
    named = {root / content_fingerprint(**inputs): CutInputs.of(**inputs) for inputs in several}
    missing = {_cut_in(folder): inputs for folder, inputs in named.items() if not (folder / "report.json").exists()}
    if len(missing) > 1 and all(map(is_large, missing.values())):
        cut_windows(missing, progress=progress)


def _cut_in(folder: Path) -> Path:
    """Where windows of a chunk set wait until all are cut."""
    return folder.with_name(f"{folder.name}{UNFINISHED}")


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
    rows = settings.pop("counting_rows", None)  # of counted alleles; a chunk index has none
    mask = settings.pop("mask", None)
    described = {
        "rules": RULES,
        "files": [file_digest(path) for path in files],
        **({} if source.filters == EVERYTHING else {"filters": asdict(source.filters)}),
        "windows": [astuple(window) for window in windows],
        "samples": list(samples),
        "policies": asdict(policies) | NEVER_ON,
        **({"unphased_drawn": "by person"} if policies.unphased == "random" else {}),
        **({} if mask is None else {"mask": mask.digest}),
        "counting_rows": None if rows is None else [int(row) for row in rows],
        "settings": {"chunk_bp": CHUNK_BP, "cut_origin": "genome"} | settings,
    }
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=KEY_BYTES).hexdigest()
