"""The verb finetune: a table of labelled sequences in, a tuned model, predictions and metrics out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from genebrain.common.hashing import content_digest
from genebrain.common.types import Metrics, UserError
from genebrain.genetics.finetuning.settings import (
    HUB,
    TASKS,
    FoldSettings,
    HeadSettings,
    TableSettings,
    TokenSettings,
    TrainingSettings,
)
from genebrain.messages import first_rank
from genebrain.sides.genome import GeneSide
from genebrain.training.settings import Tuning


def finetune(
    input: Path | str,
    out: Path | str = "runs/finetune",
    task: Literal["classification", "multilabel", "regression", "causal_lm"] = "classification",
    tuning: Tuning = "lora",
    seed: int = 0,
    genetics: GeneSide | None = None,
    table: TableSettings | None = None,
    tokens: TokenSettings | None = None,
    folds: FoldSettings | None = None,
    head: HeadSettings | None = None,
    training: TrainingSettings | None = None,
    loss_parity: bool = False,
    merge: bool = False,
    predict: Path | str | None = None,
    n_bootstrap: int = 200,
    progress: bool = True,
) -> Metrics:
    """Fine-tune GENERator on a table and judge it on sequences it has not seen; a killed run goes on.

    Returns
    -------
    dict
        The content of ``metrics.json``.
    """
    from genebrain import stored_settings
    from genebrain.common.checksums import verify_run
    from genebrain.common.private_table import write_table
    from genebrain.common.run_folder import RunFolder, read_json, write_json
    from genebrain.genetics.finetuning.folds import judge, optimiser_for, parameter_line, run_folds, verdict
    from genebrain.genetics.finetuning.prepare import notes, prepare
    from genebrain.genetics.finetuning.recipe import BaseModel, Recipe

    if task not in TASKS:
        raise UserError(f"task={task}: use one of {', '.join(TASKS)}")
    chosen = genetics or GeneSide()
    table, tokens, folds = table or TableSettings(), tokens or TokenSettings(), folds or FoldSettings()
    head, training = head or HeadSettings(), training or TrainingSettings()
    if predict is not None and task == "causal_lm":
        raise UserError("predict=... asks for labels, and task=causal_lm has none; see generate and score-variants")
    if chosen.tuning != "frozen":
        raise UserError(f"genetics.tuning={chosen.tuning} belongs to fit; here say tuning={chosen.tuning}")
    gpu = training.on_gpu()
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if gpu else "cpu"
    base = BaseModel(**chosen.checkpoint, device=device)
    half = gpu and "fsdp" not in str(training.strategy).lower()  # which flattens parameters of one format only
    recipe = Recipe(task, tuning, chosen.lora, head, loss_parity, half)
    optimiser_for(task, tuning, training)
    data = prepare(input, table, tokens, folds, recipe, base, seed)
    folder = RunFolder(out)
    decides = {
        "task": task, "tuning": tuning, "table": table, "tokens": tokens, "folds": folds, "head": head,
        "model": chosen.model, "lora": chosen.lora if tuning == "lora" else None, "training": training,
        "loss_parity": loss_parity, "merge": merge,
    }  # fmt: skip
    input_identity = _fingerprint(data.batch.sequences, input)
    settings = {"input": input_identity, "base": base.fingerprint, "seed": seed, **stored_settings.describe(decides)}
    with folder.alone():
        folder.claim(settings)
        if folder.finished:
            verify_run(folder.path)
        if not folder.finished:
            if progress and first_rank():
                print("\n".join([*notes(data.report), parameter_line(base, recipe, data, training)]))
            with folder.stage("train"):
                results = run_folds(
                    data,
                    base,
                    recipe,
                    tokens,
                    training,
                    folder.path / "folds",
                    seed=seed,
                    merge=merge,
                    progress=progress,
                )
            metrics, predictions = judge(task, data, results, n_bootstrap=n_bootstrap, seed=seed)
            if not first_rank():
                return metrics
            write_table(predictions, folder.path / "predictions.tsv")
            write_json(folder.path / "metrics.json", metrics)
            stored_settings.save({"settings": settings}, folder.path / "config.yaml")
            folder.record({"tokens": data.report["tokens"]})
            folder.finish({"seed": seed, "base": base.fingerprint})
        metrics = dict(read_json(folder.path / "metrics.json"))
        if predict is not None and first_rank():
            _predict(predict, folder.path, len(data.folds), base, table, progress)
        if progress and first_rank():
            print(verdict(metrics))
            print(
                "metrics.json, predictions.tsv and the model of each fold (folds/fold-0/model, ...) are in "
                f"{folder.path}"
            )
        return metrics


def _predict(source: Path | str, run: Path, n_folds: int, base: object, table: TableSettings, progress: bool) -> None:
    """Predict other sequences with the mean of all folds' models; writes ``predicted.tsv``."""
    import pandas as pd
    import torch

    from genebrain.common.private_table import write_table
    from genebrain.genetics.finetuning.folds import prediction_columns
    from genebrain.genetics.finetuning.recipe import BaseModel
    from genebrain.genetics.finetuning.saved import load_finetuned
    from genebrain.genetics.finetuning.table import read_table
    from genebrain.genetics.sequences.files import repeated_ids, repeated_ids_line

    assert isinstance(base, BaseModel)
    batch, _ = read_table(source, table)
    models = [load_finetuned(run / "folds" / f"fold-{k}" / "model", base) for k in range(n_folds)]
    predicted = torch.stack([model.predict(batch.sequences) for model in models]).mean(0)
    columns = prediction_columns(models[0].task, models[0].names, predicted)
    write_table(pd.DataFrame({"row": batch.rows, "id": batch.ids, **columns}), run / "predicted.tsv")
    if progress:
        repeated = repeated_ids_line(repeated_ids(batch.ids, batch.rows))
        print(f"wrote {run / 'predicted.tsv'}: {len(batch):,} sequences", *filter(None, [repeated]), sep="\n")


def _fingerprint(sequences: list[str], source: Path | str) -> str:
    """Identity of the table: a changed one is another experiment."""
    if not str(source).startswith(HUB):
        return content_digest(Path(source))
    digest = hashlib.blake2b(digest_size=16)
    for text in sequences:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()
