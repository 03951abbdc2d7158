"""A run of generation: the sequences of a file, or one prompt, continued and written down.

The output and its report appear only when every sequence is done; parts on disk let a killed run go on, in any
number of processes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from genebrain.common.files import replacing, write_private
from genebrain.common.private_table import harmless
from genebrain.common.types import Metrics, UserError
from genebrain.genetics.generation.continuation import (
    Prompt,
    PromptRule,
    check_length,
    collected,
    continue_all,
    on_grid,
)
from genebrain.genetics.generation.sampling import SamplingSettings
from genebrain.genetics.model.language_model import GeneratorLanguageModel
from genebrain.genetics.model.tokenizer import RULE
from genebrain.genetics.sequences.files import FASTA, SequenceFile
from genebrain.genetics.sequences.hygiene import HygieneReport, SequenceCleaner, Uracil
from genebrain.genetics.store.work_parts import Shard, WorkParts, finished_report, parts_of, report_path

log = logging.getLogger(__name__)

BLOCK = 64


def generate_file(
    source: Path | str,
    out: Path,
    model: GeneratorLanguageModel,
    settings: SamplingSettings,
    *,
    is_prompt: bool = False,
    column: str | None = None,
    uracil: Uracil = "error",
    n_bp: int = 300,
    samples: int = 1,
    seed: int = 0,
    prompt_rule: PromptRule = "error",
    max_prompt_bp: int = 6144,
    with_prompt: bool = False,
    tokens_per_batch: int | None = None,
    shard: Shard | None = None,
    progress: bool = True,
) -> Metrics | None:
    """Continue sequences and write what was generated.

    Parameters
    ----------
    source
        A file of sequences, or with ``is_prompt`` the letters themselves.
    out : Path
        FASTA, ``.tsv`` or ``.parquet``.
    uracil : {"error", "to_t"}
        RNA letters U: refuse them, or write T.
    n_bp : int
        Bases to generate behind each prompt; whole 6-mers are made and the last is cut.
    samples : int
        Continuations per prompt.
    with_prompt : bool
        Write the prompt in front of its continuation.

    Returns
    -------
    dict or None
        The report; None while parts of other shards are not there yet.
    """
    kinds = (*FASTA, ".tsv", ".parquet")
    if out.suffix.lower() not in kinds:
        raise UserError(f"out={out}: the format follows from the name, which must end with {', '.join(kinds)}")
    if not out.parent.is_dir():
        raise UserError(f"out={out}: the folder {out.parent} does not exist")
    check_counts(n_bp=n_bp, samples=samples)
    if is_prompt:
        report = HygieneReport()
        cleaner = SequenceCleaner("prompt", uracil, report=report)
        letters = cleaner.clean(str(source), 1, "prompt")
        cleaner.finish()
        ids, sequences = ["prompt"], [letters or ""]
    else:
        batch, report = SequenceFile(source, column=column, uracil=uracil).read()
        ids, sequences = batch.ids, batch.sequences
    prompts = on_grid(sequences, ids, prompt_rule, max_prompt_bp)
    rows = [Prompt(text, record, sample) for record, text in enumerate(prompts) for sample in range(samples)]
    check_length(model, rows, n_bp)
    identity = {
        **identity_of(model, rows, tokens_per_batch),
        **asdict(settings),
        "seed": seed,
        "n_bp": n_bp,
        "samples": samples,
        "with_prompt": with_prompt,
    }
    if (done := finished_report(out, identity)) is not None:
        if progress:
            log.info(f"{out} is there already; delete it to generate again")
        return done
    parts = WorkParts(parts_of(out), identity)
    with continued(model, rows, n_bp, settings, seed, parts, tokens_per_batch, shard or Shard(), progress) as made:
        if made is None:
            return None
        table = pd.DataFrame(
            {
                "id": [ids[row.record] for row in rows],
                "sample": [row.sample for row in rows],
                "prompt_bp": [len(row.letters) for row in rows],
                "sequence": [row.letters * with_prompt + text for row, text in zip(rows, made, strict=True)],
            }
        )
        write_table(out, table)
        result: Metrics = {"n_prompts": len(ids), "n_generated": len(rows), "prompts": report.as_dict()}
        result["identity"] = identity
        write_private(report_path(out), json.dumps(result, indent=1).encode())
        parts.remove()
        return result


@contextmanager
def continued(
    model: GeneratorLanguageModel,
    rows: list[Prompt],
    n_bp: int,
    settings: SamplingSettings,
    seed: int,
    parts: WorkParts,
    tokens_per_batch: int | None,
    shard: Shard,
    progress: bool,
) -> Iterator[list[str] | None]:
    """Do a shard's share; then continuations of all rows for the process that may write them down, None for others."""
    with parts.alone(f"shard {shard}"):
        n_blocks = continue_all(
            model, rows, n_bp, settings, seed, parts,
            block_size=BLOCK, tokens_per_batch=tokens_per_batch, shard=shard, progress=progress,
        )  # fmt: skip
    with parts.merging(range(n_blocks)) as is_mine:
        if not is_mine and progress:
            log.info(f"shard {shard} is done; the shard that finishes last writes the result")
        yield collected(parts, n_blocks) if is_mine else None


def identity_of(model: GeneratorLanguageModel, rows: Sequence[Prompt], tokens_per_batch: int | None) -> dict[str, Any]:
    """What decides the numbers of any run of generation, JSON-ready."""
    return {
        "model": model.fingerprint,
        "compute": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "tokenizer": RULE,
        "prompts": hashlib.blake2b(repr(rows).encode(), digest_size=16).hexdigest(),
        "tokens_per_batch": tokens_per_batch,
        "block_size": BLOCK,
    }


def write_table(path: Path, table: pd.DataFrame) -> None:
    """FASTA, parquet or tab-separated, by the name; appears whole, readable by its owner alone."""
    with replacing(path) as temporary:
        if path.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        elif path.suffix.lower() in FASTA:
            lines = [f">{r.id} sample={r.sample} prompt_bp={r.prompt_bp}\n{r.sequence}\n" for r in table.itertuples()]
            temporary.write_text("".join(lines), encoding="utf-8")
        else:
            harmless(table).to_csv(temporary, sep="\t", index=False, float_format="%.6g", lineterminator="\n")


def check_counts(**counts: int) -> None:
    """``UserError`` for numbers below 1, all together."""
    if bad := [f"{name}={value}" for name, value in counts.items() if value < 1]:
        raise UserError(f"{', '.join(bad)}: must be at least 1")
