"""Parts of a model in words: what was chosen for each, by what and among what.

``model`` of ``metrics.json`` and, if there, the list of everything that cross-validation tried, in; rows of three
texts out. Parts that a run lacks give no row. Computes nothing; does not know how the numbers came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = tuple[str, str, str]
"""The part, what was chosen, and by what among what."""

FEATURES = {
    "innovation": "connectome, tangent space of what each frame adds to the one before",
    "lag0": "connectome, tangent space of the covariance",
    "without_global": "connectome, tangent space of the covariance without the global signal",
    "spectrum": "strength and rhythm of each parcel, log spectra",
    "directed": "which components run ahead of which, from one frame to the next",
    "coherence": "how networks of parcels hold together, and how long",
    "envelopes": "which networks of parcels are active at the same moments",
    "correlation": "connectome, correlations between parcels",
    "partial_correlation": "connectome, partial correlations between parcels",
    "embedding": "vectors of the scan encoder",
    "connectivity": "connectivity of the scan encoder's tokens, tangent space",
}
PRIORS = {
    "ridge": "ridge: every gene column counts a little",
    "row": "sparse by column: a gene column counts for all brain dimensions or for none",
    "entry": "sparse by entry: a gene column counts for single brain dimensions",
}
STACK = "several sets of gene columns, each under several priors, added up (table below)"
SETS = {"embeddings": "vectors of the DNA model", "rare": "all rare alleles of a window together"}
"""By the first word of a set of gene columns; the others are allele counts."""
ENDS = {
    "by frequency": ", frequent alleles counting more",
    "heterozygotes": ", heterozygotes against the middle of both homozygotes",
}
SCORES = {"llr": "log-likelihood ratio, calibrated", "cosine": "cosine"}
TRAINING = {
    "none": "none: the closed form alone",
    "residual": "a correction on top of the closed form",
    "full": "all weights of the towers",
}
KEPT = {"closed_form": "the closed form", "trained": "the trained towers"}
CONFIGURED = "set in the configuration"
VALIDATED = "cross-validation inside the training people"


def model_choices(model: Mapping[str, Any], tried: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """Rows of the table "The model".

    Parameters
    ----------
    model : mapping
        ``metrics["model"]``: encoder, start, train, score, kept, approval, chosen, calibration, parameters.
    tried : sequence of mappings
        A row per attempt of the closed form: ``brain``, ``k``, ``mode``, ``recall@1``.
    """
    chosen = model.get("chosen") or {}
    beside = " of the closed form beside it" if model.get("start") == "random" else ""
    rows: list[Row] = []
    if name := model.get("encoder"):
        random = "; its weights are random: it carries the letters, no knowledge of them" if "tiny" in name else ""
        rows.append(("DNA encoder", f"{name}{random}", CONFIGURED))
    if brain := chosen.get("brain"):
        rows.append((f"brain feature{beside}", _feature(brain), _among(tried, "brain", chosen)))
    if "k" in chosen:
        rows.append((f"brain dimensions{beside}", f"{chosen['k']}", _among(tried, "k", chosen)))
    if (mode := chosen.get("mode")) == "stack":
        rows.append((f"gene side{beside}", STACK, "least squares on people that the fit of their fold has not seen"))
    elif mode:
        rows.append((f"gene side{beside}", PRIORS.get(mode, mode), _among(tried, "mode", chosen)))
    if score := model.get("score"):
        rows.append(("score of a pair", SCORES.get(score, score), CONFIGURED))
    if calibration := model.get("calibration"):
        rows.append(("calibration", _calibration(calibration), "people that the fit of their fold has not seen"))
    if train := model.get("train"):
        rows.append(("training by gradient", TRAINING.get(train, train), CONFIGURED))
    if kept := model.get("kept"):
        rows.append(("in use", KEPT.get(kept, kept), _approval(model.get("approval") or {}, str(train))))
    for name, count in (model.get("parameters") or {}).items():
        words = f"{count['trainable']:,} of {count['total']:,} parameters"
        rows.append((f"trained weights, {name}", words, "counted, also where the training is not in use"))
    return rows


def gene_sets(readings: Mapping[str, Any] | None) -> list[tuple[str, str, float, float]]:
    """Rows of the table of gene readings: set of columns, its best prior, recall@1 in cross-validation, weight."""
    if not readings:
        return []
    return [
        (_columns(str(row["columns"])), str(row["mode"]), float(row["recall@1"]), float(row["weight"]))
        for row in readings["sets"]
    ]


def _columns(name: str) -> str:
    """``embeddings 0.003 by frequency`` in words."""
    words = name.split()
    what = SETS.get(words[0], "allele counts")
    rare = (
        f", alleles from {float(words[1]):.2%} of training people on" if len(words) > 1 and words[1][0] == "0" else ""
    )
    return what + rare + "".join(told for end, told in ENDS.items() if name.endswith(end))


def _feature(name: str) -> str:
    if "+" in name:
        return " and ".join(_feature(part) for part in name.split("+"))
    kind, _, components = name.rpartition("-")
    if not components.isdigit():
        return FEATURES.get(name, name)
    return f"{FEATURES.get(kind, kind)}, {components} components ({name})"


def _among(tried: Sequence[Mapping[str, Any]], key: str, chosen: Mapping[str, Any]) -> str:
    """What was tried, with the best recall@1 of each; the sparser gene sides only met the chosen brain side."""
    fixed = {"brain": (), "k": ("brain",), "mode": ("brain", "k")}[key]
    best: dict[Any, float] = {}
    for row in tried:
        if all(row[name] == chosen[name] for name in fixed) and (key == "mode" or row["mode"] == "ridge"):
            best[row[key]] = max(best.get(row[key], 0.0), row["recall@1"])
    if len(best) < 2:
        return VALIDATED
    under = "" if key == "mode" else ", under ridge"
    stacks = [name for name in best if "+" in str(name)]
    shown = [name for name in best if name not in stacks or name == chosen[key]]
    if others := [name for name in stacks if name not in shown]:
        shown.append(max(others, key=lambda name: best[name]))
    listed = ", ".join(f"{name} ({best[name]:.3f})" for name in shown)
    more = f"; {len(stacks)} stacks were tried" if len(stacks) > 1 else ""
    return f"{VALIDATED}{under}; best recall@1 of each: {listed}{more}"


def _calibration(found: Mapping[str, float]) -> str:
    if not found.get("slope"):
        return "the genes predict nothing of people not seen: every pair gets the same score"
    return (
        f"predictions are multiplied by {found['slope']:.2f} (0 would mean that genes predict nothing), the error that "
        f"the model expects by {found.get('inflation', 1.0):.2f}"
    )


def _approval(found: Mapping[str, Any], train: str) -> str:
    if "approved" not in found:
        return "no gradient was used" if train == "none" else "no closed form to compare with: training is kept"
    if reason := found.get("not_trained"):
        return f"not trained: {reason}"
    return (
        f"{found['validation_people']} validation people, galleries of {found['gallery_size']}: recall@1 "
        f"{found['validation_recall_start']:.3f} before training, {found['validation_recall_trained']:.3f} at its best "
        f"epoch ({found['best_epoch']}); training is used when the gain, {found['gain']:.3f}, exceeds 1.645 of its "
        f"standard errors ({found['gain_standard_error']:.3f} each)"
    )
