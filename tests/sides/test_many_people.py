"""Scan features of very many people: some choose among the kinds, and moments are made some people at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain import stored_settings, tasks
from genebrain.alignment.closed_form.told import told_choices
from genebrain.alignment.settings import AlignmentSettings
from genebrain.brain.connectome import stored_moments
from genebrain.common.run_folder import read_json
from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import UserError
from genebrain.runs.fit import load_fit
from genebrain.runs.saved_features import FEATURES
from genebrain.sides.brains import features
from genebrain.sides.brains.features import some_families
from genebrain.sides.connectome import DEFAULT_KINDS, ConnectomeSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 3, "window_bp": 4000, "n_genomewide": 40, "n_frames": 60, "n_parcels": 24}
EVERYTHING = ConnectomeSide(components=(5,))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("many") / "c", n_subjects=150, seed=3, **SMALL)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cohorts of a hundred people count as very large."""
    monkeypatch.setattr(features, "MANY", 80)
    monkeypatch.setattr(features, "SOME", 60)
    monkeypatch.setattr("genebrain.sides.connectome.KEPT", 0)
    monkeypatch.setattr("genebrain.brain.connectome.stored_moments.AT_A_TIME", 40)


def test_several_processes_make_the_same_features(many: None, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = ConnectomeSide(kind=("innovation", "spectrum", "coherence"), components=(5,))
    rows = np.arange(0, 150, 2)
    inputs = Workspace(cohort, progress=False).brain_inputs(side, rows)
    monkeypatch.setattr(stored_moments, "BLOCKS_OF_A_WORKER", 100)
    fitted, here = Workspace(cohort, progress=False).brain_features(side, rows)
    covariances = {int(some[0]): values for some, values in inputs.covariances(rows)}
    monkeypatch.setattr(stored_moments, "BLOCKS_OF_A_WORKER", 1)
    for name, values in inputs.transform(fitted, rows).items():
        np.testing.assert_array_equal(values[rows], here[name][rows])
        assert np.isnan(np.delete(values, rows, axis=0)).all()  # nobody else's scans were read
    for some, values in inputs.covariances(rows):
        np.testing.assert_array_equal(values, covariances[int(some[0])])


@pytest.mark.parametrize("side", [EVERYTHING, ConnectomeSide(kind="innovation", components=(5, "all"))])
def test_features_made_some_people_at_a_time_are_the_same(
    side: ConnectomeSide, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.arange(0, 150, 2)
    _, whole = Workspace(cohort, progress=False).brain_features(side, rows)
    monkeypatch.setattr("genebrain.sides.connectome.KEPT", 0)
    monkeypatch.setattr("genebrain.brain.connectome.stored_moments.AT_A_TIME", 40)
    _, parts = Workspace(cohort, progress=False).brain_features(side, rows)
    assert list(whole) == list(parts)
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values)


def test_whole_families_are_drawn_and_the_draw_is_repeatable(many: None) -> None:
    family = np.repeat(np.arange(100), 3)
    rows = np.arange(20, 290)
    some = some_families(rows, family)
    assert 50 <= len(some) <= 60
    assert set(some) <= set(rows.tolist())
    inside = np.isin(rows, some)
    assert all(len(set(inside[family[rows] == one])) == 1 for one in family[rows])
    np.testing.assert_array_equal(some, some_families(rows, family))
    family[rows] = 0
    np.testing.assert_array_equal(some_families(rows, family), rows)  # nothing to draw from


def test_few_people_race_nothing(cohort: Path, tmp_path: Path) -> None:
    workspace = Workspace(cohort, progress=False)
    run = _fitted(cohort, tmp_path / "run", workspace)
    chosen = read_json(run / "checkpoints" / "model.json")["closed_form"]["chosen"]
    assert "race" not in chosen
    assert set(chosen["kinds"]) == set(DEFAULT_KINDS)


def test_of_many_people_the_judged_are_read_alone_and_judged_alike(
    many: None, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _fitted(cohort, tmp_path / "run", Workspace(cohort, progress=False))
    experiment = stored_settings.load(run / "config.yaml")["experiment"]
    judged = {"n_bootstrap": 20, "n_permutations": 20, "progress": False}
    found = []
    for comparisons in ((), ("ridge_cca",)):
        found.append(tasks.evaluate(run, comparisons=comparisons, **judged))
    for part in ("retrieval", "gallery_full", "permutation", "findings"):
        assert found[0][part] == found[1][part], part
    workspace = Workspace(cohort, progress=False)
    fitted, subjects, split = load_fit(run, experiment, workspace, alone=True)
    values = subjects.brain[fitted.brain_name]
    read = np.union1d(split.test, workspace.learners(experiment.brain, split.training))
    assert len(read) < len(values)
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(values).all(axis=1)), read)
    # Some training people are enough to see that the features are others.
    path = run / "checkpoints" / FEATURES
    state = read_arrays(path)
    for key in state:
        if key.endswith(("basis", "whitening")):
            state[key] = np.ascontiguousarray(state[key][:, ::-1] * 1.3)
    write_tensors(path, state)
    (run / "checksums.json").unlink()
    with pytest.raises(UserError, match="are not those that its model was fitted with"):
        load_fit(run, experiment, Workspace(cohort, progress=False), alone=True)


