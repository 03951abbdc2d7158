"""Scan features by estimators of scikit-learn's form: nilearn's ConnectivityMeasure, and a pipeline of the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nilearn.connectome import ConnectivityMeasure
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import genebrain
from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.brain.store.store import ScanStore
from genebrain.common.types import UserError
from genebrain.sides.connectome import person_scans
from genebrain.sides.estimators.registry import SCAN_ESTIMATORS
from genebrain.sides.estimators.side import EstimatorFeature, EstimatorSide
from genebrain.sides.estimators.state import learned, taught
from genebrain.simulation.cohort import simulate_cohort
from tests.runs.test_transfer import SMALL


class Neighbours(TransformerMixin, BaseEstimator):
    """Learns an object that is no estimator of numbers."""

    def fit(self, scans, y=None):
        self.lookup_ = {"a": NearestNeighbors()}
        return self

    def transform(self, scans):
        return np.zeros((len(scans), 3))


class Hidden(TransformerMixin, BaseEstimator):
    """Learns where the convention does not look."""

    def fit(self, scans, y=None):
        self._mean = np.mean([scan.mean() for scan in scans])
        return self

    def transform(self, scans):
        return np.array([[scan.std() - getattr(self, "_mean", 0.0)] for scan in scans])


def pipeline():
    measure = ConnectivityMeasure(kind="correlation", vectorize=True, discard_diagonal=True)
    return make_pipeline(measure, StandardScaler(), PCA(12, svd_solver="full"))


@pytest.fixture(scope="module", autouse=True)
def _entered():
    own = {"test_pipeline": pipeline, "test_neighbours": Neighbours, "test_hidden": Hidden}
    for name, make in own.items():
        SCAN_ESTIMATORS.add(name, make)
    yield
    for name in own:
        SCAN_ESTIMATORS.remove(name)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("c") / "c", n_subjects=140, seed=2, **SMALL)


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tangent"
    return tasks.fit(cohort, run=folder, brain=EstimatorSide(estimator="nilearn_tangent"), progress=False,
                     alignment=AlignmentSettings(train="none"))  # fmt: skip


def test_features_are_those_of_nilearn_fitted_on_the_training_people(cohort, run):
    opened = genebrain.load_run(run)
    store = ScanStore(opened.experiment.brain.folder(opened.workspace.store))
    scans = [store.read(key).astype(float) for (key,) in person_scans(opened.cohort, store)]
    measure = ConnectivityMeasure(kind="tangent", vectorize=True)
    measure.fit([scans[row] for row in opened.split.training])
    wanted = measure.transform([scans[row] for row in opened.split.test])
    found = opened.subjects.brain["nilearn_tangent"][opened.split.test]
    assert np.allclose(found, wanted, atol=1e-5)


def test_such_a_run_is_judged_and_reads_new_scans(cohort, run):
    metrics = tasks.evaluate(run, n_bootstrap=40, n_permutations=40, comparisons=(), progress=False)
    assert metrics["retrieval"]["mean"]["recall@1"]["value"] > 5 * metrics["chance"]["recall@1"]
    tasks.report(run)
    opened = genebrain.load_run(run)
    inside = opened.vectors("test")
    again = opened.embed_scans(cohort.parent / "scans.tsv").loc[inside.ids]
    assert np.abs(again.to_numpy() - inside.brain).max() < 1e-5 * np.abs(inside.brain).max()


def test_a_pipeline_of_the_user_is_kept_as_numbers(cohort, tmp_path):
    run = tasks.fit(cohort, run=tmp_path / "r", brain=EstimatorSide(estimator="test_pipeline"), progress=False,
                    alignment=AlignmentSettings(train="none"))  # fmt: skip
    metrics = tasks.evaluate(run, n_bootstrap=40, n_permutations=40, comparisons=(), progress=False)
    assert metrics["retrieval"]["mean"]["recall@1"]["value"] > 2 * metrics["chance"]["recall@1"]
    assert not [file for file in run.rglob("*") if file.suffix in (".pkl", ".joblib", ".pickle")]


def test_what_cannot_be_kept_or_was_changed_is_refused():
    scans = [np.random.default_rng(i).normal(size=(60, 5)) for i in range(8)]
    fitted = pipeline().set_params(pca__n_components=3).fit(scans)
    state = learned(fitted, "p", (8, 5))
    again = taught(pipeline().set_params(pca__n_components=3), state, "p")
    assert np.allclose(again.transform(scans), fitted.transform(scans))
    with pytest.raises(UserError, match="other settings than when the run was fitted"):
        taught(pipeline().set_params(pca__n_components=4), state, "p")
    with pytest.raises(UserError, match=r"has learned lookup_ \(dict\)"):
        learned(Neighbours().fit(scans), "n", (8, 5))

    class Eight:
        def scans(self):
            return scans

    with pytest.raises(UserError, match="gives other numbers after it was saved"):
        EstimatorFeature("test_hidden").fit(Eight())
    with pytest.raises(UserError, match=r"kind, brain\.components belong to brain=connectome"):
        EstimatorSide(kind="lag0", components=(3,))
    with pytest.raises(UserError, match=r"brain\.estimator=nilearn_tangnet"):
        EstimatorSide(estimator="nilearn_tangnet")


def test_several_scans_count_by_their_frames(cohort, run):
    opened = genebrain.load_run(run)
    store = ScanStore(opened.experiment.brain.folder(opened.workspace.store))
    (first,), (second,) = person_scans(opened.cohort, store)[:2]
    (series,) = opened.workspace.brain_inputs(opened.experiment.brain, opened.split.training)
    side = opened.experiment.brain
    feature = side.fit((series,), opened.split.training)["nilearn_tangent"]
    one, other, both = (
        feature.transform(type(series)(store, [keys]))[0] for keys in ([first], [second], [first, second])
    )
    assert np.allclose(both, (one + other) / 2, atol=1e-6)  # they have as many frames
    assert pd.Series(store.index["n_frames"]).nunique() == 1
