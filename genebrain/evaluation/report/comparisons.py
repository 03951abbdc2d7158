"""Comparisons as the page, the figures and the terminal show them: one colour and one sentence each."""

from __future__ import annotations

from collections.abc import Iterable

from genebrain.common.types import Metrics
from genebrain.evaluation.report.style import COLOURS, PALETTE, pretty
from genebrain.evaluation.verdict import number

MEANINGS = {
    "confound_only": "A model that sees site, ancestry, age, sex and motion but no gene window. Whatever it reaches is "
    "not evidence for the genes.",
    "ridge_cca": "Canonical correlation with a ridge, the classic linear method, on the model's own gene columns and "
    "brain features.",
    "dosage": "The same recipe on allele counts (0, 1 or 2 per variant) in place of the DNA model's vectors.",
    "textbook": "Contrastive training as in CLIP: projectors from random weights, InfoNCE, cosine.",
    "best_scan_reading": "The model's gene side against the best statistic of a scan, which only a simulation knows.",
    "best_gene_reading": "The true genetic values, which only a simulation knows, against the model's scan features.",
    "residualised": "The same recipe after confounds were regressed out of both sides.",
}
_COLOURS = dict(
    zip(("ridge_cca", "confound_only", "dosage", "best_scan_reading", "textbook"), PALETTE, strict=True),
    best_gene_reading="#F0E442",
    residualised="#000000",
)
"""A method has one colour in every report, whatever else is drawn."""


def colour_of(name: str) -> str:
    """The colour of a comparison, or of the model."""
    return _COLOURS.get(name, COLOURS["model"] if name == "model" else COLOURS["baseline"])


def glossary(names: Iterable[str]) -> list[tuple[str, str]]:
    """Name and meaning of each of these comparisons that has one, none twice."""
    return [(pretty(name), MEANINGS[name]) for name in dict.fromkeys(names) if name in MEANINGS]


def terminal_table(metrics: Metrics) -> str:
    """The main results as lines of text: model and comparisons, chance, and the ceiling where it is known."""
    rows = [("model", metrics["retrieval"]["mean"])]
    rows += [(pretty(name), one) for name, one in (metrics.get("baselines") or {}).items() if one]
    lines = [("", f"recall@1 of {metrics['gallery_size']}", "percentile rank")]
    lines += [(name, _measured(one["recall@1"]), _measured(one["percentile_rank"])) for name, one in rows]
    lines.append(("chance", number(metrics["chance"]["recall@1"]), number(0.5)))
    ceiling = metrics.get("ceiling") or {}
    if ceiling.get("recall@1") is not None:
        rank = ceiling.get("matched_auc")
        lines.append(("ceiling", number(ceiling["recall@1"]), "" if rank is None else number(rank)))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _measured(metric: Metrics) -> str:
    low, high = metric["ci"]
    return f"{number(metric['value'])} ({number(low)} to {number(high)})"
