"""Fine-tuning learns what is there, nothing from shuffled labels, and gives the same numbers after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genebrain import tasks
from genebrain.common.types import UserError
from genebrain.genetics.finetuning.prepare import notes, prepare
from genebrain.genetics.finetuning.recipe import BaseModel, Recipe
from genebrain.genetics.finetuning.saved import load_finetuned
from genebrain.genetics.finetuning.settings import (
    FoldSettings,
    HeadSettings,
    TableSettings,
    TokenSettings,
    TrainingSettings,
)
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.language_model import load_language_model
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.sequences.files import repeated_ids
from genebrain.sides.genome import GeneSide
from genebrain.training.settings import LoraSettings
from tests.genetics.finetuning.finetuning_tables import motif_table, write

LORA = {"tuning": "lora", "genetics": GeneSide(lora=LoraSettings(dropout=0.1))}
SHORT = TrainingSettings(max_epochs=4, patience=4, learning_rate=5e-3, schedule="constant")
QUICK = {"n_bootstrap": 20, "progress": False}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write(motif_table(), tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def run(table, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "lora"
    tasks.finetune(table, out, training=SHORT, merge=True, **LORA, **QUICK)
    return out


def test_a_motif_is_learned_with_adapters(run):
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    assert metrics["accuracy"]["value"] > 0.9
    assert metrics["accuracy"]["ci"][0] > metrics["accuracy"]["chance"] + 0.1
    assert metrics["mcc"]["chance"] == 0
    assert metrics["auroc"]["chance"] == 0.5


@pytest.mark.parametrize(("tuning", "rate", "least"), [("full", 2e-3, 0.9), ("frozen", 2e-2, 0.6)])
def test_a_motif_is_learned_in_full_and_with_the_head_alone(table, tmp_path, tuning, rate, least):
    training = TrainingSettings(max_epochs=4, learning_rate=rate, schedule="constant")
    metrics = tasks.finetune(table, tmp_path / "out", tuning=tuning, training=training, **QUICK)
    assert metrics["metrics"]["auroc"]["value"] > least


def test_shuffled_labels_give_chance(tmp_path):
    path = write(motif_table(200, shuffled=True), tmp_path)
    metrics = tasks.finetune(path, tmp_path / "out", training=SHORT, folds=FoldSettings(test=0.5), **LORA, **QUICK)
    low, high = metrics["metrics"]["accuracy"]["ci"]
    assert low < 0.5 < high


def test_predictions_are_private_and_complete(run, table):
    predictions = pd.read_csv(run / "predictions.tsv", sep="\t")
    assert (run / "predictions.tsv").stat().st_mode & 0o777 == 0o600
    assert len(predictions) == json.loads((run / "metrics.json").read_text())["n_test"]
    whole = pd.read_csv(table, sep="\t")
    assert (whole.label[predictions.row - 1].to_numpy() == predictions.label).all()
    np.testing.assert_allclose(predictions.p_no + predictions.p_yes, 1, atol=1e-6)


def test_the_model_is_read_again_and_gives_its_predictions(run, table):
    predictions = pd.read_csv(run / "predictions.tsv", sep="\t")
    sequences = pd.read_csv(table, sep="\t").sequence[predictions.row - 1].tolist()
    model = load_finetuned(run / "folds" / "fold-0" / "model", BaseModel())
    assert model.names == ("no", "yes")
    found = model.predict(sequences, batch_size=5)
    np.testing.assert_allclose(found[:, 1], predictions.p_yes, atol=1e-5)


def test_other_sequences_are_predicted_by_the_same_command(run, table, tmp_path):
    other = write(motif_table(10, seed=5).drop(columns="label"), tmp_path)
    tasks.finetune(table, run, training=SHORT, merge=True, predict=other, **LORA, **QUICK)
    found = pd.read_csv(run / "predicted.tsv", sep="\t")
    assert (found.prediction == motif_table(10, seed=5).label).mean() >= 0.9


def test_merged_weights_are_a_checkpoint_that_equals_base_plus_adapters(run):
    folder = run / "folds" / "fold-0" / "model"
    merged = load_generator("merged", folder)
    model = load_finetuned(folder, BaseModel())
    ids = torch.tensor([[1, 40, 4000, 1]])
    with torch.no_grad():
        adapted = model.predictor.decoder(input_ids=ids).last_hidden_state
        torch.testing.assert_close(merged.model(input_ids=ids).last_hidden_state, adapted, atol=1e-5, rtol=1e-5)
        base = load_generator().model(input_ids=ids).last_hidden_state
    assert (base - adapted).abs().max() > 1e-3


def test_another_base_is_refused_with_both_fingerprints(run):
    with pytest.raises(UserError, match=f"{load_generator().fingerprint}.*{load_generator(seed=3).fingerprint}"):
        load_finetuned(run / "folds" / "fold-0" / "model", BaseModel(seed=3))


def test_other_settings_do_not_touch_a_finished_run(run, table):
    with pytest.raises(UserError, match="another experiment"):
        tasks.finetune(table, run, training=SHORT, merge=True, seed=1, **LORA, **QUICK)


def test_a_killed_run_ends_with_the_numbers_of_an_undisturbed_one(table, tmp_path, monkeypatch):
    folds = FoldSettings(folds=2)
    options = {"training": TrainingSettings(max_epochs=3, learning_rate=5e-3), "folds": folds, **LORA, **QUICK}
    whole = tasks.finetune(table, tmp_path / "whole", **options)
    from genebrain.training import steps as lightning_steps

    undisturbed = lightning_steps.History.on_train_epoch_end
    ends = []

    def stop(self, trainer, module):
        undisturbed(self, trainer, module)
        ends.append(trainer.current_epoch)
        if len(ends) in (2, 5):  # in the middle of either fold
            raise RuntimeError("killed")

    monkeypatch.setattr(lightning_steps.History, "on_train_epoch_end", stop)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            tasks.finetune(table, tmp_path / "killed", **options)
    monkeypatch.setattr(lightning_steps.History, "on_train_epoch_end", undisturbed)
    resumed = tasks.finetune(table, tmp_path / "killed", **options)
    assert resumed == whole
    for name in ("predictions.tsv", "folds/fold-1/model/adapters.safetensors", "folds/fold-0/model/head.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_regression_predicts_in_the_units_of_the_label(tmp_path):
    data = motif_table(150)
    data["level"] = 1000 + 50 * (data.label == "yes")
    path = write(data, tmp_path)
    metrics = tasks.finetune(
        path, tmp_path / "out", task="regression", table=TableSettings(label="level"), training=SHORT, **LORA, **QUICK
    )["metrics"]
    assert metrics["r2"]["value"] > 0.5
    assert metrics["mse"]["value"] < 0.5 * metrics["mse"]["chance"]
    assert metrics["mse"]["chance"] == pytest.approx(625, rel=0.2)


def test_several_labels_are_learned(tmp_path):
    data = motif_table(150)
    data["a"], data["b"] = (data.label == "yes").astype(int), (data.label == "no").astype(int)
    path = write(data, tmp_path)
    table = TableSettings(label=["a", "b"])
    metrics = tasks.finetune(path, tmp_path / "out", task="multilabel", table=table, training=SHORT, **LORA, **QUICK)
    assert metrics["metrics"]["auprc"]["value"] > metrics["metrics"]["auprc"]["chance"] + 0.2
    assert metrics["metrics"]["f1_max"]["chance"] == pytest.approx(2 / 3, abs=0.01)


def test_the_language_model_beats_the_composition_of_a_toy_corpus(tmp_path):
    rng = np.random.default_rng(0)
    words = ["ACGTAC", "TTGACA", "GGCCAA", "CATCAT"]
    lines = [f">s{i}\n{''.join(rng.choice(words, 12))}" for i in range(80)]
    path = tmp_path / "corpus.fa"
    path.write_text("\n".join(lines) + "\n")
    training = TrainingSettings(max_epochs=8, learning_rate=5e-3, schedule="cosine", warmup_steps=5)
    out = tmp_path / "lm"
    metrics = tasks.finetune(path, out, task="causal_lm", tuning="full", training=training, **QUICK)["metrics"]
    assert metrics["nats_per_base"]["value"] < metrics["nats_per_base"]["chance"] - 0.2
    history = json.loads((out / "folds/fold-0/result.json").read_text())["history"]
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    tuned = load_language_model("tuned", out / "folds/fold-0/model")
    assert not torch.equal(tuned.model.lm_head.weight, load_language_model().model.lm_head.weight)


def test_gradient_checkpointing_and_padding_side_change_no_number(table, tmp_path):
    from genebrain.genetics.finetuning.settings import TokenSettings

    training = TrainingSettings(max_epochs=1, learning_rate=1e-3)
    plain = tasks.finetune(table, tmp_path / "a", tuning="full", training=training, **QUICK)
    other = tasks.finetune(
        table, tmp_path / "b", tuning="full", training=training,
        genetics=GeneSide(model=ModelOptions(gradient_checkpointing=True)),
        tokens=TokenSettings(padding="left"), **QUICK,
    )  # fmt: skip
    assert other["metrics"]["loss"]["value"] == pytest.approx(plain["metrics"]["loss"]["value"], abs=1e-5)


def test_long_inputs_are_read_in_chunks(table, tmp_path):
    head = HeadSettings(pooling="chunks", chunk_tokens=4, max_chunks=3)
    metrics = tasks.finetune(table, tmp_path / "out", head=head, training=SHORT, **LORA, **QUICK)
    assert metrics["data"]["truncated"] == 0
    assert metrics["metrics"]["auroc"]["value"] > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "clasification"}, "use one of classification"),
        ({"task": "causal_lm", "tuning": "frozen"}, "nothing to train"),
        ({"task": "causal_lm", "predict": "other.tsv"}, "asks for labels"),
        ({"training": TrainingSettings(monitor="r2")}, r"monitor=r2.*mcc"),
        ({"training": TrainingSettings(strategy="fsdp")}, "needs GPUs"),
        ({"training": TrainingSettings(precision="16-mixed")}, "needs a GPU"),
        ({"training": TrainingSettings(accelerator="gpu")}, "no CUDA GPU"),
        ({"genetics": GeneSide(model=ModelOptions(attention="flash_attention_2"))}, "NVIDIA"),
        ({"table": TableSettings(label="species")}, "the table has label, starts"),
        ({"folds": FoldSettings(folds=61)}, r"no \(60\), yes \(60\)"),
        ({"genetics": GeneSide(path="/nowhere")}, "config.json"),
        ({"genetics": GeneSide(lora=LoraSettings(targets=("q_porj",)))}, "nearest: q_proj"),
        ({"genetics": GeneSide(tuning="full")}, "say tuning=full"),
        ({"table": TableSettings(group="gene")}, "no group column gene"),
    ],
)
def test_what_cannot_be_is_said_before_training(table, tmp_path, options, message):
    if torch.cuda.is_available() and "GPU" in message:
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=message):
        tasks.finetune(table, tmp_path / "out", **options, **QUICK)
    assert not list(tmp_path.glob("out/**/*.ckpt"))


@pytest.mark.parametrize("what", ["group", "split"])
def test_rows_without_a_group_or_a_split_are_told(tmp_path, what):
    data = motif_table(20).assign(mine="train")
    data.loc[[2, 4], "mine"] = None
    path = write(data, tmp_path)
    with pytest.raises(UserError, match=f"2 of {len(data)} rows have an empty {what} column mine: row 3, 5"):
        tasks.finetune(path, tmp_path / "out", table=TableSettings(**{what: "mine"}), **QUICK)


def test_rows_that_are_left_out_and_ids_that_stand_twice_are_told():
    hygiene = {"too_short": 0, "only_unknown": 2}
    report = {
        "hygiene": hygiene, "left_out_without_label": 3, "left_out_as_leaks": 0, "truncated": 0,
        "rows_with_conflicting_labels": 0, "repeated_ids": repeated_ids(["a", "b", "a"], [1, 2, 7]),
    }  # fmt: skip
    assert notes(report) == [
        "left out: 3 rows without a label",
        "left out: 2 rows of N alone",
        "warning: 1 ids name several sequences (2 sequences: rows 1, 7); all are kept, and only the column row tells "
        "them apart",
    ]


def test_unlabelled_rows_are_left_out_when_asked_and_counted(tmp_path):
    table = motif_table(30)
    table.loc[[3, 7], "label"] = ["NA", "nan"]
    prepared = prepare(
        write(table, tmp_path), TableSettings(unlabelled="skip"), TokenSettings(), FoldSettings(),
        Recipe("classification", "frozen", LoraSettings(), HeadSettings()), BaseModel("generator_tiny"), 0,
    )  # fmt: skip
    assert prepared.report["left_out_without_label"] == 2
    assert 4 not in prepared.batch.rows
    assert prepared.labels.names == ("no", "yes")


def test_short_and_empty_sequences_are_told_together(tmp_path):
    data = motif_table(20)
    data.loc[3, "sequence"], data.loc[5, "sequence"] = "ACG", "NNNNNNN"
    path = write(data, tmp_path)
    with pytest.raises(UserError, match=r"(?s)shorter than 6 letters: row 4.*of N alone: row 6"):
        tasks.finetune(path, tmp_path / "out", **QUICK)


@pytest.mark.slow
def test_two_processes_give_the_loss_of_one(table, tmp_path):
    command = [
        sys.executable, "-m", "genebrain", "finetune", f"input={table}", "training.max_epochs=2", "tuning=full",
        "training.learning_rate=1e-3", "training.accelerator=cpu", "n_bootstrap=20",
    ]  # fmt: skip
    results = []
    for devices in (1, 2):
        strategy = ["training.strategy=ddp", "training.devices=2"] if devices == 2 else []
        out = tmp_path / str(devices)
        subprocess.run([*command, f"out={out}", *strategy], check=True, timeout=300)
        results.append(json.loads((out / "metrics.json").read_text())["metrics"])
    for name, one in results[0].items():
        assert results[1][name]["value"] == pytest.approx(one["value"], abs=1e-4), name
