"""The study of contrastive training: cells are computed once, its encoder learns networks, the map says who wins."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genebrain import config
from genebrain.brain.encoders.families import SCAN_ENCODERS
from genebrain.brain.pretraining.settings import OBJECTIVES

FOLDER = Path(__file__).parents[1] / "experiments" / "when_contrastive_wins"
PARTS = ("names", "optimum", "views", "unpaired", "setting", "weights", "methods")


@pytest.fixture(scope="module", autouse=True)
def siblings():
    """The files of the study import one another by their plain names, as scripts do."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in PARTS:
        sys.modules.pop(name, None)


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(f"when_contrastive_wins_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def networks():
    module = loaded("networks")
    yield module
    SCAN_ENCODERS.remove("networks")
    OBJECTIVES.remove("networks")


@pytest.fixture(scope="module")
def study(networks):
    return loaded("run")


@pytest.fixture(scope="module")
def optimum():
    return loaded("optimum")


@pytest.fixture(scope="module")
def views():
    return loaded("views")


@pytest.fixture(scope="module")
def unpaired():
    return loaded("unpaired")


@pytest.fixture(scope="module")
def contrast_map():
    return loaded("map")


def test_a_cell_is_computed_once(study, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SHAPE", study.SHAPE | {"n_windows": 4, "n_frames": 60, "n_genomewide": 60})
    out = tmp_path / "results.tsv"
    words = ["run.py", "--names", "switching", "--people", "60", "--test", "30", "--seeds", "3", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*words, "--methods", "closed form"])
    study.main()
    table = pd.read_csv(out, sep="\t")
    assert table[["method", "n_test"]].to_numpy().tolist() == [["closed form", 30]]
    assert 0 <= table["recall@1"][0] <= 1
    before = out.read_bytes()
    monkeypatch.setattr(study, "simulate_cohort", None)  # nothing is simulated again
    study.main()
    assert out.read_bytes() == before


def switching_scans(n: int, frames: int) -> tuple[torch.Tensor, np.ndarray]:
    """Scans of 12 parcels in two networks that are coupled and let go in turns."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 6)
    states = np.repeat(rng.random((n, frames // 10, 2)) < 0.5, 10, axis=1)[:, :, group]
    common = rng.standard_normal((n, frames, 2))[:, :, group]
    scans = np.where(states, common, rng.standard_normal((n, frames, 12)))
    return torch.from_numpy(scans + 0.3 * rng.standard_normal(scans.shape)).float(), group


def test_contrast_between_moments_finds_the_networks(networks):
    scans, group = switching_scans(40, 120)
    torch.manual_seed(0)
    encoder = networks.Networks(networks.Sizes(12, networks=4))
    objective, generator = networks.MomentContrast(encoder), torch.Generator().manual_seed(0)
    batch = {"clips": scans[:, None]}
    first = objective(batch, generator, compare=True)
    assert first.trivial["all moments alike"].item() == pytest.approx(np.log(networks.MOMENTS))
    optimiser = torch.optim.Adam(objective.parameters(), 3e-2)
    for _ in range(100):
        optimiser.zero_grad()
        loss = objective(batch, generator).loss
        loss.backward()
        optimiser.step()
    assert loss < first.loss - 0.3
    owner = encoder.membership.detach().argmax(dim=0).numpy()
    assert not set(owner[group == 0]) & set(owner[group == 1])


def test_coherence_is_one_where_a_network_moves_as_one(networks):
    encoder = networks.Networks(networks.Sizes(4, networks=2))
    encoder.membership.data = torch.tensor([[20.0, 20, 0, 0], [0, 0, 20, 20]])
    x = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(1))
    x[:, :, 1] = x[:, :, 0]
    x[:, :, 3] = -x[:, :, 2]
    _, coherence = encoder.moments(x)
    # Of two parcels: the power of the sum is twice the sum of powers.
    torch.testing.assert_close(coherence[0].mean(dim=0), torch.tensor([2.0, 0.0]), atol=0.01, rtol=0)


def linear_pairs(n: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two linear views of three hidden numbers, among columns that tell nothing."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((n, 3))
    sides = []
    for width in (20, 30):
        mixing = rng.standard_normal((3, width))
        sides.append(hidden @ mixing + noise * rng.standard_normal((n, width)))
    return sides[0], sides[1]


def split_in_three(gene: np.ndarray, brain: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    bounds = (slice(0, 120), slice(120, 160), slice(160, None))
    return [(gene[one], brain[one]) for one in bounds]


@pytest.mark.parametrize("rhos", [(), (0.1,)], ids=["linear loss", "InfoNCE"])
def test_the_optimum_finds_pairs_without_noise_and_nothing_in_shuffled_ones(optimum, study, rhos):
    gene, brain = linear_pairs(320)
    parts = split_in_three(gene, brain)
    *vectors, _ = optimum.optimum(*parts, rhos)
    assert study.hits(*vectors).mean() > 0.95
    parts[0] = parts[0][0], parts[0][1][::-1]
    parts[1] = parts[1][0], parts[1][1][::-1]
    *vectors, _ = optimum.optimum(*parts, rhos)
    found = study.hits(*vectors)
    # Galleries of 64; of everybody's interval of chance.
    assert abs(found.mean() - 1 / 64) < 4 * max(found.std() / np.sqrt(len(found)), 0.005)


def test_the_optimum_of_infonce_is_one(optimum):
    gene, brain = linear_pairs(60, 0.3)
    x, y = gene[:, :6] / gene[:, :6].std(axis=0), brain[:, :5] / brain[:, :5].std(axis=0)
    found = optimum.infonce_optimum(x, y, 0.3)
    loss, gradient = optimum.infonce(x, y, found, 0.3)
    assert np.abs(gradient).max() < 1e-3
    rng, step = np.random.default_rng(1), 1e-5
    for _ in range(3):
        other = rng.standard_normal(found.shape)
        assert optimum.infonce(x, y, found + 0.1 * other, 0.3)[0] > loss
        ahead, behind = (optimum.infonce(x, y, other + sign * step * other, 0.3)[0] for sign in (1, -1))
        slope = (optimum.infonce(x, y, other, 0.3)[1] * other).sum()
        assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-4)


def test_a_share_of_one_mixes_nothing_and_validation_is_never_mixed(views):
    draw = torch.Generator().manual_seed(0)
    values, partner = torch.randn(6, 4, generator=draw), torch.tensor([1, 2, 3, 4, 5, 0])
    assert torch.equal(views.mixed(values, partner, torch.ones(6)), values)
    assert torch.equal(views.mixed(values, partner, torch.zeros(6)), values[partner])
    ids = torch.arange(6)
    pairs = views.MixedPairs(views.PairDataset(values, 2 * values, ids, ids), {4, 5}, strength=1.0, seed=0)
    assert torch.equal(pairs[[4, 5]]["gene"], values[4:])
    batch = pairs[[0, 1, 2, 3]]
    assert not torch.equal(batch["gene"], values[:4])
    torch.testing.assert_close(batch["brain"], 2 * batch["gene"])  # one share for both sides


def test_a_plan_has_equal_masses_and_a_student_like_the_teacher_has_nothing_to_learn(unpaired):
    scores = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    found = unpaired.plan(scores)
    torch.testing.assert_close(found.sum(dim=0), torch.full((12,), 1 / 12))
    torch.testing.assert_close(found.sum(dim=1), torch.full((8,), 1 / 8), rtol=1e-3, atol=0)
    student = scores.clone().requires_grad_()
    unpaired.towards(student, scores + 2.0).backward()  # a constant moves no plan
    assert student.grad.abs().max() < 1e-6
    unpaired.towards(student, scores.flip(0)).backward()
    assert student.grad.abs().max() > 1e-3


@pytest.fixture
def few_people(tmp_path) -> Path:
    """Tables and scans of ten people."""
    (tmp_path / "scans").mkdir()
    ids = [f"S{i}" for i in range(10)]
    for name in ids:
        np.save(tmp_path / "scans" / f"{name}.npy", np.arange(20.0)[:, None] + np.arange(3))
    pd.DataFrame({"participant_id": ids, "genotype_id": [f"G{i}" for i in range(10)]}).to_csv(
        tmp_path / "participants.tsv", sep="\t", index=False
    )
    pd.DataFrame({"participant_id": ids, "session": 1, "path": [f"scans/{i}.npy" for i in ids]}).to_csv(
        tmp_path / "scans.tsv", sep="\t", index=False
    )
    (tmp_path / "cohort.yaml").write_text("name: few\nparticipants: participants.tsv\nscans: scans.tsv\n")
    return tmp_path / "cohort.yaml"


def test_windows_are_halves_of_the_scans_of_training_people_alone(views, few_people, tmp_path):
    path = views.cut(few_people, tmp_path / "cut", {"S1", "S2"})
    scans = pd.read_csv(path.parent / "scans.tsv", sep="\t")
    counts = scans["participant_id"].value_counts()
    assert counts.to_dict() == {f"S{i}": 1 + views.WINDOWS * (i in (1, 2)) for i in range(10)}
    pieces = [np.load(one) for one in scans.query("participant_id == 'S1'")["path"]]
    assert [len(one) for one in pieces] == [20, 10, 10, 10, 10]
    assert pieces[1][0, 0] == 0
    assert pieces[-1][-1, 0] == 19


def test_people_with_one_side_alone_have_no_other(unpaired, few_people, monkeypatch):
    monkeypatch.setattr(unpaired, "ALONE", 3)
    path, genomes, scans = unpaired.taken_apart(few_people, 4, seed=0)
    assert len({*genomes, *scans}) == 6
    table, listed = (pd.read_csv(path.parent / name, sep="\t") for name in ("pairs.tsv", "paired_scans.tsv"))
    assert set(table.loc[table["genotype_id"].str.startswith("none"), "participant_id"]) == set(scans)
    assert set(table["participant_id"]) - set(listed["participant_id"]) == set(genomes)


def test_people_alone_are_read_as_the_pairs_are(study, tmp_path, monkeypatch):
    setting, alone = sys.modules["setting"], sys.modules["unpaired"]
    side = setting.ConnectomeSide(kind="lag0")
    monkeypatch.setattr(setting, "CONNECTOME", side)
    for module in (study, alone):
        monkeypatch.setattr(module, "ALONE", 20)
    monkeypatch.setattr(study, "SHAPE", study.SHAPE | {"n_windows": 4, "n_frames": 60, "n_genomewide": 60})
    found = study.setting_of("smoke, unpaired", 1, 80, 40, tmp_path)
    base = found.base
    training, name = base.split.training, base.fitted.brain_name
    assert len(base.cohort.table) == 120
    known = base.cohort.table["participant_id"].iloc[training[:10]].tolist()
    blocks, scans = alone.features_alone(
        found.path.parent / "cohort.yaml", found.workspace, side, setting.DOSAGES, name, training, (known, known),
        tmp_path / "store",
    )  # fmt: skip
    closed, subjects = base.fitted.closed_form, base.subjects
    np.testing.assert_allclose(closed.gene_columns(blocks), subjects.gene_features(closed)[training[:10]], atol=1e-6)
    np.testing.assert_allclose(scans, subjects.brain[name][training[:10]], atol=1e-6)


def test_the_map_names_the_winner_only_where_it_is_clear(contrast_map, tmp_path):
    rows = []
    for mechanism, gain in (("a", 0.2), ("b", 0.02), ("c", -0.2)):
        for method, value in (("closed form", 0.0), ("textbook InfoNCE", gain)):
            for seed in (1, 2):
                rows.append(
                    {"mechanism": mechanism, "seed": seed, "people": 250, "method": method, "recall@1": 0.4 + value,
                     "error": 0.02, "gain": value, "gain_error": 0.02, "margin": value,
                     "margin_error": 0.02, "ceiling": 0.8, "kept": "trained"}
                )  # fmt: skip
    results, readme = tmp_path / "results.tsv", tmp_path / "README.md"
    pd.DataFrame(rows).to_csv(results, sep="\t", index=False)
    readme.write_text("before\n<!-- table -->\nold\n<!-- end of table -->\nafter\n")
    contrast_map.main(results, readme, tmp_path / "map.png")
    cells = contrast_map.winners(pd.read_csv(results, sep="\t")).set_index("mechanism")
    np.testing.assert_allclose(cells["errors"], np.array([0.2, 0.02, -0.2]) / (0.02 / np.sqrt(2)))
    text = readme.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| a, 250 | textbook InfoNCE (0.200" in text
    assert "| textbook InfoNCE | **0.60*** | **0.42** | 0.20 |" in text
    assert "| b, 250 | tie" in text
    assert "| c, 250 | closed form" in text
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_the_recipes_of_the_page_are_two_commands_each(networks):
    lines = (FOLDER / "README.md").read_text().replace("\\\n", " ").splitlines()
    found = [line.split()[1:] for line in lines if line.startswith(("genebrain pretrain", "genebrain fit"))]
    assert [verb for verb, *_ in found] == ["pretrain", "fit"] * 2
    for verb, *words in found:
        assert config.compose(verb, [word for word in words if not word.startswith("plugins=")])
