"""Train and judge all folds of a fine-tuning run, each in its own folder, so that a killed run goes on.

A fold is finished when ``result.json`` is there, written last; its predictions are individual-level data with a
private mode; the model is written out of the best checkpoint and the checkpoints are then removed. Only the first
rank writes.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor
from tqdm import tqdm

from genebrain.common.files import make_private, write_private
from genebrain.common.reading import contents_of, read_record
from genebrain.common.tensor_files import read_tensors, write_tensors
from genebrain.common.types import Metrics
from genebrain.common.words import no_bar
from genebrain.genetics.finetuning.batches import FinetuningData, TokenDataset, evaluation_batches
from genebrain.genetics.finetuning.language import base_counts, composition_prediction
from genebrain.genetics.finetuning.metrics import (
    METRICS,
    MONITORED,
    SMALLER_IS_BETTER,
    constant_prediction,
    score,
    with_chance,
)
from genebrain.genetics.finetuning.module import OptimiserSettings, known_metric
from genebrain.genetics.finetuning.predictor import SequencePredictor
from genebrain.genetics.finetuning.prepare import FinetuningSet
from genebrain.genetics.finetuning.recipe import BaseModel, EmptyModel, Recipe, make_module
from genebrain.genetics.finetuning.saved import save_finetuned
from genebrain.genetics.finetuning.settings import TokenSettings, TrainingSettings
from genebrain.genetics.finetuning.train import train_fold, trained_weights
from genebrain.training.adapters import count_parameters

log = logging.getLogger(__name__)

RESULT, PREDICTIONS, VECTORS = "result.json", "predictions.safetensors", "vectors.safetensors"


@dataclass(frozen=True)
class FoldResult:
    """A judged fold: test rows int64 [rows], predictions float32 [rows, columns], and what training said."""

    rows: Tensor
    predicted: Tensor
    about: dict[str, Any]


def optimiser_for(task: str, tuning: str, training: TrainingSettings) -> OptimiserSettings:
    """Optimiser of a task, its monitored metric checked."""
    monitor = training.monitor or MONITORED[task]
    known_metric(task, monitor)
    return OptimiserSettings(
        training.rate(tuning), training.weight_decay, training.schedule, training.warmup_steps, monitor,
        monitor in SMALLER_IS_BETTER,
    )  # fmt: skip


def run_folds(
    data: FinetuningSet, base: BaseModel, recipe: Recipe, tokens: TokenSettings, training: TrainingSettings,
    folder: Path, *, seed: int, merge: bool = False, progress: bool = True,
) -> list[FoldResult]:  # fmt: skip
    """Train every fold that is not finished; returns all of them.

    The model of fold k lies in ``folder/fold-k/model``.
    """
    optimiser = optimiser_for(recipe.task, recipe.tuning, training)
    make_private(folder)
    vectors = None
    if recipe.tuning == "frozen":
        vectors = _frozen_vectors(data, base, recipe, tokens, training, folder / VECTORS, progress)
    dataset = TokenDataset(data.rows, tokens, data.labels.values, vectors)
    results = []
    for number, fold in enumerate(data.folds):
        place = folder / f"fold-{number}"
        make_private(place)
        if not (place / RESULT).is_file():
            if progress and rank_zero_only.rank == 0 and len(data.folds) > 1:
                log.info(f"fold {number + 1} of {len(data.folds)}")
            outputs = 2 if recipe.task == "causal_lm" else len(data.labels.names)
            build = partial(
                make_module, base, recipe, data.labels.values, outputs, fold.train, optimiser, seed
            )  # fmt: skip
            batches = FinetuningData(dataset, fold, training.batch_size, seed)
            trained = train_fold(build, batches, place, training, seed=seed, progress=progress)
            rows = torch.as_tensor(fold.test)
            found = torch.stack([trained.predictions[int(i)] for i in fold.test])
            about = {"best_epoch": trained.best_epoch, "history": trained.history}
            if rank_zero_only.rank == 0:
                _finish_fold(place, rows, found, about, data, base, recipe, tokens, merge=merge)
            results.append(FoldResult(rows, found, about))
            continue
        advice = f"delete {place} and run the same command again"
        stored, about = read_tensors(place / PREDICTIONS), read_record(place / RESULT, advice)
        with contents_of(place / PREDICTIONS, advice):
            results.append(FoldResult(stored["rows"], stored["predicted"], about))
    return results


def parameter_line(base: BaseModel, recipe: Recipe, data: FinetuningSet, training: TrainingSettings) -> str:
    """How many parameters are trained, in words; no weights are read for it."""
    empty = EmptyModel(**vars(base))
    outputs = 2 if recipe.task == "causal_lm" else len(data.labels.names)
    optimiser = optimiser_for(recipe.task, recipe.tuning, training)
    return str(
        count_parameters(make_module(empty, recipe, data.labels.values, outputs, data.folds[0].train, optimiser, 0))
    )  # fmt: skip


def judge(
    task: str, data: FinetuningSet, results: list[FoldResult], *, n_bootstrap: int, seed: int
) -> tuple[Metrics, pd.DataFrame]:
    """Metrics of all test rows with chance and intervals, each fold's values, and the table of predictions."""
    rows = torch.cat([r.rows for r in results])
    predicted = torch.cat([r.predicted for r in results])
    target = data.labels.values
    constant = torch.cat([
        _constant(task, data, fold.train, r.rows) for fold, r in zip(data.folds, results, strict=True)
    ])  # fmt: skip
    metrics: Metrics = {
        "task": task,
        "n_test": len(rows),
        "metrics": with_chance(
            task, predicted, constant, target[rows], data.groups[rows.numpy()], n_bootstrap=n_bootstrap, seed=seed
        ),
        "folds": [
            {"best_epoch": r.about["best_epoch"], **score(task, r.predicted, target[r.rows])} for r in results
        ],
        "data": data.report,
    }  # fmt: skip
    return metrics, _table(task, data, results)


