"""Traces of people who withdrew in a store: their series and embeddings, letters that nobody else has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.encoders.embed import read_owners, write_owners
from genebrain.brain.store.journal import remove_scans, scan_keys
from genebrain.cohort.participants import Cohort, load_cohort
from genebrain.common.alone import refuse_links, waiting_for
from genebrain.common.reading import contents_of, read_npy, read_record
from genebrain.common.types import UserError
from genebrain.genetics.store.remove import remove_chunks
from genebrain.runs.care.named_runs import NamedRun
from genebrain.runs.care.needs import NEEDS, read_needs
from genebrain.runs.care.parts import EMBEDDINGS, INDEXES, SCANS, TABLES, Part, parts_of
from genebrain.runs.care.prune import delete_parts

OWNED = re.compile("[0-9a-f]{2}/[0-9a-f]+[.]npy")


def forget_in_store(
    store: Path, cohort: Path, scans: pd.DataFrame, runs: Sequence[NamedRun], *, dry_run: bool, progress: bool
) -> dict[str, int]:
    """Delete what a store holds of people; returns counts by what it was.

    Parameters
    ----------
    cohort : Path
        ``cohort.yaml``, without them.
    scans : DataFrame
        Their rows of the scan table.
    runs : sequence of NamedRun
        Those that were mended: the chunk indexes that they need are without these people.
    """
    refuse_links(store)
    parts = parts_of(store)
    with waiting_for(store / ".filling.lock", f"another process is filling the store {store}; waiting for it"):
        counts = {"scans": 0, "scan_embeddings": 0, "chunks_of_DNA": 0}
        keys = {part.name: _keys(part, scans) for part in parts if part.kind == SCANS}
        everything = {key for some in keys.values() for key in some}
        for part in parts:
            if part.kind == EMBEDDINGS:
                counts["scan_embeddings"] += _forget_embeddings(part, everything, dry_run)
        for part in parts:
            if part.kind == SCANS and not dry_run:
                counts["scans"] += remove_scans(part.path, keys[part.name])
        now = load_cohort(cohort)
        old = [] if now.gene_vectors is not None else _indexes_with_them(parts, now, runs)
        counts["chunk_indexes"] = len(old)
        if old and not dry_run:
            private = _only_theirs(old, parts, now, progress)
            for part in parts:
                if part.kind == TABLES:
                    counts["chunks_of_DNA"] += remove_chunks(part.path, private)
    if not dry_run:
        delete_parts(store, old)  # and what killed writers left, which may hold their letters
    if dry_run:
        counts = {"scans": sum(map(len, keys.values())), "scan_embeddings": counts["scan_embeddings"],
                  "chunk_indexes": len(old)}  # fmt: skip
    return counts


def _keys(part: Part, scans: pd.DataFrame) -> list[str]:
    return scan_keys(part.path, scans) if len(scans) else []


def _forget_embeddings(part: Part, keys: set[str], dry_run: bool) -> int:
    """Delete the embeddings of these scans, and those of which nobody knows whose they are."""
    owners = read_owners(part.path)
    theirs = {pair for pair in owners if pair[0] in keys}
    kept = {name for _, name in owners - theirs}
    gone = {name for _, name in theirs} - kept
    there = {file.relative_to(part.path).as_posix() for file in part.path.glob("??/*.npy")}
    gone = {name for name in gone | (there - kept) if OWNED.fullmatch(name) and name in there}
    if not dry_run:
        for name in gone:
            (part.path / name).unlink(missing_ok=True)
        if theirs:
            write_owners(part.path, owners - theirs)
    return len(gone)


def _indexes_with_them(parts: Sequence[Part], now: Cohort, runs: Sequence[NamedRun]) -> list[Part]:
    """Chunk indexes that were made of the genotypes of this cohort, other than those its mended runs need."""
    needed: set[str] = set()
    for run in runs:
        if (run.path / NEEDS).is_file():
            needed |= read_needs(run.path)
    source = now.genotypes if isinstance(now.genotypes, Path) else now.genotypes.name
    name = source.name if isinstance(source, Path) else source
    return [
        part
        for part in parts
        if part.kind == INDEXES and part.name not in needed and _report(part.path)["genotypes"] == name
    ]


def _only_theirs(old: Sequence[Part], parts: Sequence[Part], now: Cohort, progress: bool) -> NDArray[np.uint8]:
    """Keys of the old indexes, uint8 ``[chunks, 16]``, of chunks that nobody carries who is left, nor the reference.

    Chunks that others carry under masks of rare alleles of no mended run are among them: they are encoded again.
    """
    kept = [_stored_keys(part.path) for part in parts if part.kind == INDEXES and part not in old]
    for settings in {str(s): s for s in (_report(part.path)["settings"] for part in old)}.values():
        kept.append(_keys_now(now, settings, progress))
    before = np.concatenate([_stored_keys(part.path) for part in old])
    stay = {key.tobytes() for keys in kept for key in keys}
    gone = sorted({key.tobytes() for key in before} - stay)
    return np.frombuffer(b"".join(gone), np.uint8).reshape(-1, 16)


def _keys_now(now: Cohort, settings: dict[str, Any], progress: bool) -> NDArray[np.uint8]:
    """Keys of the chunks of those who are left and of the reference, under the options of an index."""
    from genebrain.genetics.chunks.build import build_chunks
    from genebrain.genetics.chunks.reference import pair_with_reference
    from genebrain.genetics.genome.gene_windows import read_windows
    from genebrain.genetics.haplotypes.policies import Policies

    windows = read_windows(now.windows)
    cuts = {"chunk_bp": settings["chunk_bp"], "cut_origin": settings["cut_origin"]}
    chunks = build_chunks(
        now.genotypes, now.reference, windows, now.table["genotype_id"].tolist(),
        policies=Policies.of_index(settings["policies"]), progress=progress, **cuts,
    )  # fmt: skip
    return pair_with_reference(chunks, now.reference, windows, **cuts).keys


def _stored_keys(folder: Path) -> NDArray[np.uint8]:
    keys = read_npy(folder / "keys.npy")
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != 16:
        raise UserError(f"{folder / 'keys.npy'} is damaged: delete the folder {folder}, it is built anew")
    return keys


def _report(folder: Path) -> dict[str, Any]:
    path = folder / "report.json"
    advice = f"delete the folder {folder}, it is built anew"
    with contents_of(path, advice):
        report: dict[str, Any] = read_record(path, advice)["report"]
        _ = report["genotypes"], report["settings"]["policies"], report["settings"]["chunk_bp"]
    return report
