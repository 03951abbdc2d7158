"""The verbs of the DNA language model itself: score variants, generate sequence, test recovery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genebrain.cohort.gene_side import GeneSide
from genebrain.types import Metrics


def score_variants(
    variants: Path | str,
    reference: Path | str,
    out: Path | str,
    genetics: GeneSide | None = None,
    label: str | None = None,
    context_bp: int = 8192,
    strands: str = "both",
    downstream_bp: int = 30,
    max_allele_bp: int = 1000,
    max_mismatch_share: float = 0.05,
    parity: bool = False,
    shard: str | None = None,
    block_size: int = 1024,
    tokens_per_batch: int | None = None,
    progress: bool = True,
) -> Metrics | None:
    """Score every variant of a file and write it with its scores; ``OUT.report.json`` holds counts and metrics.

    Returns
    -------
    dict or None
        The report; None while blocks of other shards are not there yet.
    """
    from genebrain.genetics.variant_contexts import ScoreRule
    from genebrain.genetics.variant_run import score_variant_file
    from genebrain.genetics.work_parts import Shard

    rule = ScoreRule(
        context_bp=context_bp,
        strands=strands,  # type: ignore[arg-type]
        downstream_bp=downstream_bp,
        max_allele_bp=max_allele_bp,
        parity=parity,
    )
    report = score_variant_file(
        Path(variants),
        Path(reference),
        Path(out),
        _language_model(genetics),
        rule,
        label=label,
        max_mismatch_share=max_mismatch_share,
        block_size=block_size,
        tokens_per_batch=tokens_per_batch,
        shard=Shard.parse(shard),
        progress=progress,
    )
    if report is not None and progress:
        print(_scored_line(report, Path(out)))
    return report


def _scored_line(report: Metrics, out: Path) -> str:
    work = report["work"]
    saved = work["comparisons"] - work["contexts"]
    line = (
        f"wrote {out}: {report['statuses'].get('scored', 0):,} of {report['n_variants']:,} variants scored; "
        f"{work['comparisons']:,} comparisons needed {work['contexts']:,} forward passes ({saved:,} shared a context)"
    )
    found = report["metrics"]
    pair = f"{found['n_positive']:,} pathogenic and {found['n_negative']:,} benign" if found else ""
    if found and found["auroc"] is not None:
        line += (
            f"\nAUROC {found['auroc']:.3f}, AUPRC {found['auprc']:.3f} ({found['auprc_estimator']}; chance "
            f"{found['auprc_of_chance']:.3f}) from {pair}"
        )
    elif found:
        line += (
            f"\nno AUROC: {found['n_positive']:,} pathogenic and {found['n_negative']:,} benign scored; it needs both"
        )
    return line


def _language_model(genetics: GeneSide | None) -> Any:
    from genebrain.genetics.language_model import load_language_model

    chosen = genetics or GeneSide()
    return load_language_model(
        chosen.name,
        chosen.path,
        revision=chosen.revision,
        seed=chosen.weights_seed,
        allow_download=chosen.allow_download,
        options=chosen.model,
    )
