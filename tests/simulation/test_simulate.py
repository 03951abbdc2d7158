from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genebrain.cohort.participants import load_cohort
from genebrain.common.types import UserError
from genebrain.evaluation.ceiling import oracle_pair_vectors
from genebrain.simulation import cohort as simulate
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.known_answer import FILE, read_known_answer, read_truth
from genebrain.simulation.tiers import TIERS

SMALL = {"n_frames": 40, "n_parcels": 60, "n_genomewide": 1000, "n_windows": 8}


def expected_recall(scores: np.ndarray, gallery: int = 64) -> tuple[float, float]:
    """Recall@1 over random galleries, and its standard error over people."""
    better = (scores > np.diag(scores)[:, None]).sum(1) / (len(scores) - 1)
    hit = (1 - better) ** (gallery - 1)
    return float(hit.mean()), float(hit.std() / np.sqrt(len(hit)))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("smoke") / "cohort", "smoke", 1000, seed=3, n_genomewide=200).parent


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_every_tier_gives_a_cohort_that_loads(tier: str, tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "cohort", tier, 120, seed=1, **SMALL)
    cohort = load_cohort(path)
    answer, truth = read_known_answer(path.parent / FILE), read_truth(path.parent / FILE)
    assert len(cohort) == 120
    assert len(cohort.scans) == 120 * TIERS[tier].n_sessions
    assert truth["g"].shape == truth["u"].shape == truth["z"].shape == (120, TIERS[tier].k)
    confounded = TIERS[tier].n_groups > 1
    assert (answer["ceiling"] is None) == confounded
    assert (answer["ceiling_within_strata"] is not None) == confounded
    assert ("ancestry" in cohort.table) == confounded
    assert "no relatedness" not in [problem.kind for problem in cohort.warnings]


def test_oracle_read_from_the_files_reaches_the_ceiling(smoke: Path) -> None:
    answer, truth = read_known_answer(smoke / FILE), read_truth(smoke / FILE)
    ceiling = answer["ceiling"][64]["recall@1"]
    gene, brain = oracle_pair_vectors(truth["g"], truth["u"], answer["r2"])
    value, error = expected_recall(gene @ brain.T)
    assert abs(value - ceiling) < 3 * error + 0.003
    assert ceiling == pytest.approx(0.877, abs=0.004)
    np.testing.assert_allclose(truth["g"].T @ truth["g"] / len(truth["g"]), np.eye(8), atol=1e-4)
    matched = [np.corrcoef(truth["g"][:, d], truth["u"][:, d])[0, 1] for d in range(8)]
    assert np.mean(matched) == pytest.approx(np.sqrt(answer["r2"]), abs=0.02)


def test_default_tier_reaches_its_ceiling_too(tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "cohort", "default", 1000, seed=5, n_genomewide=200)
    answer, truth = read_known_answer(path.parent / FILE), read_truth(path.parent / FILE)
    gene, brain = oracle_pair_vectors(truth["g"], truth["u"], answer["r2"])
    value, error = expected_recall(gene @ brain.T)
    assert answer["ceiling"][64]["recall@1"] == pytest.approx(0.810, abs=0.004)
    assert abs(value - answer["ceiling"][64]["recall@1"]) < 3 * error + 0.003


def test_tables_join_by_id_and_not_by_position(smoke: Path) -> None:
    people = pd.read_csv(smoke / "participants.tsv", sep="\t")
    scans = pd.read_csv(smoke / "scans.tsv", sep="\t")
    assert not people["participant_id"].equals(scans["participant_id"])
    assert not (people["participant_id"].str[1:] == people["genotype_id"].str[1:]).all()
    assert not people["genotype_id"].is_monotonic_increasing
    assert not any(name in path for name, path in zip(scans["participant_id"], scans["path"], strict=True))
    assert {"site", "sex", "age", "PC1", "PC10", "mean_fd", "family_id"} <= set(people.columns)


def test_null_has_no_link_between_genome_and_brain(tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "cohort", "null", 400, seed=2, n_genomewide=200)
    answer, truth = read_known_answer(path.parent / FILE), read_truth(path.parent / FILE)
    cross = truth["g"].T @ truth["u"] / 400
    assert np.abs(cross).max() < 4.5 / np.sqrt(400)
    assert answer["ceiling"][64]["recall@1"] == 1 / 64


def test_confound_ties_site_to_ancestry_and_leaves_the_trait_alone(tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "cohort", "causal_confounded", 600, seed=4, n_genomewide=1000)
    people = pd.read_csv(path.parent / "participants.tsv", sep="\t")
    g = read_truth(path.parent / FILE)["g"]
    same = (people["site"].str[-2:] == people["ancestry"].str[-2:]).mean()
    assert same == pytest.approx(0.9 + 0.1 / 12, abs=0.04)
    means = pd.DataFrame(g).groupby(people["ancestry"]).mean().to_numpy()
    np.testing.assert_allclose(means, 0, atol=1e-5)
    components = people[[f"PC{i}" for i in range(1, 11)]].to_numpy()
    centred = components - pd.DataFrame(components).groupby(people["ancestry"]).transform("mean").to_numpy()
    assert centred.var() < 0.3 * components.var()


