"""A second cohort of the same truth: other people, the same effects, perhaps another scanner."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cyvcf2
import numpy as np
import pandas as pd
import pytest

from genebrain.common.types import UserError
from genebrain.evaluation.ceiling import oracle_pair_vectors
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.draw import draw
from genebrain.simulation.known_answer import FILE, read_known_answer, read_truth
from genebrain.simulation.second_settings import SecondCohort
from genebrain.simulation.settings import checked
from tests.simulation.test_simulate import expected_recall

SMALL = {"n_frames": 40, "n_parcels": 30, "n_genomewide": 300, "n_windows": 6, "window_bp": 8_000}


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    first = simulate_cohort(folder / "A", n_subjects=200, seed=3, **SMALL)
    return first.parent, simulate_cohort(folder / "B", n_subjects=150, seed=9, like=first).parent


def genotypes(folder: Path) -> tuple[list[str], dict[tuple[str, int, str, str], np.ndarray]]:
    reader = cyvcf2.VCF(str(folder / "genotypes.vcf.gz"), gts012=True)
    found = {(v.CHROM, v.POS, v.REF, v.ALT[0]): v.gt_types.astype(np.int8) for v in reader}
    return list(reader.samples), found


def in_file_order(folder: Path, samples: list[str]) -> np.ndarray:
    """Rows of participants.tsv in the order of the genotype file."""
    table = pd.read_csv(folder / "participants.tsv", sep="\t")
    return np.array([table.index[table["genotype_id"] == name][0] for name in samples])


def test_the_effects_of_the_first_cohort_give_the_genetic_values_of_the_second(pair):
    """A regression within the first cohort, by its files, predicts the second one's values exactly."""
    (names_a, a), (names_b, b) = genotypes(pair[0]), genotypes(pair[1])
    answer = read_known_answer(pair[0] / FILE)
    drawn = draw(checked(answer["settings"]), answer["settings"])
    keys = [
        (region.contig, int(region.position[site]) + 1, region.ref[site], region.alt[site])
        for region, site in ((drawn.source.regions[window], site) for window, site in drawn.genetic.causal)
    ]
    absent = np.zeros(len(names_b))
    x_a = np.column_stack([np.ones(len(names_a)), *(a[key] for key in keys)])
    x_b = np.column_stack([np.ones(len(names_b)), *(b.get(key, absent) for key in keys)])
    g_a, g_b = (read_truth(folder / FILE)["g"] for folder in pair)
    effects = np.linalg.lstsq(x_a, g_a[in_file_order(pair[0], names_a)], rcond=None)[0]
    assert np.abs(x_a @ effects - g_a[in_file_order(pair[0], names_a)]).max() < 1e-4
    assert np.abs(x_b @ effects - g_b[in_file_order(pair[1], names_b)]).max() < 1e-4
    assert np.abs(g_b.std(axis=0) - 1).max() < 0.35


def test_people_are_others_of_the_same_population(pair):
    (names_a, a), (names_b, b) = genotypes(pair[0]), genotypes(pair[1])
    assert not set(names_a) & set(names_b)
    both = [key for key in a if key in b]
    common = [key for key in both if 0.1 < a[key].mean() / 2 < 0.9]
    frequencies = np.array([[a[key].mean() / 2, b[key].mean() / 2] for key in common])
    assert np.corrcoef(frequencies.T)[0, 1] > 0.97
    assert np.abs(frequencies[:, 0] - frequencies[:, 1]).mean() < 0.04
    assert len(b) > len(both) > 0.5 * len(b)  # there are variants that the first cohort has not
    one, other = (np.stack([found[key] for key in both]).T for found in (a, b))
    same = (one[:, None] == other[None]).all(axis=2)
    assert same.mean() < 0.01
    for file in ("reference.fa", "windows.bed", "parcel_coordinates.tsv"):
        digests = {hashlib.sha256((folder / file).read_bytes()).hexdigest() for folder in pair}
        assert len(digests) == 1, file


def test_linkage_is_that_of_the_population(pair):
    (_, a), (_, b) = genotypes(pair[0]), genotypes(pair[1])
    common = [key for key in a if key in b and key[0] == "chr1" and 0.15 < a[key].mean() / 2 < 0.85][:40]
    r2 = [np.corrcoef(np.stack([found[key] for key in common]).astype(float)) ** 2 for found in (a, b)]
    upper = np.triu_indices(len(common), 1)
    assert np.corrcoef(r2[0][upper], r2[1][upper])[0, 1] > 0.9


def test_the_oracle_reaches_the_ceiling_in_the_second_cohort(pair):
    answer, truth = read_known_answer(pair[1] / FILE), read_truth(pair[1] / FILE)
    gene, brain = oracle_pair_vectors(truth["g"], truth["u"], answer["r2"])
    value, error = expected_recall(gene @ brain.T)
    assert abs(value - answer["ceiling"][64]["recall@1"]) < 4 * error
    assert answer["n_subjects"] == 150
    assert answer["r2"] == read_known_answer(pair[0] / FILE)["r2"]


def test_a_second_of_a_second_has_the_same_truth(pair, tmp_path):
    third = simulate_cohort(tmp_path / "C", n_subjects=60, seed=10, like=pair[1]).parent
    again = simulate_cohort(tmp_path / "D", n_subjects=60, seed=10, like=pair[0]).parent
    assert np.array_equal(read_truth(third / FILE)["g"], read_truth(again / FILE)["g"])


