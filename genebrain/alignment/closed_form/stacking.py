"""Stack of scan readings: a second kind of features where it tells the genes something that the first does not.

Each other kind is freed of the latents chosen so far before its components are taken (deflation), so that all latents
stay uncorrelated and the calibrated score of the longer vector needs no weights. Cross-validation accepts or refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.choice import NEAR, Fits, Judge, rank_latents
from genebrain.alignment.closed_form.empirical_bayes import Posterior, fit_ridge
from genebrain.alignment.closed_form.latents import Latents, fixed_latents, kind_of, with_unpaired
from genebrain.alignment.closed_form.regression_data import Form
from genebrain.alignment.closed_form.spectral import principal_components
from genebrain.common.types import FloatArray

SIZES = (8, 16, 24)
"""Dimensions that a further kind may add."""


def best_of_kinds(cv: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, str]]:
    """Best ridge score of each kind of candidates, and the candidate that reached it."""
    best: dict[str, tuple[float, str]] = {}
    for row in cv:
        if row["mode"] == "ridge" and "+" not in row["brain"]:
            kind = kind_of(row["brain"])
            best[kind] = max(best.get(kind, (-1.0, "")), (row["recall@1"], row["brain"]))
    return best


def readings_of(latents: Latents, cv: list[dict[str, Any]]) -> dict[str, Any]:
    """What each kind of candidates reached, and the parts of a stack; nothing where there was one kind only."""
    best = best_of_kinds(cv)
    found: dict[str, Any] = {}
    if len(best) > 1:
        found["kinds"] = {kind: value for kind, (value, _) in best.items()}
    if len(latents.parts) > 1:
        found["parts"] = [list(part) for part in latents.parts]
    return found


def stacked_latents(
    judge: Judge,
    latents: Latents,
    fits: Fits,
    candidates: Mapping[str, FloatArray],
    cv: list[dict[str, Any]],
    most: int,
    *,
    progress: bool = False,
) -> tuple[Latents, Fits] | None:
    """Add one kind after the other while cross-validation gains; None where no kind gains enough.

    Parameters
    ----------
    latents, fits
        Of the best single candidate.
    cv : list of dict
        What was tried before; new rows are added.
    most : int
        Dimensions of one candidate at most.
    """
    best = best_of_kinds(cv)
    reached = max(row["recall@1"] for row in cv if row["brain"] == latents.name and row["k"] == latents.values.shape[1])
    left = [kind for kind in best if kind != kind_of(latents.name)]
    data, ridge, grown = *fits, None
    ghat = judge.predicted(ridge)
    while left:
        tried = [latents.extended(best[kind][1], candidates[best[kind][1]], min(max(SIZES), most)) for kind in left]
        start = latents.values.shape[1]
        added = np.concatenate([one.values[:, start:] for one in tried], axis=1)
        if not added.shape[1]:
            break
        of_added, first = fit_ridge(data.of_latents(judge.x, added, judge.left_out), again=True, progress=progress), 0
        ghat_added = judge.predicted(of_added)
        found: tuple[float, Latents, Posterior, FloatArray] | None = None
        for one in tried:
            width = one.values.shape[1] - start
            for size in sorted({min(size, width) for size in SIZES if width}):
                shorter = one.leading(size)
                joint = _side_by_side(ridge, of_added.dims(first, size))
                both = np.concatenate([ghat, ghat_added[:, first : first + size]], axis=1)
                value, calibration = judge.judge(joint, shorter.values, both)
                k = shorter.values.shape[1]
                cv.append({"brain": one.name, "k": k, "mode": "ridge", "recall@1": value, "slope": calibration.slope})
                if found is None or value > found[0]:
                    found = value, shorter, joint, both
            first += width
        if found is None or found[0] < reached + judge.settings.stack_gain:
            break
        reached, latents, ridge, ghat = found
        left.remove(kind_of(latents.parts[-1][0]))
        grown = latents
    if grown is None:
        return None
    return grown, (data.of_latents(judge.x, grown.values, judge.left_out), ridge)


def _side_by_side(one: Posterior, other: Posterior) -> Posterior:
    """Ridge posteriors of two sets of dimensions; each dimension is fitted by itself."""
    k = one.mean.shape[2] + other.mean.shape[2]
    rotation = np.broadcast_to(np.eye(k), (len(one.mean), k, k))
    parts = [(one.mean, other.mean), (one.predictive, other.predictive), (one.inclusion, other.inclusion)]
    mean, predictive, inclusion = (np.concatenate(pair, axis=-1) for pair in parts)
    return Posterior(mean, predictive, inclusion, rotation)


Tried = tuple[list[dict[str, Any]], list[tuple[Latents, Fits]]]
"""What ridge has tried, and what the priors are tried on."""


def tried_latents(
    judge: Judge, candidates: dict[str, FloatArray], most: int, form: Form, unpaired: Mapping[str, FloatArray], *,
    progress: bool,
) -> Tried:  # fmt: skip
    """What ridge has tried, and what the priors are tried on: the best candidate or kinds, and a stack that gains."""
    if judge.settings.parts:
        latents = fixed_latents(candidates, judge.settings.parts, most, unpaired)
        data = form.of_subsets(judge.x, latents.values, judge.left_out)
        return [], [(latents, (data, fit_ridge(data, progress=progress)))]
    brains = {name: principal_components(with_unpaired(f, unpaired, name), most) for name, f in candidates.items()}
    cv, ranked = rank_latents(judge, brains, candidates, form, progress=progress)
    tried = [(Latents.of_components(name, brains[name], u, u.shape[1]), fits) for name, u, fits in ranked]
    stack = None
    if judge.settings.stack:
        stack = stacked_latents(judge, *tried[0], candidates, cv, most, progress=progress)
    return cv, [*tried, *([stack] if stack is not None else [])]


def led_latents(
    judge: Judge,
    table: Callable[[int], FloatArray],
    rivals: Sequence[int],
    candidates: dict[str, FloatArray],
    most: int,
    form: Form,
    unpaired: Mapping[str, FloatArray],
    *,
    progress: bool,
) -> tuple[int, Judge, list[dict[str, Any]], list[tuple[Latents, Fits]]]:
    """Latents as the first set of gene columns chooses them; where it tells next to nothing, as the best of its rivals.

    Parameters
    ----------
    table : callable
        Number of a set -> its columns ``[people, columns]``.
    rivals : sequence of int
        Numbers of the other sets.

    Returns
    -------
    Number of the set, the judge that holds its columns, and what was tried.
    """
    tried = tried_latents(judge, candidates, most, form, unpaired, progress=progress)
    chance = 1 / judge.settings.gallery
    doubtful = 2 * chance + NEAR * float(np.sqrt(chance / len(judge.genomes)))
    found, reached = (0, judge, *tried), _best(tried[0])
    for number in rivals if tried[0] and reached < doubtful else ():
        other = replace(judge, x=table(number))
        tried = tried_latents(other, candidates, most, form, unpaired, progress=progress)
        if _best(tried[0]) >= max(reached, doubtful):
            found, reached = (number, other, *tried), _best(tried[0])
    return found


def _best(cv: Sequence[Mapping[str, Any]]) -> float:
    return max((float(row["recall@1"]) for row in cv), default=0.0)
