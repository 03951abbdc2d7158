"""Run of variant scoring: from a file of variants to scores and a report, parts on disk between the steps.

``OUT`` and ``OUT.report.json`` appear only when every variant is done; ``OUT.parts`` holds what is finished before
that; the same command goes on from there, in any number of processes with ``shard=i/n``.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from genebrain.common.files import write_private
from genebrain.common.types import Metrics, UserError
from genebrain.engines.run import current
from genebrain.genetics.genome.reference import Reference
from genebrain.genetics.model.language_model import GeneratorLanguageModel
from genebrain.genetics.model.tokenizer import K
from genebrain.genetics.store.work_parts import Shard, WorkParts, finished_report, parts_of, report_path
from genebrain.genetics.variants.contexts import GenomeLetters, ScoreRule
from genebrain.genetics.variants.files import VariantFile
from genebrain.genetics.variants.metrics import classification_areas
from genebrain.genetics.variants.output import check_output, write_scores
from genebrain.genetics.variants.scores import COUNTS, identity_of, score_blocks
from genebrain.genetics.variants.spread import Model, Scoring, score_spread
from genebrain.genetics.variants.survey import ContigNames, Survey, survey

log = logging.getLogger(__name__)


def score_variant_file(
    variants: Path,
    reference: Path,
    out: Path,
    model: GeneratorLanguageModel,
    rule: ScoreRule,
    *,
    label: str | None = None,
    max_mismatch_share: float = 0.05,
    block_size: int = 1024,
    tokens_per_batch: int | None = None,
    shard: Shard | None = None,
    remake: Model | None = None,
    progress: bool = True,
) -> Metrics | None:
    """Score every variant of a file; safe to interrupt and to repeat.

    Parameters
    ----------
    variants, reference, out : Path
        See :class:`VariantFile`, :class:`Reference` and :data:`variant_output.OUT_SUFFIXES`.
    label : str, optional
        Column or INFO key with labels 0 and 1.
    max_mismatch_share : float
        Largest share of variants whose REF may contradict the reference (0..1).
    block_size : int
        Variants per part on disk.
    tokens_per_batch : int, optional
        Default: 4096 on CPU, where every core has its own batch, 32768 on GPU.
    shard : Shard, optional
        Work out these blocks only; who finishes last merges.
    remake : function, optional
        Loads the same model in another process: ``functools.partial`` of a loader. With it the engine in use scores.

    Returns
    -------
    dict or None
        What ``OUT.report.json`` holds; None when blocks of other shards are not there yet.
    """
    shard = shard or Shard()
    budget = tokens_per_batch or (4096 if model.device.type == "cpu" else 32_768)
    problems = [
        f"{name}={value} ({rule_text})"
        for name, value, good, rule_text in (
            ("max_mismatch_share", max_mismatch_share, 0 <= max_mismatch_share <= 1, "a share, 0 to 1"),
            ("block_size", block_size, block_size >= 1, "at least 1"),
            ("tokens_per_batch", budget, budget >= 1, "at least 1"),
        )
        if not good
    ]
    if problems:
        raise UserError("; ".join(problems))
    check_output(out)
    _check_fits(model, rule)
    file = VariantFile(variants, label)
    with Reference(reference) as fasta:
        names = ContigNames(fasta.contigs)
        found = survey(file, GenomeLetters(fasta), names, rule, max_mismatch_share)
        if label is not None and not sum(found.labels):
            raise UserError(f"{variants}: {label!r} is empty for all {found.n_variants:,} variants; no labels to use")
        if progress:
            log.info("\n".join(found.lines()))
        identity = identity_of(model, fasta, found, rule, block_size, budget)
        if (report := finished_report(out, identity)) is not None:
            if progress:
                log.info(f"{out} is there already; delete it to score again")
            return report
        parts = WorkParts(parts_of(out), identity)
        if current().is_dask or shard.claims:
            job = Scoring(
                variants.absolute(), label, reference.absolute(), parts.folder.absolute(), identity, rule,
                found.n_variants, block_size, budget, remake if current().is_dask and remake else lambda: model,
            )  # fmt: skip
            score_spread(job, parts, progress=progress)
        else:
            with parts.alone(f"shard {shard}"):
                score_blocks(
                    file, fasta, names, model, parts, rule,
                    n_variants=found.n_variants, block_size=block_size, tokens_per_batch=budget, shard=shard,
                    progress=progress,
                )  # fmt: skip
    n_blocks = -(-found.n_variants // block_size)
    with parts.merging(range(n_blocks)) as is_mine:
        if is_mine:
            report = _merge(out, file, parts, found, rule, identity, n_blocks, block_size)
            parts.remove()
            return report
    if progress:
        log.info(f"shard {shard} is done; the shard that finishes last writes {out}")
    return None


def _merge(
    out: Path,
    file: VariantFile,
    parts: WorkParts,
    found: Survey,
    rule: ScoreRule,
    identity: Metrics,
    n_blocks: int,
    block_size: int,
) -> Metrics:
    """Write the scored file, then the report, whose presence says that the file is complete."""
    scores, labels = write_scores(
        out, file, parts, found.n_variants, block_size, parity=rule.parity, labelled=any(found.labels)
    )
    totals = np.sum([parts.read(number, "counts")[0] for number in range(n_blocks)], axis=0)
    scored = np.isfinite(scores)
    used = scored & (labels >= 0)
    counts = found.as_dict()
    if late := int(found.statuses["scored"] - scored.sum()):
        counts["statuses"] = {**found.statuses, "scored": int(scored.sum()), "no_downstream": late}
    quantiles = np.quantile(scores[scored], [0.05, 0.5, 0.95]).tolist() if scored.any() else [None] * 3
    areas = classification_areas(labels[used], scores[used], parity=rule.parity) if (labels >= 0).any() else None
    report: Metrics = {
        **counts,
        "work": dict(zip(COUNTS, map(int, totals), strict=True)),
        "score_quantiles": dict(zip(("5%", "50%", "95%"), quantiles, strict=True)),
        "metrics": areas,
        "labelled_without_score": int((~scored & (labels >= 0)).sum()),
        "identity": identity,
    }
    write_private(report_path(out), json.dumps(report, indent=1).encode())
    return report


def _check_fits(model: GeneratorLanguageModel, rule: ScoreRule) -> None:
    behind = -(-rule.longest_string // K)
    needed = 1 + rule.context_bp // K + behind
    if needed > model.max_tokens:
        raise UserError(
            f"context_bp={rule.context_bp} with the longest allele and its downstream bases is {needed} tokens, but "
            f"{model.name} reads {model.max_tokens}; use context_bp of at most {(model.max_tokens - 1 - behind) * K}"
        )
