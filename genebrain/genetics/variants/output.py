"""Scored variants as VCF, parquet or a table: one pass over the input beside the finished parts.

One row per alternative allele in the order of the input (a VCF keeps its records, INFO and order, but no genotypes);
a variant without score is there with its status; the file appears whole under its name, readable by its owner alone,
since a person's list of variants is a person's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pysam
from numpy.typing import NDArray

from genebrain.common.files import replacing
from genebrain.common.private_table import harmless
from genebrain.common.types import UserError
from genebrain.genetics.store.work_parts import WorkParts
from genebrain.genetics.variants.files import Variant, VariantFile, open_vcf, records
from genebrain.genetics.variants.scores import STATUS_NAMES, VALUES, scores_of

OUT_SUFFIXES = (".vcf", ".vcf.gz", ".tsv", ".csv", ".parquet")
_INFO = {
    "GENEBRAIN_SCORE": ("Float", "ln P(REF) - ln P(ALT) under the DNA model, mean of strands; higher: less expected"),
    **{f"GENEBRAIN_{name.upper()}": ("Float", f"ln P({name[:3].upper()}) on the {name[4:]} strand") for name in VALUES},
    "GENEBRAIN_STATUS": ("String", "scored, or why there is no score"),
}


def check_output(path: Path) -> None:
    """``UserError`` unless the name says a format that can be written."""
    if not path.name.lower().endswith(OUT_SUFFIXES):
        raise UserError(f"out={path}: the format follows from the name, which must end with {', '.join(OUT_SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"out={path}: the folder {path.parent} does not exist")


def write_scores(
    path: Path,
    variants: VariantFile,
    parts: WorkParts,
    n_variants: int,
    block_size: int,
    *,
    parity: bool,
    labelled: bool,
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Write all variants with what is known about them; without labels there is no column for them.

    Returns
    -------
    scores : float64 ``[variants]``
        NaN without a score.
    labels : int8 ``[variants]``
        -1 without a label.
    """
    blocks = _blocks(variants, parts, -(-n_variants // block_size), block_size, parity)
    kept: list[tuple[NDArray[np.float64], NDArray[np.int8]]] = []

    def remembered() -> Iterator[pd.DataFrame]:
        for frame in blocks:
            kept.append((frame["score"].to_numpy(), frame["label"].fillna(-1).to_numpy(np.int8)))
            yield frame if labelled else frame.drop(columns="label")

    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, remembered())
        elif path.name.endswith((".tsv", ".csv")):
            _write_text(temporary, remembered(), "," if path.suffix == ".csv" else "\t")
        else:
            _write_vcf(temporary, path.suffix == ".gz", variants, remembered())
    scores, labels = zip(*kept, strict=True)
    return np.concatenate(scores), np.concatenate(labels)


def _blocks(
    variants: Iterable[Variant], parts: WorkParts, n_blocks: int, block_size: int, parity: bool
) -> Iterator[pd.DataFrame]:
    stream = iter(variants)
    for number in range(n_blocks):
        group = list(islice(stream, block_size))
        status, values = parts.read(number, "status", "values")
        if len(group) != len(status):
            raise UserError(f"{parts.path(number)} holds {len(status)} variants, the file {len(group)}: it has changed")
        frame = pd.DataFrame(
            {
                "chrom": [v.contig for v in group],
                "pos": [v.position for v in group],
                "id": [v.name for v in group],
                "ref": [v.reference for v in group],
                "alt": [v.alternative for v in group],
                "label": pd.array([v.label for v in group], dtype="Int8"),
                "status": [STATUS_NAMES[code] for code in status],
                "score": scores_of(values, parity=parity),
            }
        )
        yield frame.assign(**dict(zip(VALUES, values.T, strict=True)))


def _write_parquet(path: Path, frames: Iterable[pd.DataFrame]) -> None:
    writer = None
    try:
        for frame in frames:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _write_text(path: Path, frames: Iterable[pd.DataFrame], separator: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        for number, frame in enumerate(frames):
            harmless(frame).to_csv(
                stream, sep=separator, index=False, header=number == 0, float_format="%.9g", lineterminator="\n"
            )


def _write_vcf(path: Path, compressed: bool, variants: VariantFile, frames: Iterable[pd.DataFrame]) -> None:
    stream: IO[bytes] | Any = pysam.BGZFile(str(path), "wb") if compressed else path.open("wb")
    rows = (row for frame in frames for row in frame.to_dict("records"))
    with stream:
        if variants.is_vcf:
            with open_vcf(variants.path) as file:
                head = [line for line in str(file.header).splitlines() if line.startswith("##")]
            stream.write(_head(line for line in head if not line.startswith("##FORMAT")))
            for record in records(variants.path):
                scored = list(islice(rows, len(record.alts or (".",))))
                fields = str(record).rstrip("\n").split("\t")[:8]
                fields[7] = ("" if fields[7] == "." else fields[7] + ";") + _info(scored)
                stream.write(("\t".join(fields) + "\n").encode())
            for _ in rows:  # nothing is left but the end of the last block, which remembers its numbers
                raise UserError(f"{variants.path} has changed while it was scored")
        else:
            contigs = dict.fromkeys(v.contig for v in variants)
            stream.write(_head(["##fileformat=VCFv4.2", *(f"##contig=<ID={name}>" for name in contigs)]))
            for row in rows:
                fields = [row["chrom"], str(row["pos"]), row["id"], row["ref"], row["alt"], ".", ".", _info([row])]
                stream.write(("\t".join(fields) + "\n").encode())


def _head(lines: Iterable[str]) -> bytes:
    """Header without samples, whose names are not ours to pass on."""
    own = [f'##INFO=<ID={k},Number=A,Type={kind},Description="{text}">' for k, (kind, text) in _INFO.items()]
    return "\n".join([*lines, *own, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"]).encode()


def _info(rows: list[dict[Any, Any]]) -> str:
    columns = ("score", *VALUES)
    texts = [",".join("." if np.isnan(r[c]) else f"{r[c]:.9g}" for r in rows) for c in columns]
    return ";".join(f"{k}={v}" for k, v in zip(_INFO, [*texts, ",".join(r["status"] for r in rows)], strict=True))
