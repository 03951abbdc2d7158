"""A stored closed form is restored whole or refused: its arrays belong together, and to its settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genebrain.alignment.closed_form.column_sets import ColumnSet, GeneBlocks
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import fit_closed_form
from genebrain.alignment.model import AlignmentModel
from genebrain.alignment.settings import AlignmentSettings
from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    vectors, dosages = [rng.normal(size=(60, 5)) for _ in range(2)], [rng.binomial(2, 0.4, (60, 4)) for _ in range(2)]
    sets = (
        ColumnSet("v", "vectors", "embeddings", ColumnSettings()),
        ColumnSet("d", "dosages", "dosages", ColumnSettings("dosages")),
    )
    blocks = GeneBlocks({"vectors": vectors, "dosages": [one.astype(float) for one in dosages]}, sets)
    brain = vectors[0] @ rng.normal(size=(5, 8)) + rng.normal(size=(60, 8))
    closed = fit_closed_form(blocks, {"lag0-all": brain}, np.arange(60), seed=0)
    place = tmp_path_factory.mktemp("model")
    AlignmentModel(AlignmentSettings(train="none"), closed).save(place)
    return place


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    return read_arrays(folder / "closed_form.safetensors")


DAMAGE = {
    "cut": lambda a: a[:-1].copy(),
    "longer": lambda a: np.concatenate([a, a[:1]]),
    "empty": lambda a: a[:0].copy(),
    "another axis": lambda a: a[None].copy(),
    "no number": lambda a: np.full(a.shape, np.nan),
    "infinite": lambda a: np.full(a.shape, np.inf),
    "negative or huge": lambda a: a * 0 - 10**6 if a.dtype.kind == "i" else a * np.nan,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_arrays_that_do_not_belong_together_are_refused(folder, tmp_path, what):
    good = arrays_of(folder)
    assert {name.split(".")[0] for name in good} == {"columns", "alone", "coefficients", "predictive", "brain_mean",
                                                    "brain_map"}  # fmt: skip
    (tmp_path / "model.json").write_bytes((folder / "model.json").read_bytes())
    for name, values in good.items():
        write_tensors(tmp_path / "closed_form.safetensors", {**good, name: DAMAGE[what](values)})
        with pytest.raises(UserError, match=r"model\.json is damaged"):
            AlignmentModel.load(tmp_path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("closed_form.chosen.genes.members", "x"),
        ("closed_form.chosen.genes.alone", 3),
        ("closed_form.chosen.kinds", {"lag0": "x"}),
        ("closed_form.chosen", {}),
        ("closed_form.calibration.slope", True),
        ("closed_form.calibration.variance", "x"),
        ("closed_form.columns.sets", [3]),
    ],
)
def test_choices_of_another_kind_are_refused(folder, tmp_path, path, value):
    content = json.loads((folder / "model.json").read_text())
    node = content
    *parents, last = path.split(".")
    for parent in parents:
        node = node[parent]
    node[last] = value
    (tmp_path / "model.json").write_text(json.dumps(content))
    (tmp_path / "closed_form.safetensors").write_bytes((folder / "closed_form.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"model\.json is damaged"):
        AlignmentModel.load(tmp_path)
