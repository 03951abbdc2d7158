"""Blocks of variants as shares for workers on other machines, or for jobs that take free ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from genebrain.common.types import Metrics
from genebrain.engines.run import run_shares
from genebrain.engines.share import Share, name_of
from genebrain.genetics.genome.reference import Reference
from genebrain.genetics.model.language_model import GeneratorLanguageModel
from genebrain.genetics.store.work_parts import WorkParts
from genebrain.genetics.variants.contexts import ScoreRule
from genebrain.genetics.variants.files import VariantFile
from genebrain.genetics.variants.scores import score_blocks
from genebrain.genetics.variants.survey import ContigNames

SHARES = 64
"""Shares of a file: each reads the file up to its blocks, which a share must be worth."""

Model = Callable[[], GeneratorLanguageModel]
"""Makes the model in the process that needs it; one that travels is a ``functools.partial`` of a loader."""


@dataclass(frozen=True)
class Scoring:
    """All that a worker must know to score some blocks of a file."""

    variants: Path
    label: str | None
    reference: Path
    parts: Path
    identity: Metrics
    rule: ScoreRule
    n_variants: int
    block_size: int
    tokens_per_batch: int
    model: Model


def score_share(job: Scoring, numbers: list[int]) -> None:
    """Score the blocks of these numbers into their parts."""
    with Reference(job.reference) as fasta:
        score_blocks(
            VariantFile(job.variants, job.label), fasta, ContigNames(fasta.contigs), _model(job.model),
            WorkParts(job.parts, job.identity), job.rule, n_variants=job.n_variants, block_size=job.block_size,
            tokens_per_batch=job.tokens_per_batch, numbers=numbers, progress=False,
        )  # fmt: skip


def score_spread(job: Scoring, parts: WorkParts, *, progress: bool) -> None:
    """Score all blocks that are not there yet with the engine in use."""
    n_blocks = -(-job.n_variants // job.block_size)
    together = -(-n_blocks // SHARES)
    shares, known = list[Share](), dict[str, None]()
    for start in range(0, n_blocks, together):
        numbers = list(range(start, min(start + together, n_blocks)))
        share = Share(name_of(*numbers), (numbers,), len(numbers))
        if not parts.missing(numbers):
            known[share.key] = None
        shares.append(share)
    for _ in run_shares(score_share, shares, parts.folder, shared=job, what="score", unit="block", known=known,
                        progress=progress):  # fmt: skip
        pass


@lru_cache(maxsize=1)
def _model(make: Model) -> GeneratorLanguageModel:
    """The model of a worker process, made once."""
    return make()