def test_kinds_that_lose_on_some_people_are_not_made_of_all(
    many: None, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(cohort, progress=False)
    asked = []
    from genebrain.runs import recipe

    original = recipe.race

    def watched(*given: object, **named: object) -> dict[str, object]:
        found = original(*given, **named)  # type: ignore[arg-type]
        asked.append({name: len(values) for name, values in given[1].items()})  # type: ignore[index]
        return {**found, "on": ["lag0", "spectrum"]}

    monkeypatch.setattr(recipe, "race", watched)
    run = _fitted(cohort, tmp_path / "run", workspace)
    experiment = stored_settings.load(run / "config.yaml")["experiment"]
    chosen = read_json(run / "checkpoints" / "model.json")["closed_form"]["chosen"]
    again = Workspace(cohort, progress=False)
    _, subjects, split = load_fit(run, experiment, again)
    some = workspace.learners(EVERYTHING, split.training)
    assert set(some) < set(split.training.tolist())
    assert len(asked) == 1
    assert set(asked[0].values()) == {len(some)}
    assert chosen["race"]["people"] == len(some)
    assert chosen["race"]["of"] == len(split.training)
    assert set(chosen["race"]["kinds"]) == set(DEFAULT_KINDS)
    told = told_choices(chosen)[0]
    assert f"on {len(some)} of {len(split.training)} people, and on all lag0, spectrum" in told
    assert {name.split("-")[0] for name in workspace.brain_features(EVERYTHING, split.training)[1]} == {
        "lag0", "spectrum",
    }  # fmt: skip
    assert {name.split("-")[0] for name in subjects.candidates if "+" not in name} == {"lag0", "spectrum"}
    # Fitted on those people and nobody else.
    alone = EVERYTHING.fit(workspace.brain_inputs(EVERYTHING, split.training).summary(some), np.arange(len(some)))
    fitted, values = workspace.brain_features(EVERYTHING, split.training)
    for key, learned in alone["spectrum"].state().items():
        np.testing.assert_array_equal(learned, fitted["spectrum"].state()[key])
    for part in chosen["brain"].split("+"):
        np.testing.assert_array_equal(subjects.brain[part], values[part])
    metrics = tasks.evaluate(
        run, comparisons=(), n_bootstrap=20, n_permutations=20, workspace=again, progress=False
    )  # fmt: skip
    assert metrics["model"]["chosen"]["race"] == chosen["race"]
    assert set(metrics["scan_readings"]["recall@1"]) == set(DEFAULT_KINDS)
    tasks.report(run)
    assert f"Tried on {len(some)} of {len(split.training)} training people" in (run / "report.html").read_text()


def _fitted(cohort: Path, run: Path, workspace: Workspace) -> Path:
    return tasks.fit(
        cohort, run, brain=EVERYTHING, alignment=AlignmentSettings(train="none"), workspace=workspace, progress=False
    )  # fmt: skip
