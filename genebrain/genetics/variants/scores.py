"""Zero-shot scores of variants: how much less likely the model finds ALT than REF. Resumable, in flat memory.

A file of variants and a reference -> a scored file. Variants stream through in blocks; within a block every distinct
context is run once; four log-likelihoods are kept per variant; a block is on disk before the next but one begins,
and a killed run goes on to the same bytes.

Source: variant-effect script of GenerTeam/GENERator.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from genebrain.common.words import no_bar
from genebrain.genetics.genome.reference import Reference
from genebrain.genetics.model.language_model import GeneratorLanguageModel
from genebrain.genetics.model.tokenizer import OOV, RULE, SixMerTokenizer
from genebrain.genetics.store.work_parts import Shard, WorkParts
from genebrain.genetics.variants.contexts import SCORED, STATUSES, GenomeLetters, ScoreRule, comparisons, status_of
from genebrain.genetics.variants.files import Variant
from genebrain.genetics.variants.likelihood import Question, fill_batches, log_likelihoods, published_score
from genebrain.genetics.variants.survey import ContigNames, Survey, alleles
from genebrain.training.batch_threads import in_order

VALUES = ("ref_forward", "alt_forward", "ref_reverse", "alt_reverse")
"""Columns of the values kept per variant: natural log-likelihoods, NaN where a strand is not read."""

COUNTS = ("comparisons", "contexts", "context_tokens", "oov_tokens", "short_contexts")
STATUS_NAMES = tuple(STATUSES)
_TOKENIZER = SixMerTokenizer()


@dataclass
class Block:
    """Neighbouring variants of a file, and what the model is asked about them.

    Attributes
    ----------
    number : int
    status : uint8 ``[variants]``
        Places in ``STATUS_NAMES``.
    values : float64 ``[variants, 4]``
        See ``VALUES``.
    questions : list of Question
        One per distinct context.
    slots : list of list
        For every string of every question, the (variant, column) pairs that take its value.
    counts : dict
    left : int
        Batches still to run.
    """

    number: int
    status: NDArray[np.uint8]
    values: NDArray[np.float64]
    questions: list[Question] = field(default_factory=list)
    slots: list[list[list[tuple[int, int]]]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    left: int = 0


def identity_of(
    model: GeneratorLanguageModel,
    reference: Reference,
    found: Survey,
    rule: ScoreRule,
    block_size: int,
    tokens_per_batch: int,
) -> dict[str, Any]:
    """Everything that decides the numbers of a run, JSON-ready."""
    contigs = sorted((theirs, reference.contigs[theirs]) for theirs in found.contigs.values() if theirs is not None)
    return {
        "model": model.fingerprint,
        "compute": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "tokenizer": RULE,
        "variants": found.digest,
        "reference": [reference.path.stat().st_size, *map(list, contigs)],
        "block_size": block_size,
        "tokens_per_batch": tokens_per_batch,
        **asdict(rule),
    }


def score_blocks(
    variants: Iterable[Variant],
    reference: Reference,
    names: ContigNames,
    model: GeneratorLanguageModel,
    parts: WorkParts,
    rule: ScoreRule,
    *,
    n_variants: int,
    block_size: int,
    tokens_per_batch: int,
    shard: Shard | None = None,
    numbers: Sequence[int] | None = None,
    progress: bool = True,
) -> int:
    """Work out all blocks of a shard, or of some numbers, that are not on disk; returns how many variants that were.

    Parameters
    ----------
    variants : iterable of Variant
        All of them, in the order of the file; blocks of other shards are skipped.
    n_variants : int
        Their number, for the time left.
    block_size : int
        Variants per block: the most that a kill can cost.
    tokens_per_batch : int
        Limit of tokens, padding included, in one forward pass.
    """
    n_blocks = -(-n_variants // block_size)
    own = shard or Shard()
    todo = parts.missing([n for n in range(n_blocks) if own.has(n)] if numbers is None else numbers)
    wanted = set(todo)
    genome = GenomeLetters(reference)
    n_todo = sum(min(block_size, n_variants - number * block_size) for number in todo)

    def batches() -> Iterator[tuple[Block, list[int]]]:
        for number, group in enumerate(_grouped(variants, block_size)):
            if number not in wanted:
                continue
            block = prepare(number, group, genome, names, rule)
            planned = list(fill_batches(block.questions, tokens_per_batch)) or [[]]
            block.left = len(planned)
            for rows in planned:
                yield block, rows

    def run(batch: tuple[Block, list[int]]) -> list[NDArray[np.float64]]:
        block, rows = batch
        return log_likelihoods(model, [block.questions[i] for i in rows], tokens_per_batch) if rows else []

    with (
        tqdm(total=n_todo, unit="variant", unit_scale=True, desc="score", disable=no_bar(progress)) as bar,
        closing(in_order(run, batches(), model.device)) as results,
    ):
        for (block, rows), answers in results:
            for row, answer in zip(rows, answers, strict=True):
                for slots, value in zip(block.slots[row], answer, strict=True):
                    for variant, column in slots:
                        block.values[variant, column] = value
            block.left -= 1
            if not block.left:
                counts = np.array([block.counts[name] for name in COUNTS], np.int64)
                parts.write(block.number, {"status": block.status, "values": block.values, "counts": counts})
                bar.update(len(block.status))
    return n_todo


def prepare(number: int, variants: list[Variant], genome: GenomeLetters, names: ContigNames, rule: ScoreRule) -> Block:
    """Statuses of a block of variants, and its distinct contexts with the strings that are asked about each."""
    block = Block(
        number,
        np.zeros(len(variants), np.uint8),
        np.full((len(variants), len(VALUES)), np.nan),
    )
    asked: dict[bytes, dict[str, list[tuple[int, int]]]] = {}
    for row, variant in enumerate(variants):
        pair = alleles(variant, rule)
        contig = names.resolve(variant.contig)
        status = status_of(genome, contig, variant.position, *pair, rule)
        if status == SCORED:
            assert contig is not None
            compared = comparisons(genome, contig, variant.position, *pair, rule)
            if compared is None:
                status = "no_downstream"
            for is_reverse, one in zip(rule.directions, compared or (), strict=compared is not None):
                strings = asked.setdefault(one.context, {})
                for column, string in enumerate((one.reference, one.alternative), start=2 * is_reverse):
                    strings.setdefault(string, []).append((row, column))
                block.counts["comparisons"] += 1
                block.counts["short_contexts"] += len(one.context) < rule.context_bp - rule.context_bp % 6
        block.status[row] = STATUS_NAMES.index(status)
    for context, strings in asked.items():
        block.questions.append(Question(context, tuple(strings)))
        block.slots.append(list(strings.values()))
    ids = _TOKENIZER.encode_many([q.context for q in block.questions])
    block.counts["contexts"] = len(ids)
    block.counts["context_tokens"] = sum(map(len, ids)) + len(ids)
    block.counts["oov_tokens"] = sum(int((row == OOV).sum()) for row in ids)
    return block


def scores_of(values: NDArray[np.float64], *, parity: bool) -> NDArray[np.float64]:
    """Score per variant ``[variants]``, NaN where there is none.

    ``ln P(REF ...) - ln P(ALT ...)``, averaged over the strands that were read: positive where the model finds ALT
    less likely than REF. Under ``parity`` ``ln(p_ref / (p_alt + 1e-10))``.
    """
    if parity:
        return published_score(np.exp(values[:, 0]), np.exp(values[:, 1]))
    differences = np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 3]])
    read = ~np.isnan(differences)
    total = np.where(read, differences, 0.0).sum(0)
    return np.where(read.any(0), total / np.maximum(read.sum(0), 1), np.nan)


def _grouped(variants: Iterable[Variant], size: int) -> Iterator[list[Variant]]:
    stream = iter(variants)
    while group := list(itertools.islice(stream, size)):
        yield group
