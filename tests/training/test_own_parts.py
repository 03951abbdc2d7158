"""Callbacks, loggers and strategies of Lightning by their class: typed by a user, and never taken from a file."""

from __future__ import annotations

import functools
import json
import pickle
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies import SingleDeviceStrategy

import genebrain
from genebrain import config, stored_settings
from genebrain.cli import main
from genebrain.common.types import UserError
from genebrain.training.own_parts import OwnPart

PLUGIN = """
from pathlib import Path
from pytorch_lightning.callbacks import Callback


class Told(Callback):
    def __init__(self, out, every=1):
        self.out, self.every = Path(out), every

    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch % self.every == 0:
            with self.out.open("a") as file:
                print(trainer.current_epoch, type(trainer.strategy).__name__, file=file)
"""
TEXTBOOK = {"alignment": genebrain.AlignmentSettings(start="random", train="full", score="cosine"), "progress": False}


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    shared, ids = rng.normal(size=(60, 3)), [f"p{i}" for i in range(60)]
    for name in ("genes", "brains"):
        frame = pd.DataFrame(shared + 0.3 * rng.normal(size=shared.shape), index=pd.Index(ids, name="participant_id"))
        frame.add_prefix("v").reset_index().to_parquet(f"{name}.parquet")
    return {"genes": Path("genes.parquet"), "brains": Path("brains.parquet")}


class Counted(Callback):
    made = 0

    def __init__(self) -> None:
        Counted.made += 1
        self.epochs = 0

    def on_train_epoch_end(self, trainer, module) -> None:
        self.epochs += 1


@pytest.mark.filterwarnings("ignore")
def test_parts_that_are_typed_are_used_and_the_run_keeps_their_text_only(tables, capsys):
    Path("own_told.py").write_text(PLUGIN)
    words = [
        "fit", "genes=genes.parquet", "brains=brains.parquet", "run=run", "alignment=textbook", "trainer.max_epochs=3",
        "trainer.callbacks=[{_target_: own_told.Told, out: told.txt, every: 2}]", "plugins=[own_told.py]",
        "trainer.loggers=[csv,{_target_: pytorch_lightning.loggers.CSVLogger, save_dir: mine}]",
        "trainer.strategy={_target_: pytorch_lightning.strategies.SingleDeviceStrategy, device: cpu}",
    ]  # fmt: skip
    assert main(words) == 0, capsys.readouterr().err
    assert Path("told.txt").read_text().splitlines() == ["0 SingleDeviceStrategy", "2 SingleDeviceStrategy"]
    assert list(Path("mine").rglob("metrics.csv"))
    kept = yaml.safe_load(Path("run/config.yaml").read_text())["experiment"]["trainer"]
    assert (kept["callbacks"], kept["loggers"], kept["strategy"]) == ([], ["csv"], "auto")
    known = json.loads(Path("run/settings.json").read_text())["trainer"]
    assert known["callbacks"] == ["own_told.Told(out='told.txt', every=2)"]
    assert main(["evaluate", "run=run", "comparisons=[textbook]", "n_bootstrap=20", "n_permutations=20"]) == 0
    assert len(Path("told.txt").read_text().splitlines()) == 2, "what the run trains later is not the user's fit"
    assert main([word for word in words if "callbacks" not in word]) == 2, "another experiment"
    assert 'trainer.callbacks: ["own_told.Told' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("callbacks=[{_target_: nowhere.Told}]", "nowhere.Told cannot be imported (No module named 'nowhere')"),
        ("callbacks=[{_target_: pathlib.Path}]", "no Callback of Lightning"),
        ("callbacks={_target_: pathlib.Path}", "no Callback of Lightning"),
        ("callbacks=[Told]", "use {_target_: my_module.MyClass"),
        ("loggers=[{_target_: pytorch_lightning.loggers.CSVLogger}]", "missing 1 required positional argument"),
        ("loggers=[cvs]", "use csv, tensorboard, wandb, {_target_"),
        ("strategy={_target_: collections.Counter}", "collections.Counter() is a Counter, no Strategy of Lightning"),
        ("strategy=dpp", "use one of auto, ddp"),
    ],
)
def test_what_cannot_be_made_is_told_before_any_work(tables, capsys, part, words):
    assert main(["fit", "genes=genes.parquet", "brains=brains.parquet", "run=run", f"trainer.{part}"]) == 2
    assert words in capsys.readouterr().err
    assert not Path("run/settings.json").exists()


@pytest.mark.parametrize(
    "named", ["[{_target_: os.system, command: echo}]", "['os.system(command=echo)']", "{_target_: os.system}"]
)
def test_a_file_names_no_part(tmp_path, named):
    experiment = {"_target_": "genebrain.TrainerSettings", "callbacks": yaml.safe_load(named)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": experiment}))
    with pytest.raises(UserError, match=r"not a settings class|a file names none"):
        stored_settings.load(tmp_path / "config.yaml")
    arms = {"a": {}, "b": {"trainer": {"callbacks": yaml.safe_load(named)}}}
    (tmp_path / "arms.yaml").write_text(yaml.safe_dump(arms))
    with pytest.raises(UserError, match=r"not a settings class|a file names none"):
        genebrain.ablate(
            None, {}, tmp_path / "run", genes=np.eye(40), brains=np.eye(40), arms=tmp_path / "arms.yaml", seeds=[0]
        )


@pytest.mark.filterwarnings("ignore")
def test_python_takes_objects_classes_and_partials(tables):
    Counted.made, mine = 0, Counted()
    trainer = genebrain.TrainerSettings(
        max_epochs=2, callbacks=(mine, Counted), loggers=(functools.partial(CSVLogger, "mine"),),
        strategy=SingleDeviceStrategy("cpu"),
    )  # fmt: skip
    assert trainer == pickle.loads(pickle.dumps(trainer))  # noqa: S301 - our own
    genebrain.fit(**tables, run="run", trainer=trainer, **TEXTBOOK)
    assert (mine.epochs, Counted.made) == (2, 1), "a class is made once for the one training"
    assert list(Path("mine").rglob("metrics.csv"))


def test_an_own_part_is_its_text():
    part = OwnPart.named("a.B", {"x": 1})
    assert part == "a.B(x=1)"
    assert deepcopy(part) is part
    composed = config.compose("fit", ["trainer.loggers={_target_: a.B, x: 1}", "trainer.callbacks=[{_target_: c.D}]"])
    trainer = config.build(composed)["trainer"]
    assert trainer.loggers == (part,)
    assert stored_settings.describe(trainer)["loggers"] == []
