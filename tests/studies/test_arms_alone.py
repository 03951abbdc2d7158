"""An arm of a grid is an arm: alone, in any order, after any kill it is the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from genebrain import tasks
from genebrain.alignment.settings import TrainerSettings
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.studies import ablation
from tests.directed_cohort import directed

ARMS = {
    "closed form": {"alignment": {"train": "none"}},
    "random start": {"alignment": {"start": "random", "train": "full", "score": "cosine"}},
    "residual": {"alignment": {"train": "residual"}},
    "mean of chunks": {"pooling": {"chunk": "mean"}},
    "without lags": {"brain": {"kind": "lag0"}},
    "the first again": {"alignment": {"train": "none"}},
}
KEPT = ("closed_form.safetensors", "brain_features.safetensors", "towers.safetensors", "model.json")
QUICK = TrainerSettings(max_epochs=2, patience=2, loggers=())
KINDS = ConnectomeSide(kind=("lag0", "innovation"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return directed(tmp_path_factory.mktemp("cohort") / "c")


def grid(cohort: Path, run: Path, names: list[str]) -> dict[str, dict]:
    """Results and checkpoints by arm of one grid, computed in a process that has computed nothing yet."""
    ablation._workspace.cache_clear()
    tasks.ablate(
        cohort, {"arms": {name: ARMS[name] for name in names}}, run=run, seeds=(1,), jobs=1, trainer=QUICK, brain=KINDS
    )
    return {name: cell(run / "cells" / f"{number:02d}-seed1") for number, name in enumerate(names)}


def cell(folder: Path) -> dict:
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics.pop("cost")
    files = {name: (folder / "checkpoints" / name) for name in KEPT}
    return {"metrics": metrics} | {name: path.read_bytes() for name, path in files.items() if path.exists()}


def same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for what in one:
        assert one[what] == other[what], what


@pytest.fixture(scope="module")
def forwards(cohort, tmp_path_factory) -> tuple[Path, dict]:
    run = tmp_path_factory.mktemp("grid") / "forwards"
    return run, grid(cohort, run, list(ARMS))


def test_an_arm_alone_is_the_arm_after_others(cohort, forwards, tmp_path):
    _, found = forwards
    for name in ("residual", "without lags", "the first again"):
        same(grid(cohort, tmp_path / name, [name])[name], found[name])
    same(found["the first again"], found["closed form"])


def test_the_table_names_the_ceiling(forwards):
    run, found = forwards
    ceiling = found["residual"]["metrics"]["ceiling"]["recall@1"]
    assert f"| ceiling | | {ceiling:.3f} |" in (run / "comparison.md").read_text()


def test_cells_are_judged_without_findings(forwards):
    run, found = forwards
    assert all(one["metrics"]["findings"] is None for one in found.values())
    assert not list(run.glob("cells/*/findings")) + list(run.glob("cells/*/figures/genes.png"))


def test_arms_in_another_order_are_the_same(cohort, forwards, tmp_path):
    for name, one in grid(cohort, tmp_path / "backwards", list(ARMS)[::-1]).items():
        same(one, forwards[1][name])


@pytest.mark.slow
def test_a_killed_grid_ends_as_an_undisturbed_one(cohort, forwards, tmp_path):
    run = shutil.copytree(forwards[0], tmp_path / "killed")
    for number in (1, 2, 5):
        shutil.rmtree(run / "cells" / f"{number:02d}-seed1")
    # Killed between the model and the mark of its end.
    for name in (ablation.LAST, "provenance.json", "metrics.json"):
        (run / "cells" / "04-seed1" / name).unlink()
    for name, one in grid(cohort, run, list(ARMS)).items():
        same(one, forwards[1][name])


def test_cells_of_an_older_version_are_not_mixed_with_new_ones(cohort, forwards, tmp_path):
    run = shutil.copytree(forwards[0], tmp_path / "older")
    path = run / "cells" / "00-seed1" / "provenance.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "format"}))
    with pytest.raises(UserError, match=r"1 of 6 finished cells of .*older are of an older version"):
        grid(cohort, run, list(ARMS))
