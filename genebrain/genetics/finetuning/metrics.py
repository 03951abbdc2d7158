"""Metrics of fine-tuning, each beside its chance level and an interval.

Numbers that can be believed. Predictions and targets of held-out rows in, a JSON-ready table out. Chance is the same
metric for one constant prediction fitted on the training rows (class shares, label shares, mean, base composition);
intervals are percentiles over draws of whole groups of identical sequences. Definitions: torchmetrics.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional import mean_absolute_error, mean_squared_error, pearson_corrcoef, r2_score
from torchmetrics.functional.classification import (
    binary_average_precision,
    binary_precision_recall_curve,
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_f1_score,
    multiclass_matthews_corrcoef,
)

from genebrain.common.types import IntArray, Metrics
from genebrain.evaluation.intervals import rate_interval, summary

METRICS = {
    "classification": ("accuracy", "f1_weighted", "mcc", "auroc", "loss"),
    "multilabel": ("f1_max", "auprc", "loss"),
    "regression": ("mse", "mae", "r2", "pearson"),
    "causal_lm": ("nats_per_base", "bits_per_base", "nats_per_token"),
}
MONITORED = {"classification": "mcc", "multilabel": "f1_max", "regression": "mse", "causal_lm": "nats_per_base"}
SMALLER_IS_BETTER = ("loss", "mse", "mae", "nats_per_base", "bits_per_base", "nats_per_token")


def score(task: str, predicted: Tensor, target: Tensor) -> dict[str, float]:
    """All metrics of a task.

    Parameters
    ----------
    predicted : float32
        ``classification`` probabilities [rows, classes]; ``multilabel`` probabilities [rows, labels]; ``regression``
        values [rows, outputs]; ``causal_lm`` sums [rows, 2]: nats of bases (mean over the six positions) and nats of
        whole tokens.
    target : Tensor
        As encoded; ``causal_lm``: number of 6-mer targets [rows].
    """
    return _SCORES[task](predicted.double(), target)


def constant_prediction(task: str, train_target: Tensor, rows: int) -> Tensor:
    """What would be predicted without looking: class shares, label shares or means of the training rows."""
    if task == "classification":
        shares = torch.bincount(train_target).double()
        return (shares / shares.sum()).expand(rows, -1)
    return train_target.double().mean(0).expand(rows, -1)


def with_chance(
    task: str,
    predicted: Tensor,
    constant: Tensor,
    target: Tensor,
    groups: IntArray,
    *,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> Metrics:
    """``{metric: {"value", "ci": [low, high], "chance"}}`` of held-out rows.

    Parameters
    ----------
    predicted, constant : as :func:`score`
        The predictions, and those of the constant predictor (which may differ between folds).
    groups : int [rows]
        Rows of one number are drawn together.
    """
    value, chance = score(task, predicted, target), score(task, constant, target)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.unique(groups, return_counts=True)[1])[:-1])
    rng = np.random.default_rng([seed, 3])
    draws = []
    for _ in range(n_bootstrap):
        picked = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        draws.append(score(task, predicted[picked], target[picked]))
    table: Metrics = {
        name: {**summary(value[name], np.array([d[name] for d in draws])), "chance": chance[name]}
        for name in METRICS[task]
    }
    if "accuracy" in table:  # a share: percentiles have no width where everything, or nothing, is right
        shares = np.array([[d["accuracy"]] for d in draws])
        low, high = rate_interval(np.array([value["accuracy"]]), shares, len(target), len(members))
        table["accuracy"]["ci"] = [float(low[0]), float(high[0])]
    return table


def _classification(predicted: Tensor, target: Tensor) -> dict[str, float]:
    classes = predicted.shape[1]
    chosen = predicted.argmax(1)
    present = torch.bincount(target, minlength=classes)
    judged = (present > 0) & (present < len(target))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No (negative|positive) samples in targets")
        area = multiclass_auroc(predicted, target, classes, average=None)
    varied = bool((chosen != chosen[0]).any() and (target != target[0]).any())
    right = predicted.gather(1, target[:, None]).clamp(min=1e-12)
    return {
        "accuracy": float(multiclass_accuracy(chosen, target, classes, average="micro")),
        "f1_weighted": float(multiclass_f1_score(chosen, target, classes, average="weighted")),
        # Where everything is one class, torchmetrics puts a small number in place of 0 / 0; it is no correlation.
        "mcc": float(multiclass_matthews_corrcoef(chosen, target, classes)) if varied else 0.0,
        # Mean over the classes that can be judged here: those with rows inside and outside.
        "auroc": float(area[judged].mean()) if judged.any() else 0.5,
        "loss": float(-right.log().mean()),
    }


def _multilabel(predicted: Tensor, target: Tensor) -> dict[str, float]:
    flat, truth = predicted.flatten(), target.flatten().long()
    bounded = flat.clamp(1e-12, 1 - 1e-12)
    loss = float(-(truth * bounded.log() + (1 - truth) * (1 - bounded).log()).mean())
    if not truth.any():
        return {"f1_max": 0.0, "auprc": 0.0, "loss": loss}
    precision, recall, _ = binary_precision_recall_curve(flat, truth)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return {"f1_max": float(f1.max()), "auprc": float(binary_average_precision(flat, truth)), "loss": loss}


def _regression(predicted: Tensor, target: Tensor) -> dict[str, float]:
    target = target.double()
    columns = range(target.shape[1])
    varied = [i for i in columns if target[:, i].min() < target[:, i].max()]
    moving = [i for i in varied if predicted[:, i].min() < predicted[:, i].max()]
    return {
        "mse": float(mean_squared_error(predicted, target)),
        "mae": float(mean_absolute_error(predicted.contiguous(), target.contiguous())),
        "r2": float(np.mean([float(r2_score(predicted[:, i], target[:, i])) for i in varied])) if varied else 0.0,
        # A constant has no correlation; it counts as none.
        "pearson": float(np.sum([float(pearson_corrcoef(predicted[:, i], target[:, i])) for i in moving]))
        / max(1, len(varied)),
    }


def _language(sums: Tensor, targets: Tensor) -> dict[str, float]:
    total = targets.sum().clamp(min=1)
    base, token = float(sums[:, 0].sum() / total), float(sums[:, 1].sum() / total)
    return {"nats_per_base": base, "bits_per_base": base / float(np.log(2)), "nats_per_token": token}


_SCORES: dict[str, Callable[[Tensor, Tensor], dict[str, float]]] = {
    "classification": _classification,
    "multilabel": _multilabel,
    "regression": _regression,
    "causal_lm": _language,
}
