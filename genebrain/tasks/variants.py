"""The verbs of the DNA language model itself: score variants, generate sequence, test recovery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from genebrain.common.types import Metrics, UserError
from genebrain.engines.settings import EngineSettings
from genebrain.genetics.generation.sampling import Policy
from genebrain.genetics.sequences.hygiene import Uracil
from genebrain.sides.genome import GeneSide

if TYPE_CHECKING:
    from genebrain.engines.shard import Shard
    from genebrain.genetics.model.language_model import GeneratorLanguageModel


def score_variants(
    variants: Path | str,
    reference: Path | str,
    out: Path | str,
    genetics: GeneSide | None = None,
    label: str | None = None,
    context_bp: int = 8192,
    strands: Literal["both", "forward", "reverse"] = "both",
    downstream_bp: int = 30,
    max_allele_bp: int = 1000,
    max_mismatch_share: float = 0.05,
    parity: bool = False,
    shard: str | None = None,
    block_size: int = 1024,
    tokens_per_batch: int | None = None,
    progress: bool = True,
    engine: EngineSettings | None = None,
) -> Metrics | None:
    """Score every variant of a file and write it with its scores; ``OUT.report.json`` holds counts and metrics.

    Returns
    -------
    dict or None
        The report; None while blocks of other shards are not there yet.
    """
    from functools import partial

    from genebrain.engines.run import using
    from genebrain.genetics.model.language_model import load_language_model
    from genebrain.genetics.store.shares import shard_of_run
    from genebrain.genetics.variants.contexts import ScoreRule
    from genebrain.genetics.variants.run import score_variant_file

    share = shard_of_run(shard)  # picks this rank's GPU, so before the model is loaded
    rule = ScoreRule(
        context_bp=context_bp,
        strands=strands,
        downstream_bp=downstream_bp,
        max_allele_bp=max_allele_bp,
        parity=parity,
    )
    with using(engine, share):
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
            shard=share,
            remake=partial(load_language_model, **(genetics or GeneSide()).checkpoint),
            progress=progress,
        )
    if report is not None and progress:
        print(_scored_line(report, Path(out)))
    return report


def generate(
    out: Path | str,
    input: Path | str | None = None,
    prompt: str | None = None,
    genetics: GeneSide | None = None,
    column: str | None = None,
    uracil: Uracil = "error",
    n_bp: int = 300,
    samples: int = 1,
    seed: int = 0,
    policy: Policy = "token",
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    prompt_rule: Literal["error", "trim_left", "pad_left"] = "error",
    max_prompt_bp: int = 6144,
    with_prompt: bool = False,
    shard: str | None = None,
    tokens_per_batch: int | None = None,
    progress: bool = True,
) -> Metrics | None:
    """Continue the sequences of a file, or one prompt, and write what was generated.

    Returns
    -------
    dict or None
        The report (``OUT.report.json``); None while parts of other shards are not there yet.
    """
    from genebrain.genetics.generation.run import generate_file
    from genebrain.genetics.generation.sampling import SamplingSettings

    if (input is None) == (prompt is None):
        raise UserError("give either input=FILE (sequences to continue) or prompt=LETTERS")
    share = _numbered_share(shard)  # picks this rank's GPU, so before the model is loaded
    settings = SamplingSettings(policy, temperature, top_k, top_p)
    report = generate_file(
        str(prompt) if input is None else input,
        Path(out),
        _language_model(genetics),
        settings,
        is_prompt=input is None,
        column=column,
        uracil=uracil,
        n_bp=n_bp,
        samples=samples,
        seed=seed,
        prompt_rule=prompt_rule,
        max_prompt_bp=max_prompt_bp,
        with_prompt=with_prompt,
        tokens_per_batch=tokens_per_batch,
        shard=share,
        progress=progress,
    )
    if report is not None and progress:
        oov = report["prompts"]["oov_share"]
        print(f"wrote {out}: {report['n_generated']:,} sequences of {n_bp:,} bases; {oov:.2%} of the 6-mers of the "
              "prompts hold an unknown letter")  # fmt: skip
    return report


def recover(
    input: Path | str,
    out: Path | str,
    genetics: GeneSide | None = None,
    column: str | None = None,
    uracil: Uracil = "error",
    label: str = "label",
    type: str | None = None,
    n_bp: int = 30,
    max_prompt_bp: int = 6144,
    policy: Policy = "token",
    shard: str | None = None,
    tokens_per_batch: int | None = None,
    progress: bool = True,
) -> Metrics | None:
    """Continue real sequences greedily and compare with what follows; a folder with tables and ``report.json``.

    Returns
    -------
    dict or None
        The report; None while parts of other shards are not there yet.
    """
    from genebrain.genetics.generation.recovery_run import recover_file
    from genebrain.genetics.generation.sampling import SamplingSettings

    share = _numbered_share(shard)  # picks this rank's GPU, so before the model is loaded
    report = recover_file(
        Path(input),
        Path(out),
        _language_model(genetics),
        SamplingSettings(policy, temperature=0),
        column=column,
        uracil=uracil,
        label_column=label,
        type_column=type,
        n_bp=n_bp,
        max_prompt_bp=max_prompt_bp,
        tokens_per_batch=tokens_per_batch,
        shard=share,
        progress=progress,
    )
    if report is not None and progress:
        for row in report["accuracy"]:
            print(
                f"{row['type']}: {row['accuracy']:.3f} of {n_bp} bases [{row['low']:.3f}, {row['high']:.3f}], "
                f"{row['sequences']:,} sequences; chance {row['chance']:.2f}, the commonest base of each prompt "
                f"{row['most_frequent_base']:.3f}"
            )
    return report


def _numbered_share(text: str | None) -> Shard:
    """A share as :func:`shard_of_run` reads it; these verbs have no free ones to take."""
    from genebrain.genetics.store.shares import shard_of_run

    share = shard_of_run(text)
    if share.claims:
        raise UserError("shard=next: this verb has numbered shares only; write i/n, e.g. shard=3/64, or auto")
    return share


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


def _language_model(genetics: GeneSide | None) -> GeneratorLanguageModel:
    chosen = genetics or GeneSide()
    refused = [
        f"genetics.{name}={value} ({reason})"
        for name, value, is_bad, reason in (
            ("tuning", chosen.tuning, chosen.tuning != "frozen", "these verbs take the model as it is"),
            (
                "model.context",
                chosen.model.context,
                chosen.model.context == "sliding_window",
                "stored keys and values reach back over the whole context: use chunks or yarn",
            ),
            (
                "model.attention",
                chosen.model.attention,
                chosen.model.attention == "flash_attention_2",
                "sequences of different length need a mask that it has not: sdpa is as fast where none is needed",
            ),
        )
        if is_bad
    ]
    if refused:
        raise UserError("options that scores and generation do not know: " + "; ".join(refused))
    return chosen.language_model()
