"""What is restored is what was fitted, to the last bit; runs of older versions are mended or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from genebrain import stored_settings, tasks
from genebrain.alignment.model import AlignmentModel
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.brain.connectome.moments import Moments, scan_moments, stack_moments
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.models.scaling import CohortScaling
from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import UserError
from genebrain.genetics.store.table_files import read_array
from genebrain.genetics.store.table_files import write_tensors as write_shard
from genebrain.runs import recipe
from genebrain.runs.fit import load_fit
from genebrain.runs.recipe import fit_alignment
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.embedding_feature import EmbeddingFeature, restored_feature
from genebrain.sides.people import Subjects
from genebrain.sides.workspace import Workspace
from genebrain.simulation.known_answer import read_truth, write_known_answer
from genebrain.training.settings import LoraSettings
from genebrain.training.tuned_encoder import TunedEncoder
from tests.directed_cohort import directed

KINDS = ("innovation", "lag0", "correlation", "partial_correlation")
JUDGE = {"n_bootstrap": 20, "n_permutations": 20, "comparisons": (), "progress": False}


def moments(n: int = 30, parcels: int = 8) -> Moments:
    rng = np.random.default_rng(0)
    scans = []
    for _ in range(n):
        series = rng.normal(size=(90, parcels)).astype(np.float32) @ rng.normal(size=(parcels, parcels))
        for t in range(1, len(series)):
            series[t] += 0.9 * np.roll(series[t - 1], 1)
        scans.append(scan_moments(series.astype(np.float32)))
    return stack_moments(scans, n)


def through_a_file(folder: Path, state: dict) -> dict:
    write_tensors(folder / "state.safetensors", state)
    return read_arrays(folder / "state.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_connectome_features(tmp_path, kind):
    side, people = ConnectomeSide(kind=kind, components=(5, "all")), moments()
    for name, fitted in side.fit(people, np.arange(20)).items():
        again = side.restore(name, through_a_file(tmp_path, fitted.state()))
        assert again.transform(*people).tobytes() == fitted.transform(*people).tobytes(), name
        if kind == "innovation":
            assert np.abs(fitted.phi - fitted.phi.T).max() > 0.3, "a transposed matrix would be another one"


@pytest.mark.parametrize("name", ["embedding", "embedding-4", "connectivity-6"])
def test_embedding_features(tmp_path, name):
    from genebrain.brain.connectome.token_connectivity import TokenTangent

    people = np.random.default_rng(1).normal(size=(40, 6, 30)).astype(np.float32)
    packed = (people @ people.transpose(0, 2, 1))[:, *np.triu_indices(6)]
    number = None if name == "embedding" else int(name.split("-")[1])
    fitted = TokenTangent(number) if name.startswith("connectivity") else EmbeddingFeature(number)
    fitted.fit(packed[:30])
    again = restored_feature(name, through_a_file(tmp_path, fitted.state()))
    assert again.transform(packed).tobytes() == fitted.transform(packed).tobytes()


@pytest.mark.parametrize(
    "settings",
    [
        AlignmentSettings(train="none"),
        AlignmentSettings(train="none", score="cosine"),
        AlignmentSettings(start="random", train="full", score="cosine"),
        AlignmentSettings(train="full"),
        AlignmentSettings(train="residual"),
    ],
    ids=lambda s: f"{s.start}-{s.train}-{s.score}",
)
def test_aligned_models(tmp_path, monkeypatch, settings):
    # Training that is kept, whatever it did: what is asked here is whether it comes back.
    approve = recipe._approve
    monkeypatch.setattr(recipe, "_approve", lambda *given: {**approve(*given), "approved": True})
    rng, rows = np.random.default_rng(0), np.arange(90)
    genes = rng.normal(size=(90, 4)).astype(np.float32)
    brain = (2 * genes @ rng.normal(size=(4, 6)) + rng.normal(size=(90, 6))).astype(np.float32)
    people = Subjects([genes], {"embedding": brain}, rows, rows)
    trainer = TrainerSettings(max_epochs=2, patience=2, accelerator="cpu", loggers=(), learning_rate=1e-2)
    fitted = fit_alignment(people, rows[:50], rows[50:70], settings, trainer, tmp_path, seed=1, progress=False)
    fitted.save(tmp_path)
    again = AlignmentModel.load(tmp_path, people.empty_towers(rows[:50]))
    for arm in ("closed_form", "trained") if fitted.towers is not None else ("closed_form",):
        for one, other in zip(fitted.vectors(people, rows, arm), again.vectors(people, rows, arm), strict=True):
            assert one.tobytes() == other.tobytes(), arm


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_encoders_in_training(tmp_path, tuning):
    def make() -> TunedEncoder:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3))
        # Weights whose memory runs column by column.
        model[0].weight = torch.nn.Parameter(model[0].weight.detach().T.contiguous().T)
        return TunedEncoder(model, tuning, LoraSettings(rank=2, targets=("0", "1")), 0, "base")

    trained, fresh = make(), make()
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.arange(parameter.numel()).reshape(parameter.shape) / 10)
    trained.save(tmp_path / "encoder")
    fresh.load(tmp_path / "encoder")
    x = torch.linspace(-1, 1, 10).reshape(2, 5)
    assert torch.equal(fresh.model.eval()(x), trained.model.eval()(x))


def test_contracts_shards_and_truths(tmp_path):
    wide = np.arange(24.0).reshape(3, 8)
    scaling = CohortScaling(np.arange(16.0)[::2], np.arange(8.0)[::-1] + 1)
    contract = ParcelInput(scaling, coordinates=wide.T.astype(np.float32), tr=0.72, frames=10)
    again = ParcelInput.from_state(through_a_file(tmp_path, contract.state()))
    assert (again.tr, again.frames, again.formula) == (0.72, 10, contract.formula)
    for one, other in ((again, contract), (again.scaling, scaling)):
        for name, values in vars(other).items():
            if isinstance(values, np.ndarray):
                assert getattr(one, name).tolist() == values.tolist(), name
    write_shard(tmp_path / "shard.safetensors", {"mean": wide.T, "last": wide[:, ::-2]})
    assert read_array(tmp_path / "shard.safetensors", "mean").tolist() == wide.T.tolist()
    assert read_array(tmp_path / "shard.safetensors", "last").tolist() == wide[:, ::-2].tolist()
    answer = {"ceiling": None, "ceiling_within_strata": None, "k": len(wide), "r2": 0.5}
    write_known_answer(tmp_path, answer, {"g": wide.T, "z": wide.T, "u": wide[::-1].T})
    truth = read_truth(tmp_path / "known_answer.json")
    assert truth["g"].tolist() == wide.T.tolist()
    assert truth["u"].tolist() == wide[::-1].T.tolist()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return directed(tmp_path_factory.mktemp("cohort") / "c")


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "fit"
    side = ConnectomeSide(kind="innovation")
    tasks.fit(cohort, run=folder, brain=side, alignment=AlignmentSettings(train="none"), progress=False)
    tasks.evaluate(folder, **JUDGE)
    return folder


def results(run: Path) -> dict:
    return {k: v for k, v in json.loads((run / "metrics.json").read_text()).items() if k != "cost"}


def test_a_run_is_judged_by_the_features_it_was_fitted_on(cohort, run):
    experiment = stored_settings.load(run / "config.yaml")["experiment"]
    workspace = Workspace(cohort, progress=False)
    fitted, subjects, split = load_fit(run, experiment, workspace)
    assert fitted.brain_name.startswith("innovation")
    _, computed = Workspace(cohort, progress=False).brain_features(experiment.brain, split.training)
    for name, values in computed.items():
        assert subjects.brain[name].tobytes() == values.tobytes(), name
    # What was restored is a copy: who asks for what is computed gets what is computed.
    subjects.brain[fitted.brain_name] = np.zeros(1)
    _, kept = workspace.brain_features(experiment.brain, split.training)
    assert kept[fitted.brain_name].tobytes() == computed[fitted.brain_name].tobytes()


def older(run: Path, folder: Path, change=np.transpose) -> Path:
    """The run as the first format had it: no number of a format, ``phi`` turned."""
    shutil.copytree(run, folder)
    (folder / "checksums.json").unlink()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance.pop("format") == 2
    (folder / "provenance.json").write_text(json.dumps(provenance))
    path = folder / "checkpoints" / "brain_features.safetensors"
    state = read_arrays(path)
    write_tensors(path, {**state, "phi": change(state["phi"])})
    return folder


def test_a_run_of_an_older_version_is_mended(run, tmp_path, capsys):
    before = older(run, tmp_path / "old")
    tasks.evaluate(before, **JUDGE)
    assert "of an older version, which saved a part of its brain features transposed; mended" in capsys.readouterr().err
    assert results(before) == results(run)
    # A cell of a grid could be fitted on features that had been read back: it is judged by those.
    right = older(run, tmp_path / "right", change=np.array)
    tasks.evaluate(right, **JUDGE)
    assert "mended" not in capsys.readouterr().err
    assert results(right) == results(run)


def test_features_that_the_model_was_not_fitted_with_are_refused(run, tmp_path):
    changed = older(run, tmp_path / "old", change=lambda phi: phi[::-1] * 2)
    with pytest.raises(UserError, match=r"brain features of .*old are not those that its model was fitted with"):
        tasks.evaluate(changed, **JUDGE)
    shutil.copytree(run, tmp_path / "new")
    (tmp_path / "new" / "checksums.json").unlink()
    path = tmp_path / "new" / "checkpoints" / "brain_features.safetensors"
    state = read_arrays(path)
    write_tensors(path, {**state, "phi": state["phi"].T})
    with pytest.raises(UserError, match=r"brain_features\.safetensors was changed, or the scans were processed anew"):
        tasks.evaluate(tmp_path / "new", **JUDGE)
    provenance = json.loads((run / "provenance.json").read_text())
    (tmp_path / "new" / "provenance.json").write_text(json.dumps(provenance | {"format": 3}))
    with pytest.raises(UserError, match="has format 3, and this version of genebrain reads up to 2"):
        tasks.evaluate(tmp_path / "new", **JUDGE)
