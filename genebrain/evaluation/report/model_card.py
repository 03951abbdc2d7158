"""Model card of a run, ``MODEL_CARD.md``: what it is, on whom it was fitted in aggregates, what it reached, its limits.

Reads files of the run folder. No id and no path stands in the card, and small counts are not shown, so that it can
travel with the numbers; the model itself derives from individual-level data, and the card says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genebrain.common.files import replacing
from genebrain.common.reading import read_record
from genebrain.common.types import Metrics
from genebrain.evaluation.disclosure import shown_count
from genebrain.evaluation.limits import limits
from genebrain.evaluation.model_choices import model_choices
from genebrain.evaluation.verdict import judge

NAME = "MODEL_CARD.md"
LICENCES = {
    "generator_tiny": "random weights, made by genebrain (MIT)",
    "generator_": "GENERator, weights under the MIT licence",
    "carbon_": "Carbon, code and weights under Apache-2.0",
    "connectome": "no weights: connectivity, computed by genebrain (MIT)",
    "vectors": "vectors that were given: the licence of whatever made them",
    "brainlm": "BrainLM: code Apache-2.0, published weights CC BY-NC-ND 4.0 (non-commercial, no derivatives)",
    "swift": "SwiFT, code and published weights under Apache-2.0",
    "brainmt": "BrainMT, code under the MIT licence; no weights are published",
}
"""By the beginning of an encoder's name; the longest that fits counts."""
PRIVACY = (
    "Individual-level. Weights, gene coordinates and vectors were fitted on people's genomes and scans and can reveal "
    "who took part; a brain that is matched to a genome is re-identified. Treat the folder as the data it was made of, "
    "and share it only where the consent of these people and your data agreement allow it."
)
USE = (
    "To measure whether genome and brain activity share information in people like those of the cohort, and to give "
    "vectors for such studies. Not for diagnosis, not for decisions about a person, not to identify anybody."
)
METRICS = ("recall@1", "recall@5", "percentile_rank")


def write_model_card(run: Path) -> Path:
    """Write the card of a finished run; with the judgement of its test people where there is one."""
    metrics = _record(run / "metrics.json")
    sections = [
        "# Model card\n\nWritten by genebrain; made anew when the run is judged.",
        _what(run, metrics),
        _people(run),
        _reached(metrics),
        _section(
            "Limits", _bullets(limits(metrics) if metrics else ["Not judged yet: nothing is known of its worth."])
        ),
        _section("Intended use", USE),
        _section("Licences of the encoders", _licences(run)),
        _section("Privacy class", PRIVACY),
    ]
    path = run / NAME
    with replacing(path, private=False) as partial:
        partial.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return path


def _what(run: Path, metrics: Metrics) -> str:
    provenance, model = _record(run / "provenance.json"), _record(run / "checkpoints" / "model.json")
    closed, settings = model.get("closed_form") or {}, model.get("settings") or {}
    facts = {
        "encoder": _encoders(run)[0],
        "kept": model.get("kept"),
        "approval": model.get("approval"),
        "chosen": closed.get("chosen"),
        **{name: settings.get(name) for name in ("start", "train", "score")},
    }
    described = (metrics.get("model") or facts) if metrics else facts
    rows = [f"{part}: {what}" for part, what, _ in model_choices(described)]
    versions = provenance.get("versions") or {}
    rows.append(f"scan encoder: {_encoders(run)[1]}")
    made = f"made by genebrain {versions.get('genebrain')}, torch {versions.get('torch')}"
    when = f" on {provenance['finished']}" if "finished" in provenance else ""
    rows.append(f"{made}{when}, format {provenance.get('format')}")
    what = "An alignment of genomes with brain scans: two vectors whose product is a score."
    return _section("What it is", f"{what}\n\n{_bullets(rows)}")


def _people(run: Path) -> str:
    funnel, saved = _record(run / "funnel.json"), _record(run / "split.json")
    names = {
        "listed": "listed", "both": "with genome and scan", "after_filters": "after filters", "scans": "scans of these",
    }  # fmt: skip
    rows = [f"{words}: {shown_count(int(funnel[key]))}" for key, words in names.items() if key in funnel]
    rows += [f"{part}: {shown_count(len(saved.get(part, [])))}" for part in ("train", "validation", "test")]
    genotypes = funnel.get("genotypes") or {}
    if genotypes:
        rows.append(f"windows of the genome: {genotypes['windows']}, of which {genotypes['windows_that_vary']} vary")
    audit = saved.get("audit") or {}
    known = ", ".join(audit.get("relatedness_known") or []) or "nothing"
    rows.append(
        f"split: {audit.get('how', 'unknown')}; families across the split: {audit.get('families_crossing', 'unknown')}"
    )
    rows.append(f"relatedness known from: {known}")
    rows.append(f"mark of the cohort: {str(saved.get('fingerprint', ''))[:8]} (a hash; it names nobody)")
    return _section("Whom it was fitted on", _bullets(rows))


def _reached(metrics: Metrics) -> str:
    if not metrics:
        return _section("What it reached", "Not judged yet: `genebrain evaluate` does it.")
    mean, chance, ceiling = metrics["retrieval"]["mean"], metrics["chance"], metrics.get("ceiling") or {}
    lines = ["| on test people | value (95 %) | chance | ceiling |", "|---|---|---|---|"]
    for name in METRICS:
        value, (low, high) = mean[name]["value"], mean[name]["ci"]
        top = f"{ceiling[name]:.3f}" if name in ceiling else "unknown"
        lines.append(f"| {name} | {value:.3f} ({low:.3f} to {high:.3f}) | {chance[name]:.3f} | {top} |")
    for name, found in (metrics.get("baselines") or {}).items():
        if found:
            low, high = found["recall@1"]["ci"]
            shown = f"{found['recall@1']['value']:.3f} ({low:.3f} to {high:.3f})"
            lines.append(f"| recall@1 of {name.replace('_', ' ')} | {shown} | {chance['recall@1']:.3f} | |")
    about = f"{shown_count(metrics['n_subjects'])} people, {metrics['gallery_size']} candidates."
    return _section(
        "What it reached", f"{metrics.get('verdict') or judge(metrics).text}\n\n{about}\n\n" + "\n".join(lines)
    )


def _encoders(run: Path) -> tuple[str, str]:
    """Names of the encoders of both sides: plain words, never a place."""
    settings, brain = _record(run / "settings.json"), _record(run / "provenance.json").get("brain") or {}
    genetics = settings.get("genetics") or {}
    names = str(genetics.get("name", "vectors")), str(brain.get("encoder", "unknown"))
    return Path(names[0]).name, Path(names[1]).name


def _licences(run: Path) -> str:
    rows = []
    for name in _encoders(run):
        fitting = sorted((start for start in LICENCES if name.startswith(start)), key=len)
        rows.append(
            f"{name}: {LICENCES[fitting[-1]] if fitting else 'not known to genebrain: ask who gave the weights'}"
        )
    return _bullets(rows)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _bullets(rows: list[str]) -> str:
    return "\n".join(f"- {row}" for row in rows)


def _record(path: Path) -> dict[str, Any]:
    return dict(read_record(path)) if path.is_file() else {}
