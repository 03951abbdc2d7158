"""The verbs of plain DNA sequences, without a cohort: models, embed-sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from genebrain.common.types import Metrics, UserError
from genebrain.engines.settings import EngineSettings
from genebrain.genetics.sequences.hygiene import Unreadable, Uracil
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import Token


def models(out: Path | str | None = None) -> list[dict[str, Any]]:
    """List every published model by short name: parameters, memory, hub id, whether it is in the local cache.

    Returns
    -------
    list of dict
        One row per model, see :func:`genebrain.genetics.model.catalogue.dna_models`; with ``out`` also written as
        JSON.
    """
    import pandas as pd

    from genebrain.common.run_folder import write_json
    from genebrain.genetics.encoders.carbon import carbon_models
    from genebrain.genetics.model.catalogue import dna_models

    rows = [*dna_models(), *carbon_models()]
    if out is not None:
        write_json(Path(out), rows)
    table = pd.DataFrame(rows).fillna("-")
    print(table.assign(parameters=table["parameters"].map("{:,}".format)).to_string(index=False))
    return rows


def embed_sequences(
    input: Path | str,
    out: Path | str,
    genetics: GeneSide | None = None,
    column: str | None = None,
    id_column: str | None = None,
    uracil: Uracil = "error",
    unreadable: Unreadable = "error",
    overlap_bp: int = 0,
    parity: bool = False,
    token_pooling: Token = "mean",
    chunk_pooling: Literal["none", "mean", "weighted_mean", "max", "last"] = "none",
    padded: bool = False,
    store: Path | str | None = None,
    shard: str | None = None,
    repair: bool = False,
    tokens_per_batch: int | None = None,
    progress: bool = True,
    engine: EngineSettings | None = None,
) -> Metrics:
    """Embed the sequences of a FASTA, TSV, CSV or parquet file; no cohort needed.

    Returns
    -------
    dict
        What was found and done, see :func:`genebrain.genetics.sequences.embed.embed_sequence_file`. Read the
        folder with :class:`genebrain.genetics.sequences.vectors.SequenceEmbeddings`.
    """
    import dataclasses

    from genebrain.engines.run import using
    from genebrain.genetics.sequences.cutting import Cutting
    from genebrain.genetics.sequences.embed import embed_sequence_file
    from genebrain.genetics.sequences.files import SequenceFile
    from genebrain.genetics.sequences.vectors import VectorLayout
    from genebrain.genetics.store.shares import shard_of_run

    gene = genetics or GeneSide()
    if gene.delta:
        raise UserError("genetics.delta=true subtracts the reference chunk of a window; sequences of a file have none")
    options = dataclasses.replace(gene.options(), tokens_per_batch=tokens_per_batch)
    share = shard_of_run(shard)
    with using(engine, share):
        done = embed_sequence_file(
            SequenceFile(input, column, id_column, uracil, unreadable),
            out,
            cutting=Cutting(gene.chunk_bp, overlap_bp, options.length_rule, parity),
            layout=VectorLayout(token_pooling, chunk_pooling, padded),
            shard=share,
            encoder=gene.encoder(),
            name=gene.name,
            options=options,
            store=store,
            repair=repair,
            progress=progress,
        )
    if progress:
        print(_embedded_lines(done, Path(out)))
    return done


def _embedded_lines(done: Metrics, out: Path) -> str:
    from genebrain.genetics.sequences.files import repeated_ids_line

    found, chunks = done["hygiene"], done["chunks"]
    left_out = found["too_short"] + found["only_unknown"]
    changed = {name: found[name] for name in ("lower_case", "uracil", "ambiguous", "blank") if found[name]}
    lines = [
        f"{found['sequences']:,} sequences, {found['letters']:,} letters; left out: {left_out:,}; <oov> share "
        f"{found['oov_share']:.2%}; letters changed: {changed or 'none'}",
        f"{chunks['all']:,} chunks, {chunks['distinct']:,} distinct, {chunks['of_n_alone']:,} of N alone; "
        f"letters dropped behind the last chunk: {chunks['letters_dropped']:,}",
    ]
    if "encoder" in done:
        work = done["encoder"]
        waste = work["padding_tokens"] / max(1, work["tokens"] + work["padding_tokens"])
        lines.append(
            f"encoded {work['encoded']:,} chunks ({work['stored_before']:,} were stored) in {work['seconds']:.1f} s, "
            f"{work['tokens']:,} tokens, {waste:.1%} padding"
        )
    if line := repeated_ids_line(done["repeated_ids"]):
        lines.append(line)
    if "shape" in done:
        lines.append(f"wrote {out / 'embeddings.npy'} {tuple(done['shape'])}")
    else:
        lines.append("one share is stored; the same command without shard merges all shares and writes the vectors")
    return "\n".join(lines)
