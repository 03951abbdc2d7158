"""Verdict: the result in one or two sentences, from the numbers of ``metrics.json`` alone.

A metrics dictionary in, a kind and a text out. Says less than the numbers allow, never more: what a test was not run
for is named as open, a signal that strata explain is called explained, and a score above what is possible is called a
leak.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from genebrain.common.types import Metrics

LEVEL = 0.05
FEWEST_EXCHANGEABLE = 0.2
"""Share of test subjects with somebody to exchange scans with, below which strata can explain nothing."""
Kind = Literal["shared", "open", "confounded", "chance", "reversed", "leak"]


class Verdict(NamedTuple):
    """What the evidence amounts to.

    Attributes
    ----------
    kind
        ``shared`` (holds within strata), ``open`` (above chance, but something that could explain it was not
        excluded), ``confounded``, ``chance``, ``reversed`` (below chance) or ``leak`` (above the ceiling).
    text
        One to three sentences.
    """

    kind: Kind
    text: str


def verdict(metrics: Metrics) -> str:
    """The text of `judge`, for ``metrics["verdict"]``, doubts about the reading of the scans, and the people judged."""
    text = " ".join([judge(metrics).text, *(metrics.get("scan_readings") or {}).get("warnings", [])])
    split = metrics.get("split")
    if split is None:
        return text
    fitted = metrics.get("fitted_on") or {}
    if second_cohort(metrics):
        return (
            f"Second cohort, {metrics['cohort']['name']}: {text} Judged on all its {metrics['n_subjects']:,} people, "
            f"by a model fitted on {fitted['people']:,} people of another cohort; nothing was learned from them."
        )
    people = f"{metrics['n_subjects']:,} {split} people"
    if n := metrics.get("folds"):
        return f"{text} Judged on {metrics['n_subjects']:,} people, each tested once by one of {n} fits to the others."
    if split == "test":
        return f"{text} Judged on {people}."
    alone = f", by a model fitted on {fitted['people']:,} train people alone" if "people" in fitted else ""
    return f"On validation people, while choosing: {text} Judged on {people}{alone}; the test people are for the end."


def second_cohort(metrics: Metrics) -> bool:
    """Whether these are people of another cohort than that of the model."""
    return bool((metrics.get("cohort") or {}).get("second"))


def judged_people(metrics: Metrics) -> str:
    """A word for the people who were judged: ``test``, ``validation`` or ``second-cohort``."""
    return "second-cohort" if second_cohort(metrics) else str(metrics.get("split", "test"))


def judge(metrics: Metrics) -> Verdict:
    """Weigh retrieval, permutation tests, within-stratum retrieval, the confound-only model and the ceiling.

    ``metrics`` is the content of ``metrics.json``; ``permutation``, ``within_stratum``, ``baselines`` and
    ``ceiling`` may be missing or null.
    """
    mean = metrics["retrieval"]["mean"]
    permutation = metrics.get("permutation") or {}
    p_free, p_stratified = permutation.get("p_free"), permutation.get("p_stratified")
    low, high = mean["percentile_rank"]["ci"]
    score = _score(mean, metrics)
    if high < 0.5:
        rank = f"{number(mean['percentile_rank']['value'])} (95 % {number(low)} to {number(high)})"
        text = (
            f"Below chance: percentile rank {rank}, chance .5; {score}. Of forty results where there is nothing, one "
            "looks like this; if another seed or split does too, check that genomes and scans are matched row by row."
        )
        return Verdict("reversed", text)
    without_test = 0.0 if low > 0.5 else 1.0
    if (without_test if p_free is None else p_free) > LEVEL:
        if p_stratified is not None and p_stratified <= LEVEL:
            tests = _tests(p_free, p_stratified)
            return Verdict("open", f"Unclear: {score}; only the permutation within strata finds it ({tests}).")
        tested = "" if p_free is None else f", permutation p of the percentile rank = {number(p_free)}"
        return Verdict("chance", f"Not distinguishable from chance: {score}{tested}.")
    excess = _above_ceiling(mean, metrics)
    if excess:
        return Verdict("leak", f"Above what is possible: {score}, {excess}. Look for a leak before reading on.")
    tests = _tests(p_free, p_stratified)
    inside = _within(metrics)
    exchangeable = permutation.get("exchangeable_stratified", 1.0)
    if p_stratified is not None and p_stratified > LEVEL and exchangeable < FEWEST_EXCHANGEABLE:
        return Verdict("open", _untestable(metrics, score, exchangeable, tests))
    if p_stratified is not None and p_stratified > LEVEL:
        if inside != "above":
            text = (
                f"Explained by {_strata(metrics)}, as far as this test "
                f"set can tell: {score}, but {_inside_words(inside)} ({tests})."
            )
            return Verdict("confounded", text)
        return Verdict(
            "open",
            f"Unclear: {score}; retrieval within strata is above chance, yet the permutation "
            f"within strata does not confirm it ({tests}).",
        )
    if p_free is None:
        return Verdict("open", f"Above chance: {score}, but no permutation test was made.")
    possible = _possible(metrics)
    if p_stratified is None:
        caveat = "Without strata, site and ancestry remain possible causes."
        return Verdict("open", f"Above chance: {score}{possible} ({tests}). {caveat}")
    if inside == "chance":
        text = (
            f"Weak: {score} ({tests}), but retrieval within strata cannot be told from chance; "
            "a larger test set is needed to say more."
        )
        return Verdict("open", text)
    return _against_confounds(mean, metrics, f"{score}{possible} ({tests})")


def _untestable(metrics: Metrics, score: str, exchangeable: float, tests: str) -> str:
    return (
        f"Above chance, but cannot be tested within these strata ({_strata(metrics)}): {score}; only "
        f"{100 * exchangeable:.0f} % of the test subjects could be dealt another scan of their stratum, "
        f"{100 * FEWEST_EXCHANGEABLE:.0f} % are needed to say anything. Choose coarser strata ({tests})."
    )


def number(value: float) -> str:
    """A p value or rate in the compact form of the field: ``.001``, ``.43``, ``1``."""
    if value == 0 or value == 1:
        return f"{value:.0f}"
    if 0 < value < 0.0005:
        return f"{value:.0e}".replace("e-0", "e-")
    return (f"{value:.3f}" if value < 0.1 else f"{value:.2f}").removeprefix("0")


def share_of_possible(metrics: Metrics) -> float | None:
    """(model - chance) / (ceiling - chance) in recall@1, or None without a ceiling above chance."""
    ceiling = metrics.get("ceiling") or {}
    top = ceiling.get("recall@1")
    chance = metrics["chance"]["recall@1"]
    if top is None or top <= chance:
        return None
    return float((metrics["retrieval"]["mean"]["recall@1"]["value"] - chance) / (top - chance))


def _score(mean: Metrics, metrics: Metrics) -> str:
    recall = mean["recall@1"]
    low, high = recall["ci"]
    return (
        f"recall@1 {number(recall['value'])} (95 % {number(low)} to {number(high)}) among "
        f"{metrics['gallery_size']} candidates, chance {number(metrics['chance']['recall@1'])}"
    )


def _above_ceiling(mean: Metrics, metrics: Metrics) -> str:
    top = (metrics.get("ceiling") or {}).get("recall@1")
    if top is None:
        return ""
    low, high = mean["recall@1"]["ci"]
    standard_error = (high - low) / 3.92
    if mean["recall@1"]["value"] - top <= 3 * standard_error:
        return ""
    return f"more than three standard errors above the ceiling of {number(top)}"


def _possible(metrics: Metrics) -> str:
    share = share_of_possible(metrics)
    if share is None or share <= 0:
        return ""
    return f", {min(share, 1.0):.0%} of the possible".replace("%", " %")


def _tests(p_free: float | None, p_stratified: float | None) -> str:
    parts = []
    if p_free is not None:
        parts.append(f"permutation p = {number(p_free)}")
    if p_stratified is not None:
        parts.append(f"within strata p = {number(p_stratified)}")
    return ", ".join(parts)


def _within(metrics: Metrics) -> Literal["none", "above", "chance"]:
    inside: dict[str, Any] | None = metrics.get("within_stratum")
    if not inside:
        return "none"
    return "above" if inside["mean"]["percentile_rank"]["ci"][0] > 0.5 else "chance"


def _strata(metrics: Metrics) -> str:
    return "/".join(metrics.get("strata_columns") or ("site", "ancestry"))


def _inside_words(inside: str) -> str:
    if inside == "none":
        return "the pairing means nothing once scans are dealt within strata"
    return "people of the same stratum are not told apart better than chance"


def _against_confounds(mean: Metrics, metrics: Metrics, evidence: str) -> Verdict:
    """The last hurdle of a result that holds within strata: a model that sees only the confounds."""
    confounds = (metrics.get("baselines") or {}).get("confound_only")
    if not confounds:
        text = f"Above chance, also within strata: {evidence}. No confound-only model was fitted."
        return Verdict("shared", text)
    model, other = mean["recall@1"], confounds["recall@1"]
    reference = f"recall@1 {number(other['value'])}"
    if model["ci"][0] > other["value"] and model["value"] > other["ci"][1]:
        text = f"Above the confound-only model ({reference}), also within strata: {evidence}."
        return Verdict("shared", text + _against_dosage(model, metrics))
    return Verdict(
        "open",
        f"Above chance, also within strata, but not clearly above the confound-only model ({reference}): {evidence}.",
    )


def _against_dosage(model: Metrics, metrics: Metrics) -> str:
    """What the DNA encoder adds must show against plain allele counts."""
    arms = (metrics.get("model") or {}).get("arms") or {}
    if {"embeddings_alone", "dosages_alone"} <= set(arms):
        vectors, plain = (number(arms[f"{name}_alone"]["recall@1"]["value"]) for name in ("embeddings", "dosages"))
        return f" The model reads both: vectors of the DNA model alone reach {vectors}, dosages alone {plain}."
    dosage = (metrics.get("baselines") or {}).get("dosage")
    if not dosage or dosage["recall@1"]["value"] <= model["value"]:
        return ""
    reached = number(dosage["recall@1"]["value"])
    return f" Plain dosages of the variants reach {reached}: the DNA encoder shows no gain over them here."
