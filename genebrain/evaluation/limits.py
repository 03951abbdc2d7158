"""Limits of a result, in sentences derived from its own numbers.

The content of ``metrics.json`` in, sentences out. Names every safeguard that was not used.
"""

from __future__ import annotations

from genebrain.common.types import Metrics
from genebrain.evaluation.verdict import judged_people

ENOUGH_TEST_SUBJECTS = 256
ENOUGH_EXCHANGEABLE = 0.8


def older_judgement(metrics: Metrics) -> list[str]:
    """What to know of numbers of an older version, which read fitted autoregressions transposed; mostly nothing."""
    chosen = str(((metrics.get("model") or {}).get("chosen") or {}).get("brain", ""))
    if "run_format" in metrics or not chosen.startswith("innovation"):
        return []
    return [
        "Judged by an older version of genebrain, which read the brain features of a run wrongly. The numbers may be "
        "too low: run the evaluation of this run again."
    ]


def limits(metrics: Metrics) -> list[str]:
    """Limits of this run, the specific ones first."""
    found = []
    n, split = metrics["n_subjects"], judged_people(metrics)
    if split == "validation":
        found.append(
            "These are validation people, for choosing between settings: whoever chooses by them needs the test people "
            "for the result. The model judged here was fitted on the train people alone, so it is not quite the model "
            "of the run."
        )
    if n_folds := metrics.get("folds"):
        found.append(
            f"Everybody was tested once, by {n_folds} fits that share most of their training people: the intervals "
            "hold the luck of who was there, and do not say how much another set of training people would change."
        )
    if split == "second-cohort":
        found.append(
            "The people are of another cohort than the model. What was found in both can still rest on something that "
            "both share, such as ancestry; what was not found can lie in the scanner or in who was asked to take part."
        )
    if n < ENOUGH_TEST_SUBJECTS:
        found.append(
            f"The {split} set has {n} subjects; below about {ENOUGH_TEST_SUBJECTS} a recall moves by several "
            "hundredths from one draw of people to the next. Read the interval, not the value."
        )
    permutation = metrics.get("permutation") or {}
    if not permutation:
        found.append("No permutation test was made.")
    elif permutation.get("p_stratified") is None:
        found.append(
            "No strata were given, so nothing here separates genes from site, ancestry, sex or age. A cohort "
            "in which ancestry goes with scanner passes the free permutation test without any biology."
        )
    elif permutation.get("exchangeable_stratified", 1.0) < ENOUGH_EXCHANGEABLE:
        found.append(
            f"Only {permutation['exchangeable_stratified']:.0%} of the {split} people could be dealt another "
            "scan within their stratum; the stratified test is weaker than the size of the test set suggests."
        )
    if not metrics.get("within_stratum"):
        found.append("Retrieval within strata could not be measured (no strata, or strata too small).")
    if not (metrics.get("baselines") or {}).get("confound_only"):
        found.append("No confound-only model was fitted, so what site, ancestry, age and sex reach alone is unknown.")
    if not metrics.get("ceiling"):
        found.append("The best possible score is unknown; it is known for simulated cohorts only.")
    if columns := metrics.get("columns"):
        found.append(_columns_told(columns))
    found += [
        f"The permutation test deals the scans of the {split} set and does not retrain; it judges this model, "
        "not every choice made on the way to it.",
        "Confounds that were not recorded, or not put into the strata, are removed by none of these tests.",
        "Retrieval says that the two sides share information about who is who. Windows and connections that carry it "
        "are places to look at: they name no mechanism, and say nothing about cause.",
        "Matching a brain to a genome is re-identification. Treat embeddings and model weights as "
        "individual-level data, and do not run this on people who did not consent to it.",
    ]
    return found


def _columns_told(columns: Metrics) -> str:
    missing = columns.get("missing", {})
    told = {name: f"{name} ({n:,} unknown)" for name, n in missing.items()}
    roles = ("confounds", "strata", "unused")
    names = {role: ", ".join(told.get(name, name) for name in columns[role]) or "none" for role in roles}
    return (
        f"Columns taken as confounds: {names['confounds']}; as strata: {names['strata']}. Not used: {names['unused']}. "
        "A confound under another name is none here: name it in `confounds:` or `columns:` of cohort.yaml."
    )
