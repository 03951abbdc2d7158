"""Several kinds of scan features side by side, through fit and evaluate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from genebrain import config, stored_settings, tasks
from genebrain.alignment.closed_form import stacking
from genebrain.alignment.closed_form.told import told_choices
from genebrain.alignment.settings import AlignmentSettings
from genebrain.brain.connectome.features import InnovationTangent, moments_from_store
from genebrain.brain.store.store import ScanStore
from genebrain.common.run_folder import read_json
from genebrain.common.types import UserError
from genebrain.runs.fit import load_fit
from genebrain.sides.connectome import DEFAULT_KINDS, ConnectomeSide, person_scans
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 4, "window_bp": 6000, "n_genomewide": 60, "n_frames": 80}
EVERYTHING = ConnectomeSide(components=(5,))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("kinds") / "c", n_subjects=160, seed=2, **SMALL)


@pytest.fixture
def workspace(cohort: Path) -> Workspace:
    made = Workspace(cohort, progress=False)
    made.ingest(EVERYTHING)
    return made


def fitted(cohort: Path, run: Path, workspace: Workspace, train: str = "none") -> Path:
    return tasks.fit(
        cohort, run, brain=EVERYTHING, alignment=AlignmentSettings(train=train), workspace=workspace, progress=False
    )  # fmt: skip


def test_one_kind_alone_keeps_its_numbers(workspace: Workspace) -> None:
    """No despiking, all sizes, and the features of plain moments to the last bit."""
    side, rows = ConnectomeSide(kind="innovation"), np.arange(100)
    fits, values = workspace.brain_features(side, rows)
    assert list(fits) == ["innovation-15", "innovation-25", "innovation-40", "innovation-80"]
    store = ScanStore(side.folder(workspace.store))
    moments = moments_from_store(store, person_scans(workspace.cohort, store))
    plain = InnovationTangent(25).fit(*(values[rows] for values in moments))
    np.testing.assert_array_equal(values["innovation-25"], plain.transform(*moments))
    assert not side.despikes
    assert not side.needs_scans


def test_the_kinds_are_told_and_kept(cohort: Path, workspace: Workspace, tmp_path: Path) -> None:
    run = fitted(cohort, tmp_path / "run", workspace)
    chosen = read_json(run / "checkpoints" / "model.json")["closed_form"]["chosen"]
    assert set(chosen["kinds"]) == set(DEFAULT_KINDS)
    told = told_choices(chosen)[0]
    for kind, value in chosen["kinds"].items():
        assert f"{kind} {value:.3f}" in told
    metrics = tasks.evaluate(
        run, comparisons=("residualised",), n_bootstrap=20, n_permutations=20, workspace=workspace, progress=False
    )
    assert metrics["model"]["chosen"]["kinds"] == chosen["kinds"]
    assert metrics["scan_readings"]["recall@1"] == chosen["kinds"]
    assert json.loads((run / "metrics.json").read_text())["scan_readings"]["used"] == chosen["brain"]


@pytest.mark.parametrize("train", ["none", "residual"])
def test_a_stack_is_restored_as_it_was_fitted(
    train: str, cohort: Path, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of a run that is read back equal those of the fit, on a stack of all kinds."""
    monkeypatch.setattr(stacking, "SIZES", (2, 3))
    found = {}
    from genebrain.alignment.closed_form.fit import ClosedFormSettings
    from genebrain.runs import recipe

    def eager(**settings: object) -> ClosedFormSettings:
        return ClosedFormSettings(**{"stack_gain": -1.0, "modes": ("ridge",), **settings})

    original = recipe.fit_closed_form

    def no_single(*args: object, **kwargs: object) -> object:
        model = original(*args, **kwargs)
        found.setdefault("model", model)
        return model

    monkeypatch.setattr(recipe, "ClosedFormSettings", eager)
    monkeypatch.setattr(recipe, "fit_closed_form", no_single)
    monkeypatch.setattr("genebrain.alignment.closed_form.fit.choose_prior", _favour_stacks)
    run = fitted(cohort, tmp_path / "run", workspace, train)
    model = found["model"]
    assert model.chosen["brain"].count("+") == len(DEFAULT_KINDS) - 1
    state = load_file(run / "checkpoints" / "brain_features.safetensors")
    assert {name.split(".")[0] for name in state} == {str(number) for number in range(len(DEFAULT_KINDS))}
    experiment = stored_settings.load(run / "config.yaml")["experiment"]
    again = Workspace(cohort, progress=False)
    loaded, subjects, split = load_fit(run, experiment, again)
    gene, brain = loaded.vectors(subjects, split.test, "closed_form")
    _, values = workspace.brain_features(EVERYTHING, split.training)
    features = np.concatenate([values[part] for part in model.chosen["brain"].split("+")], axis=1)[split.test]
    np.testing.assert_array_equal(brain, model.brain_vectors(features))
    assert np.isfinite(gene).all()


def _favour_stacks(judge, u, fits, name, cv, **_):
    from genebrain.alignment.closed_form.choice import choose_prior

    found = choose_prior(judge, u, fits, name, cv)
    return replace(found, row=found.row | {"recall@1": float(name.count("+"))})


def test_kinds_are_set_on_the_command_line() -> None:
    side = config.build(config.compose("fit", ["cohort.path=x", "brain.kind=[lag0,spectrum]"]))["brain"]
    assert side.kinds == ("lag0", "spectrum")
    assert side.despikes
    alone = config.build(config.compose("fit", ["cohort.path=x", "brain.kind=innovation"]))["brain"]
    assert alone == ConnectomeSide(kind="innovation")
    assert config.build(config.compose("fit", ["cohort.path=x"]))["brain"] == ConnectomeSide()


def test_settings_of_runs_made_before_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "brain:\n  _target_: genebrain.sides.connectome.ConnectomeSide\n  kind: innovation\n"
        "  components: [15, 25, 40, all]\n  shrinkage: 0.05\n  min_frames: 40\n  positives: people\n"
    )
    side = stored_settings.load(tmp_path / "config.yaml")["brain"]
    assert side.kinds == ("innovation",)
    assert not side.despikes
    assert side.sizes == (15, 25, 40, "all")


def test_wrong_kinds_are_named_together() -> None:
    with pytest.raises(UserError, match=r"brain.kind=lag: use some of innovation.*shrinkage=2"):
        ConnectomeSide(kind=("lag", "lag0"), shrinkage=2)
    with pytest.raises(UserError, match="name each kind once"):
        ConnectomeSide(kind=("lag0", "lag0"))
    with pytest.raises(UserError, match="at least one"):
        ConnectomeSide(kind=())
