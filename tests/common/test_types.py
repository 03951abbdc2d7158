"""What a file says is compared with what its settings class announces: truth values are no numbers."""

from __future__ import annotations

from typing import Any

import pytest

from genebrain import stored_settings
from genebrain.alignment.settings import ProjectorSettings
from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.swift.config import SwiFTConfig
from genebrain.common.types import UserError, built, number, whole, wrong_types
from genebrain.config import compose
from genebrain.training.settings import LoraSettings

WRONG: list[tuple[type, dict[str, Any], str]] = [
    (ProjectorSettings, {"hidden": True}, "hidden=true: a whole number is wanted"),
    (ProjectorSettings, {"dropout": True}, "dropout=true: a number is wanted"),
    (ProjectorSettings, {"dropout": float("nan")}, "dropout=nan: a number is wanted"),
    (ProjectorSettings, {"dropout": "0.1"}, 'dropout="0.1": a number is wanted'),
    (ProjectorSettings, {"hidden": 8.0}, "hidden=8.0: a whole number is wanted"),
    (ProjectorSettings, {"kind": False}, "kind=false: text is wanted"),
    (LoraSettings, {"rank": True}, "rank=true: a whole number is wanted"),
    (LoraSettings, {"targets": "q_proj"}, 'targets="q_proj": a list is wanted'),
    (LoraSettings, {"targets": [1, 2]}, r"targets=\[1, 2\]: a list is wanted"),
    (SwiFTConfig, {"depths": [True, 2]}, r"depths=\[True, 2\]: a list is wanted"),
    (SwiFTConfig, {"last_layer_full_MSA": 1}, "last_layer_full_MSA=1: true or false is wanted"),
    (BrainMTConfig, {"num_frames": True}, "num_frames=true: a whole number is wanted"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "words"), WRONG)
def test_a_value_of_another_type_is_refused_with_its_name(kind, values, words):
    with pytest.raises(ValueError, match=words):
        built(kind, values)


def test_right_values_pass():
    values = {"hidden": 8, "dropout": 0, "kind": "linear"}
    assert built(ProjectorSettings, values).hidden == 8
    assert not wrong_types(LoraSettings, {"targets": ["q_proj"], "rank": 2})
    assert whole(3)
    assert not whole(True)
    assert number(2)
    assert not number(True)
    assert not number(float("nan"))


@pytest.mark.parametrize("key", ["chunk_bp", "weights_seed", "missing_threshold"])
def test_settings_of_a_run_folder_are_compared(key, tmp_path):
    (tmp_path / "config.yaml").write_text(f"side:\n  _target_: genebrain.GeneSide\n  {key}: true\n")
    with pytest.raises(UserError, match=rf"config.yaml: {key}=true: a (whole )?number is wanted"):
        stored_settings.load(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("evaluate", ["run=r", "gallery_size=true"]),
        ("fit", ["split.folds=true"]),
        ("fit", ["split.train_share=true"]),
        ("ablate", ["seeds=[true]"]),
        ("ablate", ["gallery_size=2.5"]),
    ],
)
def test_options_of_a_verb_are_compared(verb, words):
    with pytest.raises(UserError, match="is wanted"):
        compose(verb, words)