def test_mislabelled_people_carry_another_genome(tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "cohort", "mislabeled", 300, seed=1, **SMALL)
    truth = read_truth(path.parent / FILE)
    swapped = truth["mislabelled"] > 0
    assert swapped.sum() == 60
    matched = np.einsum("ik,ik->i", truth["g"], truth["z"])
    assert matched[~swapped].mean() > 5 > 2 > matched[swapped].mean()


def test_same_settings_same_bytes_and_nothing_done_twice(tmp_path: Path) -> None:
    first = simulate_cohort(tmp_path / "one", "smoke", 40, seed=9, **SMALL)
    second = simulate_cohort(tmp_path / "two", "smoke", 40, seed=9, **SMALL)
    assert digests(first.parent) == digests(second.parent)
    stamp = first.stat().st_mtime_ns
    assert simulate_cohort(tmp_path / "one", "smoke", 40, seed=9, **SMALL) == first
    assert first.stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="seed: 9 there, 10 wanted"):
        simulate_cohort(tmp_path / "one", "smoke", 40, seed=10, **SMALL)


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        simulate_cohort(tmp_path, "smoke", 40)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(simulate, "write_known_answer", fail)
    with pytest.raises(UserError if isinstance(fault, OSError) else KeyboardInterrupt):
        simulate_cohort(tmp_path / "cohort", "smoke", 30, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_impossible_settings_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"n_parcels=7 is too few: (.|\n)*above the 12 modes(.|\n)*n_frames=1"):
        simulate_cohort(tmp_path / "cohort", "smoke", 40, n_parcels=7, n_frames=1)
    with pytest.raises(
        UserError,
        match=r"n_subjects=16 is too few: .* k=16 dimensions in n_groups=1 .* needs 17; n_windows=2 of window_bp=3000 "
        r"are 6,000 bases, too few for the 16 .*n_windows x window_bp = 40,000 bases",
    ):
        simulate_cohort(tmp_path / "cohort", "two_session", 16, n_windows=2, window_bp=3000)
    with pytest.raises(UserError, match=r"n_subjects=27 .* k=16 dimensions in n_groups=12 .* needs 28$"):
        simulate_cohort(tmp_path / "cohort", "causal_confounded", 27)
    with pytest.raises(
        UserError, match=r"6,000 bases, too few for the 16 independent causal variants of k=8: .*40,000"
    ):
        simulate_cohort(tmp_path / "cohort", "epistasis", 40, n_windows=1, window_bp=6000)
    with pytest.raises(UserError, match="no tier `smok`"):
        simulate_cohort(tmp_path / "cohort", "smok")
    with pytest.raises(UserError, match="unknown settings loud"):
        simulate_cohort(tmp_path / "cohort", "smoke", loud=3)
    with pytest.raises(UserError, match="300 people"):
        simulate_cohort(tmp_path / "cohort", "smoke", 301, genomes="chr20_1000g")


@pytest.mark.parametrize("linked", [False, True])
def test_windows_that_turn_out_too_poor_are_told_in_numbers(linked: bool, tmp_path: Path) -> None:
    words = r"40,000 bases suffice as a rule\), more people, or a smaller k"
    if linked:  # as many variants as dimensions, but they come together
        said = rf"the \d+ causal variants of these 40 people span \d+ dimensions only .* k=16: .*{words}"
        settings = {"n_windows": 2, "window_bp": 6000, "seed": 1}
    else:
        said = rf"\d+ causal variants \(MAF >= 0.05\) and 40 people for a trait of k=16 .* but 16 variants .*{words}"
        settings = {"n_windows": 2, "window_bp": 6000, "seed": 0}
    with pytest.raises(UserError, match=said):
        simulate_cohort(tmp_path / "cohort", "two_session", 40, **settings)
    assert not any(tmp_path.iterdir())


def test_windows_of_several_lengths(tmp_path: Path) -> None:
    """From the shortest to the longest, one behind the other and each at a multiple of 3,000."""
    bed = simulate_cohort(
        tmp_path / "c", n_subjects=40, n_windows=4, window_bp=6_000, longest_bp=15_000, n_contigs=2
    ).parent
    rows = [line.split("\t")[:3] for line in (bed / "windows.bed").read_text().splitlines()]
    spans = [(contig, int(start), int(end)) for contig, start, end in rows]
    assert [end - start for _, start, end in spans] == [6_000, 9_000, 12_000, 15_000]
    assert all(start % 3_000 == 0 for _, start, _ in spans)
    assert all(a[0] != b[0] or a[2] + 3_000 <= b[1] for a, b in pairwise(spans))
    with pytest.raises(UserError, match="longest_bp=6000 is shorter than window_bp=9000"):
        simulate_cohort(tmp_path / "d", n_subjects=40, window_bp=9_000, longest_bp=6_000)
