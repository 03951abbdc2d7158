"""What is known of a simulated cohort is believed only as it was written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import UserError
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.known_answer import FILE, TRUTH, read_known_answer, read_truth

SMALL = {"n_windows": 2, "window_bp": 3000, "n_frames": 40, "n_parcels": 10, "n_genomewide": 50, "n_contigs": 1}


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("a") / "A", n_subjects=30, seed=3, k=2, n_active=4, **SMALL).parent


@pytest.fixture
def copy(first, tmp_path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "A"))


def leaves(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(node, dict):
        return [path]
    return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]


def change(folder: Path, path: tuple[str, ...], value: Any, *, sealed: bool = True) -> None:
    content = json.loads((folder / FILE).read_text())
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    if not sealed:  # as versions before wrote it
        content.pop("checksum")
        content.pop("truth_checksum")
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n")


def test_every_changed_value_is_found(copy):
    whole = (copy / FILE).read_text()
    found = leaves(json.loads(whole))
    assert len(found) > 60
    for path in found:
        change(copy, path, 0.123)
        with pytest.raises(UserError, match=r"known_answer\.json.*did not stay as it was written"):
            read_known_answer(copy / FILE)
        (copy / FILE).write_text(whole)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_windows", "2"), ("seed", True), ("window_bp", None), ("tr", "x"), ("model", []), ("n_subjects", 30.5),
     ("genomes", 3), ("awkward", 1), ("like", 3), ("second", [])],
)  # fmt: skip
def test_wrong_settings_of_an_older_cohort_are_named(copy, tmp_path, name, value):
    change(copy, ("settings", name), value, sealed=False)
    with pytest.raises(UserError, match=rf"known_answer\.json is damaged \({name}="):
        simulate_cohort(tmp_path / "B", n_subjects=30, seed=9, like=copy)


@pytest.mark.parametrize(("name", "value"), [("k", True), ("k", 0), ("r2", 1.5), ("r2", "x"), ("r2", None)])
def test_wrong_facts_of_an_older_cohort_are_named(copy, name, value):
    change(copy, (name,), value, sealed=False)
    with pytest.raises(UserError, match=rf"known_answer\.json is not the known answer .*{name}="):
        read_truth(copy / FILE)


def test_an_older_cohort_is_read(copy):
    change(copy, ("oracle",), "words", sealed=False)
    assert read_truth(copy / FILE)["g"].shape == (30, 2)


def _lost(arrays: dict[str, Any]) -> None:
    arrays.pop("u")


def _cut(arrays: dict[str, Any]) -> None:
    arrays["g"] = arrays["g"][:-1]


def _blank(arrays: dict[str, Any]) -> None:
    arrays["z"] = np.full_like(arrays["z"], np.nan)


def _other(arrays: dict[str, Any]) -> None:
    arrays["u"] = arrays["u"] + 0.01


@pytest.mark.parametrize(
    ("sealed", "damage"),
    [(True, _lost), (True, _cut), (True, _blank), (True, _other), (False, _lost), (False, _cut), (False, _blank)],
)
def test_a_changed_truth_is_found(copy, sealed, damage):
    arrays = read_arrays(copy / TRUTH)
    damage(arrays)
    write_tensors(copy / TRUTH, arrays, private=False)
    change(copy, ("oracle",), json.loads((copy / FILE).read_text())["oracle"], sealed=sealed)
    with pytest.raises(UserError, match=r"truth\.safetensors did not stay as it was written"):
        simulate_cohort(copy.parent / "B", n_subjects=30, seed=9, like=copy)


def test_a_flipped_bit_of_the_truth_is_found(copy):
    content = bytearray((copy / TRUTH).read_bytes())
    content[-1] ^= 1
    (copy / TRUTH).write_bytes(content)
    with pytest.raises(UserError, match="did not stay as it was written"):
        read_truth(copy / FILE)