def verdict(metrics: Metrics) -> str:
    """The monitored metrics in words, each beside chance."""
    lines = [f"{metrics['n_test']:,} test sequences"]
    for name in METRICS[metrics["task"]]:
        m = metrics["metrics"][name]
        lines.append(f"  {name:<14} {m['value']:.4f}  [{m['ci'][0]:.4f}, {m['ci'][1]:.4f}]  chance {m['chance']:.4f}")
    return "\n".join(lines)


def _constant(task: str, data: FinetuningSet, train: Any, test: Tensor) -> Tensor:
    if task == "causal_lm":
        train_counts = base_counts([data.rows[i] for i in train])
        return composition_prediction(base_counts([data.rows[int(i)] for i in test]), train_counts)
    classes = len(data.labels.names)
    if task == "classification":
        shares = constant_prediction(task, data.labels.values[torch.as_tensor(train)], len(test))
        return torch.nn.functional.pad(shares, (0, classes - shares.shape[1]))
    return constant_prediction(task, data.labels.values[torch.as_tensor(train)], len(test))


def _table(task: str, data: FinetuningSet, results: list[FoldResult]) -> pd.DataFrame:
    parts = []
    for number, result in enumerate(results):
        rows = result.rows.numpy()
        part = pd.DataFrame({"row": np.asarray(data.batch.rows)[rows], "id": np.asarray(data.batch.ids)[rows]})
        part["fold"] = number
        columns = prediction_columns(task, data.labels.names, result.predicted)
        if task == "classification":
            part["label"] = [data.labels.names[i] for i in data.labels.values[result.rows]]
        elif task == "causal_lm":
            part["six_mers"] = data.labels.values[result.rows].numpy()
            columns = {
                name: result.predicted[:, i].numpy() / part["six_mers"].clip(lower=1)
                for i, name in enumerate(("nats_per_base", "nats_per_token"))
            }
        else:
            for i, name in enumerate(data.labels.names):
                part[f"label_{name}"] = data.labels.values[result.rows, i].numpy()
        parts.append(part.assign(**columns))
    return pd.concat(parts, ignore_index=True).sort_values("row", kind="stable").reset_index(drop=True)


def prediction_columns(task: str, names: tuple[str, ...], predicted: Tensor) -> dict[str, Any]:
    """Predictions as columns of a table: the class and its probabilities, or one column per output."""
    if task == "causal_lm":
        return {}
    kind = "predicted" if task == "regression" else "p"
    columns: dict[str, Any] = {f"{kind}_{name}": predicted[:, i].numpy() for i, name in enumerate(names)}
    if task == "classification":
        columns = {"prediction": [names[i] for i in predicted.argmax(1)], **columns}
    return columns


def _finish_fold(
    place: Path, rows: Tensor, predicted: Tensor, about: dict[str, Any], data: FinetuningSet, base: BaseModel,
    recipe: Recipe, tokens: TokenSettings, *, merge: bool,
) -> None:  # fmt: skip
    weights = trained_weights(place / "best.ckpt")
    save_finetuned(place / "model", weights, base, recipe, data.labels.names, tokens, data.max_tokens, merge=merge)
    write_tensors(place / PREDICTIONS, {"rows": rows, "predicted": predicted})
    write_private(place / RESULT, json.dumps(about, indent=1).encode())
    for checkpoint in place.glob("*.ckpt"):
        if checkpoint.is_file():
            checkpoint.unlink()


def _frozen_vectors(
    data: FinetuningSet, base: BaseModel, recipe: Recipe, tokens: TokenSettings, training: TrainingSettings,
    path: Path, progress: bool,
) -> Tensor:  # fmt: skip
    """A frozen decoder reads every sequence once; the head then trains on its vectors."""
    if path.is_file():
        return read_tensors(path)["vectors"]
    device = torch.device("cuda" if training.on_gpu() else "cpu")
    predictor = SequencePredictor(base.backbone(recipe.dtype), recipe.head, 1).to(device).eval()
    dataset = TokenDataset(data.rows, tokens, None)
    vectors = torch.zeros(len(dataset), recipe.head.width(base.source().config.hidden_size))
    batches = evaluation_batches(np.arange(len(dataset)), dataset.lengths, training.batch_size)
    with torch.inference_mode(), tqdm(total=len(dataset), desc="encoding", unit="seq", disable=no_bar(progress)) as bar:
        for numbers in batches:
            batch = dataset[numbers]
            vectors[numbers] = predictor.vectors(batch["ids"].to(device), batch["mask"].to(device)).cpu()
            bar.update(len(numbers))
    if rank_zero_only.rank == 0:
        write_tensors(path, {"vectors": vectors})
    return vectors
