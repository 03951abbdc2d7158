"""The real wandb package, offline: what is logged, and that nobody and no place is named in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genebrain
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.training.wandb_log import told_settings

pytest.importorskip("wandb")


def people(n: int) -> dict:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(n, 4))
    ids = [f"zebra{i:03d}" for i in range(n)]
    brain = shared @ rng.normal(size=(4, 12)) + 0.4 * rng.normal(size=(n, 12))
    return {
        "genes": pd.DataFrame(np.c_[shared, rng.normal(size=(n, 2))], index=ids).add_prefix("g"),
        "brains": pd.DataFrame(brain, index=ids).add_prefix("b"),
        "participants": pd.DataFrame({"age": rng.uniform(20, 70, n)}, index=ids),
    }


BLOCK = 32_768


def records(file: Path) -> list:
    """What a file of an offline run holds: protocol buffers in the log format of LevelDB behind 7 bytes of header."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # ends wandb's own process and waits for it: until then the file may be half written
    content, place, whole, found = file.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:  # a rest too short for a header is padding
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("secret-place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        return genebrain.fit(
            **people(90), run=folder / "first", progress=False,
            alignment=AlignmentSettings(start="random", train="full", score="cosine"),
            trainer=TrainerSettings(max_epochs=2, loggers=("csv", "wandb")),
        )  # fmt: skip


def test_curves_name_and_settings_are_logged(run):
    files = sorted(run.rglob("*.wandb"))
    assert len(files) == 1
    names, logged = [], set()
    for file in files:
        for record in records(file):
            if record.WhichOneof("record_type") == "run":
                names.append((record.run.display_name, record.run.run_group, record.run.project))
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                if config.get("seed") is not None:
                    assert config["trainer.max_epochs"] == 2
                    assert config["alignment.score"] == "cosine"
            if record.WhichOneof("record_type") == "history":
                logged |= {item.key or "/".join(item.nested_key) for item in record.history.item}
    assert set(names) == {("first training", "first", "genebrain")}
    assert {"train_loss", "validation_recall", "epoch"} <= logged


def test_nobody_and_no_place_is_named(run):
    import getpass
    import socket

    everything = b"".join(file.read_bytes() for file in run.rglob("*.wandb"))
    everything += b"".join(file.read_bytes() for file in run.rglob("wandb/offline-run-*/files/*") if file.is_file())
    assert len(everything) > 500
    assert b"zebra" not in everything
    assert b"participants" not in everything
    assert b"secret-place" not in everything
    for hidden in (socket.gethostname(), getpass.getuser()):
        assert len(hidden) < 5 or hidden.encode() not in everything, hidden
    assert not list(run.rglob("wandb/offline-run-*/files/output.log"))
    assert not list(run.rglob("wandb/offline-run-*/files/wandb-metadata.json"))


def test_settings_are_told_without_paths(run, tmp_path):
    (tmp_path / "settings.json").write_text(
        json.dumps({"genetics": {"name": "x", "path": "/data/a", "other": "b/c"}, "seed": 1})
    )
    assert told_settings(tmp_path) == {"genetics.name": "x", "seed": 1}


def test_the_run_is_judged_as_any_other(run):
    metrics = genebrain.evaluate(run, n_bootstrap=40, n_permutations=40, comparisons=(), progress=False)
    assert 0 <= metrics["retrieval"]["mean"]["recall@1"]["value"] <= 1


def test_a_judgement_logs_its_numbers_and_figures_beside_the_training(run, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = shutil.copytree(run, tmp_path / "secret-place" / run.name)
    before = set(run.rglob("*.wandb"))
    metrics = genebrain.evaluate(run, n_bootstrap=40, n_permutations=60, comparisons=(), progress=False)
    (file,) = set(run.rglob("*.wandb")) - before
    summary, names, pictures = {}, set(), set()
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            names.add((record.run.display_name, record.run.run_group, record.run.job_type))
        if kind == "summary":
            summary |= {item.key or "/".join(item.nested_key): item.value_json for item in record.summary.update}
        if kind == "history":
            pictures |= {(item.key or item.nested_key[0]).split("/")[0] for item in record.history.item}
    assert names == {("first test", "first", "evaluate")}
    assert json.loads(summary["retrieval.mean.recall@1.value"]) == metrics["retrieval"]["mean"]["recall@1"]["value"]
    assert json.loads(summary["permutation.p_free"]) == metrics["permutation"]["p_free"]
    assert {path.stem for path in (run / "figures").glob("*.png")} <= pictures
    test_nobody_and_no_place_is_named(run)
    genebrain.export(run, run.parent / "out")  # the run is whole
    monkeypatch.setenv("WANDB_MODE", "disabled")
    genebrain.evaluate(run, n_bootstrap=40, n_permutations=70, comparisons=(), progress=False)
    assert set(run.rglob("*.wandb")) == before | {file}
