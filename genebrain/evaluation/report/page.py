"""One self-contained HTML page per run: what was found, how sure it is, and what it does not show.

Reads files of a run folder (``metrics.json``; if there, ``figures/*.png``, ``config.yaml``, ``provenance.json``,
``funnel.json``, ``history.csv``, ``checkpoints/model.json``) and writes ``report.html`` beside them. The page needs
no network and no scripts. What is missing is said on the page. Computes no result of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from genebrain.common.checksums import verify_run
from genebrain.common.files import replacing
from genebrain.common.leftovers import sweep_output
from genebrain.common.reading import contents_of, read_history, read_record, read_text
from genebrain.common.types import Metrics, UserError
from genebrain.evaluation.disclosure import MIN_CELL, shown_count, shown_strata
from genebrain.evaluation.limits import limits, older_judgement
from genebrain.evaluation.model_choices import gene_sets, model_choices
from genebrain.evaluation.report.comparisons import glossary
from genebrain.evaluation.report.html import data_url, png, template
from genebrain.evaluation.report.run_figures import funnel_bars, training_curves
from genebrain.evaluation.report.style import pretty
from genebrain.evaluation.result_files import result_path
from genebrain.evaluation.verdict import judge, judged_people, number, share_of_possible

HEADINGS = {
    "shared": "Genome and brain match, also within strata",
    "open": "Above chance, not settled",
    "confounded": "Explained by the strata",
    "chance": "Not distinguishable from chance",
    "reversed": "Below chance",
    "leak": "Above what is possible",
}
OPTIONAL = ("findings", "ceiling", "oracle_pair", "permutation", "cost", "dropped", "splits", "seeds")
HEADLINE = ("recall@1", "recall@5", "recall@10", "mrr", "median_rank", "percentile_rank")


def write_report(run_folder: str | Path, split: str = "test") -> Path:
    """Write ``report.html`` of a run, whole or not at all; of the validation people ``report.validation.html``.

    Returns
    -------
    Path of the page.

    Raises
    ------
    UserError
        If ``metrics.json`` is missing, is not JSON or lacks the retrieval results.
    """
    folder = Path(run_folder)
    verify_run(folder)
    layout = template(
        Path(__file__).parent, rate=rate, measured=measured, pretty=pretty, p=number, count=shown_count
    )  # fmt: skip
    with contents_of(result_path(folder, "metrics.json", split), "judge the run again (genebrain evaluate)"):
        page = layout.render(context(folder, split))
    path = result_path(folder, "report.html", split)
    sweep_output(path)
    with replacing(path, private=False) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def context(folder: Path, split: str = "test") -> dict[str, Any]:
    """Everything the template shows, read from the run folder."""
    metrics = _metrics(folder, split)
    kind, text = judge(metrics)
    within = metrics.get("within_stratum")
    funnel = _json(folder / "funnel.json")
    history = _history(folder / "history.csv")
    figures = {
        path.stem: data_url(path.read_bytes()) for path in sorted(result_path(folder, "figures", split).glob("*.png"))
    }
    for name, figure in (("history", training_curves(history)), ("funnel", funnel_bars(funnel))):
        if name not in figures and figure is not None:
            figures[name] = data_url(png(figure))
    config = folder / "config.yaml"
    model = {k: v for k, v in (metrics.get("model") or {}).items() if k != "arms"}
    arms = (metrics.get("model") or {}).get("arms") or {}
    listed = {k: v for k, v in (model.get("chosen") or {}).items() if k not in ("genes", "race")}  # told elsewhere
    genes = metrics.get("gene_readings")
    # What cross-validation tried is known of the model of the run; the one that validation people judge is another.
    fitted = _json(folder / "checkpoints" / "model.json") if split == "test" else {}
    tried = (fitted.get("closed_form") or {}).get("cv") or []
    return {
        "metrics": dict.fromkeys(OPTIONAL) | metrics,
        "ceiling": _ceiling(metrics),
        "kind": kind,
        "heading": HEADINGS[kind] if split == "test" else f"On validation people: {HEADINGS[kind]}",
        "split": split,
        "people": judged_people(metrics),
        "verdict": metrics.get("verdict") or text,
        "possible": share_of_possible(metrics),
        "headline": HEADLINE,
        "full": _full_gallery(metrics),
        "baselines": {k: v for k, v in (metrics.get("baselines") or {}).items() if v},
        "not_run": [k for k, v in (metrics.get("baselines") or {}).items() if not v],
        "within": within,
        "strata": shown_strata(within),
        "min_cell": MIN_CELL,
        "model": model,
        "numbers": {**model, "chosen": listed} if "chosen" in model else model,
        "gene_sets": gene_sets(genes),
        "gene_stack": genes,
        "scan_kinds": sorted(((metrics.get("scan_readings") or {}).get("recall@1") or {}).items(), key=lambda x: -x[1]),
        "choices": model_choices(model, tried),
        "arms": arms,
        "tied": _calibrated_away(model),
        "untold": _untold(metrics),
        "meanings": glossary(("confound_only", *(metrics.get("baselines") or {}), *arms)),
        "flat": flat,
        "flat_counts": flat_counts,
        "rows_of": lambda named: [(name, one, "") for name, one in named.items()],
        "rows_of_strata": lambda table: [(f"{one['name']} (n = {one['n']})", one, "") for one in table],
        "funnel": funnel,
        "controls": _json(folder / "controls.json") if split == "test" else {},
        "figures": figures,
        "limits": [*older_judgement(metrics), *limits(metrics)],
        "provenance": _json(folder / "provenance.json"),
        "config": read_text(config) if config.exists() else None,
        "run_name": folder.resolve().name,
        "today": date.today().isoformat(),
    }


def rate(value: float | None, name: str = "") -> str:
    """A number as the tables show it: a rate with three decimals, a rank with one, a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:.1f}" if name.endswith("_rank") and name != "percentile_rank" else f"{value:.3f}"


