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
    assert "| b, 250 | tie" in text
    assert "| c, 250 | closed form" in text
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_the_recipes_of_the_page_are_two_commands_each(networks):
    lines = (FOLDER / "README.md").read_text().replace("\\\n", " ").splitlines()
    found = [line.split()[1:] for line in lines if line.startswith(("genebrain pretrain", "genebrain fit"))]
    assert [verb for verb, *_ in found] == ["pretrain", "fit"] * 2
    for verb, *words in found:
        assert config.compose(verb, [word for word in words if not word.startswith("plugins=")])