def test_another_scanner_changes_the_scans_and_nothing_else(pair, tmp_path):
    plain = simulate_cohort(tmp_path / "plain", n_subjects=30, seed=11, like=pair[0]).parent
    other = {"gain": 3.0, "noise": 0.5}
    changed = simulate_cohort(
        tmp_path / "other", n_subjects=30, seed=11, like=pair[0], tr=2.0, second=SecondCohort(**other)
    ).parent
    loud = simulate_cohort(tmp_path / "loud", n_subjects=30, seed=11, like=pair[0], second=SecondCohort(gain=3)).parent
    assert (plain / "genotypes.vcf.gz").read_bytes() == (changed / "genotypes.vcf.gz").read_bytes()
    assert (plain / "participants.tsv").read_bytes() == (changed / "participants.tsv").read_bytes()
    assert np.array_equal(read_truth(plain / FILE)["z"], read_truth(changed / FILE)["z"])
    name = pd.read_csv(plain / "scans.tsv", sep="\t")["path"].iloc[4]
    quiet, noisy, louder = (np.load(folder / name) for folder in (plain, changed, loud))
    assert np.allclose(louder, 3 * quiet, rtol=1e-5)
    assert pd.read_csv(changed / "scans.tsv", sep="\t")["tr"].unique().tolist() == [2.0]
    steps = [np.corrcoef(x[:-1, 0], x[1:, 0])[0, 1] for x in (quiet, noisy)]
    assert steps[1] < steps[0]  # slower sampling and white noise: frames are less alike
    assert "upper bound" in read_known_answer(changed / FILE)["source"]
    assert "upper bound" not in read_known_answer(plain / FILE)["source"]


def test_mix_sites_and_frequencies(tmp_path):
    small = {**SMALL, "n_parcels": 40, "n_windows": 8, "window_bp": 12_000, "k": 4}
    first = simulate_cohort(tmp_path / "A", "causal_confounded", 150, seed=4, n_groups=3, n_sites=3, **small)
    second = SecondCohort(mix=[0.5, 0.5, 0], sites="new", fst=0.05)
    other = simulate_cohort(tmp_path / "B", n_subjects=100, seed=5, like=first, second=second).parent
    table = pd.read_csv(other / "participants.tsv", sep="\t")
    assert table["ancestry"].value_counts().to_dict() == {"group01": 50, "group02": 50}
    assert set(table["site"]) <= {"site04", "site05", "site06"}
    with pytest.raises(UserError, match="has 2 shares, and the cohort has 3 ancestry groups"):
        simulate_cohort(tmp_path / "C", n_subjects=100, seed=5, like=first, second=SecondCohort(mix=[1, 1]))
    distance = {}
    for fst in (0.0, 0.05):
        out = simulate_cohort(tmp_path / f"F{fst}", n_subjects=150, seed=6, like=first, second=SecondCohort(fst=fst))
        (_, a), (_, b) = genotypes(first.parent), genotypes(out.parent)
        p, q = np.array([[a[key].mean() / 2, b[key].mean() / 2] for key in a if key in b]).T
        distance[fst] = ((p - q) ** 2).sum() / (p * (1 - p)).sum()
    assert distance[0.05] > 2.5 * distance[0.0]


@pytest.mark.parametrize("mechanism", ["dense", "few_loci", "motif", "hrf"])
def test_every_kind_of_effect_has_a_second_cohort(mechanism, tmp_path):
    first = simulate_cohort(tmp_path / "A", n_subjects=80, seed=3, mechanism=mechanism, k=4, **SMALL)
    other = simulate_cohort(tmp_path / "B", n_subjects=80, seed=8, like=first).parent
    spread = read_truth(other / FILE)["g"].std(axis=0)
    assert spread.min() > 0.4
    assert spread.max() < 2.0


def test_what_cannot_be_is_refused_together(pair, tmp_path):
    with pytest.raises(UserError, match=r"tier=hard comes from .*; seed=3 is that of"):
        simulate_cohort(tmp_path / "x", "hard", seed=3, like=pair[0] / "cohort.yaml")
    with pytest.raises(UserError, match=r"there is no known_answer\.json beside it"):
        simulate_cohort(tmp_path / "x", seed=5, like=tmp_path)
    with pytest.raises(UserError, match=r"second\.gain=2: these belong to like=COHORT"):
        simulate_cohort(tmp_path / "x", seed=5, second=SecondCohort(gain=2))
    with pytest.raises(UserError, match=r"second\.gain=2: these belong to like=COHORT"):
        simulate_cohort(tmp_path / "x", seed=5, second={"gain": 2})
    with pytest.raises(UserError, match=r"second: no field gian; there are gain, noise"):
        simulate_cohort(tmp_path / "x", seed=5, second={"gian": 2})
    with pytest.raises(UserError, match=r'second: noise="loud": a number is wanted'):
        simulate_cohort(tmp_path / "x", seed=5, second={"noise": "loud"})
    with pytest.raises(UserError, match=r"second\.gain=0 must be above 0; second\.noise=-1"):
        SecondCohort(gain=0, noise=-1)
    real = simulate_cohort(tmp_path / "r", n_subjects=20, genomes="chr20_1000g", k=2, n_active=3, n_frames=40,
                           n_parcels=30)  # fmt: skip
    with pytest.raises(UserError, match="there are no others"):
        simulate_cohort(tmp_path / "x", seed=5, like=real)