def measured(metric: Metrics | float | None, name: str = "") -> str:
    """A value with its interval: ``0.641 (0.597 to 0.683)``; just the value where there is no interval."""
    if not isinstance(metric, Mapping):
        return rate(metric, name)
    value, low, high = (rate(v, name) for v in (metric["value"], *metric["ci"]))
    return f"{value} ({low} to {high})"


def flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Rows (name, value) of a nested dictionary, names joined by a colon."""
    rows: list[tuple[str, str]] = []
    for name, value in nested.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{name}: ")
        else:
            rows.append((prefix + name, _shown(value)))
    return rows


def _shown(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def flat_counts(nested: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Rows (name, count) of a nested dictionary of counts; other entries are passed over."""
    rows: list[tuple[str, int]] = []
    for name, value in nested.items():
        if isinstance(value, Mapping):
            rows += [(f"{name} {inner}", count) for inner, count in flat_counts(value)]
        elif isinstance(value, int):
            rows.append((name, value))
    return rows


def _metrics(folder: Path, split: str) -> Metrics:
    path = result_path(folder, "metrics.json", split)
    if not path.exists():
        asked = "" if split == "test" else f" split={split}"
        raise UserError(f"there is no {path.name} in {folder}; make it with: genebrain evaluate run={folder}{asked}")
    metrics = _json(path)
    missing = [key for key in ("retrieval", "chance", "gallery_size", "n_subjects") if key not in metrics]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; run the evaluation of this run again.")
    if metrics.get("split", split) != split:
        # Older versions wrote every split under this name, and judged validation people with their own model.
        raise UserError(
            f"{path} is about {metrics['split']} people; make it anew with: genebrain evaluate run={folder}"
        )
    return metrics


def _calibrated_away(model: Mapping[str, Any]) -> bool:
    """Whether the closed form in use predicts nothing, so that all pairs are tied."""
    return model.get("kept") == "closed_form" and (model.get("calibration") or {}).get("slope") == 0


def _untold(metrics: Metrics) -> str:
    """Why the page names no genes."""
    if "findings" not in metrics:
        return "this run was judged by an older version"
    if ((metrics.get("model") or {}).get("calibration") or {}).get("slope") == 0:
        return "the closed form found nothing that genes and scans share"
    return "the run was judged with findings=false, or has no closed form"


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    return read_record(path)


def _history(path: Path) -> dict[str, list[float]]:
    """Columns of a training log; an empty cell (not logged at that step) becomes NaN."""
    if not path.exists():
        return {}
    rows = read_history(path)
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def _ceiling(metrics: Metrics) -> Metrics | None:
    """The ceiling; its chance to beat one distractor is the percentile rank."""
    ceiling = metrics.get("ceiling")
    if not ceiling:
        return None
    return {"percentile_rank": ceiling.get("matched_auc"), **ceiling}


def _full_gallery(metrics: Metrics) -> dict[str, Any] | None:
    full = metrics.get("gallery_full")
    if not full or "mean" not in full:
        return None
    return {"gallery_size": full.get("gallery_size", metrics["n_subjects"]), "mean": full["mean"]}
