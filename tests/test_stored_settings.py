"""Settings files of others build settings and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

import genebrain
from genebrain import stored_settings
from genebrain.common.types import UserError

SETTINGS = sorted(
    name
    for name in genebrain.__all__
    if dataclasses.is_dataclass(kind := getattr(genebrain, name)) and kind.__dataclass_params__.frozen
)


def test_every_public_name_exists_and_is_listed():
    assert len(genebrain.__all__) > 80
    for name in genebrain.__all__:
        assert getattr(genebrain, name) is not None
        assert name in dir(genebrain)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_need_no_argument_come_back_as_they_were(name, tmp_path):
    kind = getattr(genebrain, name)
    if any(f.default is f.default_factory is dataclasses.MISSING for f in dataclasses.fields(kind)):
        pytest.skip("needs an argument")
    stored_settings.save({"node": kind()}, tmp_path / "config.yaml")
    assert stored_settings.load(tmp_path / "config.yaml") == {"node": kind()}


OLD = """
store: store
experiment:
  _target_: genebrain.cohort.fitting.Experiment
  genetics: {_target_: genebrain.cohort.gene_side.GeneSide, chunk_bp: 3000,
    model: {_target_: genebrain.genetics.model_options.ModelOptions},
    lora: {_target_: genebrain.adapters.LoraSettings}}
  brain: {_target_: genebrain.cohort.brain_side.ConnectomeSide, kind: lag0}
  pooling: {_target_: genebrain.cohort.gene_pooling.GenePooling}
  alignment: {_target_: genebrain.alignment.settings.AlignmentSettings, train: none}
  trainer: {_target_: genebrain.alignment.training.TrainerSettings, learning_rate: 1e-5}
  split: {_target_: genebrain.cohort.split_settings.SplitSettings}
  seed: 3
"""


def test_a_run_that_names_classes_by_their_old_places_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text(OLD)
    experiment = stored_settings.load(tmp_path / "config.yaml")["experiment"]
    assert isinstance(experiment, genebrain.Experiment)
    assert experiment.genetics == genebrain.GeneSide(chunk_bp=3000, columns="embeddings", rare_below=0)
    assert experiment.trainer.learning_rate == 1e-5


HOSTILE = {
    "a shell command": {"_target_": "torch.utils.collect_env.run", "command": "touch PWNED"},
    "a pickle": {"_target_": "torch.load", "f": "x.pt", "weights_only": False},
    "a file written": {"_target_": "pathlib.Path.write_text", "_args_": [{"_target_": "pathlib.Path"}, "x"]},
    "the system": {"_target_": "os.system", "command": "touch PWNED"},
    "a function of the package": {"_target_": "genebrain.simulate", "out": "PWNED"},
    "a verb by its path": {"_target_": "genebrain.tasks.alignment.simulate", "out": "PWNED"},
    "a module of the package": {"_target_": "genebrain.common.files.write_private", "path": "PWNED", "content": "x"},
    "a class that is no settings": {"_target_": "genebrain.ScanStore", "folder": "/"},
    "an unknown name": {"_target_": "genebrain.NoSuchSettings"},
    "a look-alike package": {"_target_": "genebrain_evil.GeneSide"},
    "a dunder": {"_target_": "genebrain.__class__"},
    "positional arguments": {"_target_": "genebrain.GeneSide", "_args_": ["x"]},
    "a partial": {"_target_": "genebrain.GeneSide", "_partial_": True},
    "no name": {"_target_": ["os.system"]},
    "an unknown option": {"_target_": "genebrain.GeneSide", "chunk": 5},
    "a value of another kind": {"_target_": "genebrain.GeneSide", "chunk_bp": {"a": 1}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_can_choose_no_code(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"cohort": [{"deep": HOSTILE[kind]}]}))
    with pytest.raises(UserError, match=r"config\.yaml"):
        stored_settings.load(tmp_path / "config.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
BROKEN = {
    "an alias bomb": LAUGHS.encode(),
    "a tag": b"a: !!python/object/apply:os.system [touch PWNED]\n",
    "another encoding": b"a: \xff\xfe\n",
    "half a line": b"a: {b: [1, 2\n",
    "a list": b"- 1\n",
    "nothing": b"",
    "too much": b"a: 1\n" * 300_000,
    "too deep": b"a: " + b"[" * 3000 + b"]" * 3000,
    "a null byte": b"a: \x00\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_in_one_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_bytes(BROKEN[kind])
    with pytest.raises(UserError, match=r"config\.yaml"):
        stored_settings.load(tmp_path / "config.yaml")
    assert not (tmp_path / "PWNED").exists()


def test_words_stay_words_and_interpolations_stay_text(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "leaked")
    (tmp_path / "config.yaml").write_text("a: ${oc.env:SECRET}\nb: 2026-11-29\nc: 1e-5\nd: 1e5x\n")
    assert stored_settings.load(tmp_path / "config.yaml") == {
        "a": "${oc.env:SECRET}", "b": "2026-11-29", "c": 1e-5, "d": "1e5x",
    }  # fmt: skip
