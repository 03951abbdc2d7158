"""Did pretraining learn anything? Losses on validation people against the start and against no model at all.

The same looks and masks for every competitor, differences per person, intervals over families; the verdict says so
when a reconstruction does not beat the best predictor without a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genebrain.brain.pretraining.module import VALIDATION, PretrainModule
from genebrain.brain.pretraining.objectives import Objective
from genebrain.common.types import IntArray, Metrics
from genebrain.evaluation.intervals import FamilyBootstrap, interval

MODEL = "model"
Losses = dict[str, NDArray[np.float64]]


def measure(module: PretrainModule, batches: Iterable[dict[str, Tensor]]) -> Losses:
    """Losses of the model, of trivial predictors and further figures, ``[batches]`` each, in evaluation mode."""
    training, device = module.training, module.device
    module.eval()
    found: dict[str, list[float]] = {}
    with torch.no_grad():
        for number, batch in enumerate(batches):
            moved = {name: tensor.to(device) for name, tensor in batch.items()}
            outcome = module.outcome(moved, [VALIDATION, number], compare=True)
            values = {MODEL: outcome.loss, **outcome.trivial, **outcome.figures}
            for name, value in values.items():
                found.setdefault(name, []).append(float(value))
    module.train(training)
    return {name: np.array(values) for name, values in found.items()}


def compare(
    objective: Objective, start: Losses, end: Losses, families: IntArray | None, *, origin: str, seed: int = 0
) -> Metrics:
    """The numbers of a pretraining and a verdict in words.

    Parameters
    ----------
    objective
        What was trained.
    start, end
        Of :func:`measure`, before and after, on the same batches.
    families : int array, optional
        ``[batches]``, where a batch is one person; None: no intervals.
    origin : str
        What the weights were at the start, in words.
    """
    if not objective.alone:  # a contrast between people
        return _contrast(start, end, origin)
    guesses = {name: values for name, values in end.items() if name != MODEL}
    result: Metrics = {
        "loss": float(end[MODEL].mean()),
        "loss_at_start": float(start[MODEL].mean()),
        "start": origin,
        "trivial": {name: float(values.mean()) for name, values in guesses.items()},
    }
    if not guesses:
        return result | {"verdict": "normalised targets: no predictor without a model to compare with"}
    best = min(guesses, key=lambda name: float(guesses[name].mean()))
    gain = guesses[best] - end[MODEL]
    result |= {"best_trivial": best, "gain_over_best_trivial": _mean(gain, families, seed)}
    result["gain_over_start"] = _mean(start[MODEL] - end[MODEL], families, seed)
    low = result["gain_over_best_trivial"].get("ci", [float(gain.mean())])[0]
    share = float(gain.mean() / guesses[best].mean())
    words = f"validation loss {result['loss']:.4g}, {best} without a model {result['trivial'][best]:.4g}"
    if low > 0:
        words += f": the reconstruction is better by {share:.1%}"
    elif gain.mean() > 0:
        words += f": better by {share:.1%}, which could be chance"
    else:
        words += f": the reconstruction does NOT beat it ({-share:.1%} worse); train longer or hide more"
    return result | {"verdict": f"{words} (at the start, with {origin}: {result['loss_at_start']:.4g})"}


def _contrast(start: Losses, end: Losses, origin: str) -> Metrics:
    result: Metrics = {
        "loss": float(end[MODEL].mean()),
        "loss_at_start": float(start[MODEL].mean()),
        "start": origin,
        "trivial": {"all clips alike": float(end["all clips alike"].mean())},
    }
    for name in ("partner_found", "partner_found_by_chance"):
        result[name] = float(end[name].mean())
    result["partner_found_at_start"] = float(start["partner_found"].mean())
    good = result["loss"] < result["trivial"]["all clips alike"] and result["loss"] < result["loss_at_start"]
    result["verdict"] = (
        f"a clip finds the other clip of its scan in {result['partner_found']:.1%} of the cases (chance "
        f"{result['partner_found_by_chance']:.1%}, {result['partner_found_at_start']:.1%} at the start with {origin}); "
        f"validation loss {result['loss']:.4g}, {result['trivial']['all clips alike']:.4g} for clips that all look "
        f"alike" + ("" if good else ": nothing was learned")
    )
    return result


def _mean(values: NDArray[np.float64], families: IntArray | None, seed: int) -> dict[str, Any]:
    if families is None:
        return {"value": float(values.mean())}
    bootstrap = FamilyBootstrap(families, seed=seed)
    mean, draws = bootstrap.means(bootstrap.sums(values[None]))
    return {"value": float(mean[0]), "ci": interval(draws[:, 0])}
