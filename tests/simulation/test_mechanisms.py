"""Mechanisms of simulated cohorts: every one through real files, and the truth it claims."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pysam
import pytest

from genebrain.cohort.participants import load_cohort
from genebrain.common.types import UserError
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.genome.genomes import simulate_regions
from genebrain.simulation.known_answer import FILE, read_known_answer, read_truth
from genebrain.simulation.mechanisms import MECHANISMS, Mechanism, register_mechanism
from genebrain.simulation.mechanisms.delays import DelayedSources
from genebrain.simulation.mechanisms.hrf import coupled_networks
from genebrain.simulation.mechanisms.moments_together import LoudNetworks
from genebrain.simulation.mechanisms.motif import draw_words, word_counts
from genebrain.simulation.mechanisms.oscillators import SHIFT_HZ, coupled_oscillators
from genebrain.simulation.mechanisms.registry import Conditions
from genebrain.simulation.mechanisms.switching import DWELL_S, LOUDNESS, SwitchingGroups
from genebrain.simulation.scans import Parcels

SMALL = {"n_frames": 40, "n_parcels": 80, "n_genomewide": 60, "n_windows": 8}
OWN = sorted(set(MECHANISMS) - {"modes"})


def conditions(n: int) -> Conditions:
    return Conditions(np.zeros((n, 80)), np.zeros(n, np.int64), np.full(n, 0.1))


@pytest.mark.parametrize("name", OWN)
def test_every_mechanism_gives_files_that_load_and_a_truth_that_fits(name: str, tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "c", n_subjects=60, seed=1, mechanism=name, **SMALL)
    cohort = load_cohort(path)
    answer, truth = read_known_answer(path.parent / FILE), read_truth(path.parent / FILE)
    k, h2 = answer["k"], answer["h2"]
    assert len(cohort) == len(cohort.scans) == 60
    assert answer["tier"] == name
    np.testing.assert_allclose(truth["g"].T @ truth["g"] / 60, np.eye(k), atol=1e-4)
    scans = [np.load(p) for p in cohort.scans["path"][:5]]
    assert all(scan.shape == (40, 80) and np.isfinite(scan).all() for scan in scans)
    # Trait and genetic value are correlated by the root of the heritability, in every dimension on average.
    r = np.mean([np.corrcoef(truth["g"][:, d], truth["z"][:, d])[0, 1] for d in range(k)])
    assert r == pytest.approx(np.sqrt(h2), abs=0.15)
    if not MECHANISMS[name].exact:
        np.testing.assert_allclose(truth["u"], truth["z"], atol=1e-5)
        assert answer["r2"] == h2
        assert "upper bound" in answer["source"]


@pytest.mark.parametrize("name", ["hrf", "motif"])
def test_a_null_twin_is_the_same_without_the_relation(name: str, tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "c", n_subjects=120, seed=2, mechanism=name, null_twin=True, **SMALL)
    answer, truth = read_known_answer(path.parent / FILE), read_truth(path.parent / FILE)
    assert answer["ceiling"][64]["recall@1"] == 1 / 64
    assert np.abs(truth["g"].T @ truth["z"] / 120).max() < 4.5 / np.sqrt(120)
    other = simulate_cohort(tmp_path / "d", n_subjects=120, seed=2, mechanism=name, **SMALL)
    assert (other.parent / "genotypes.vcf.gz").read_bytes() == (path.parent / "genotypes.vcf.gz").read_bytes()
    np.testing.assert_allclose(np.var(read_truth(other.parent / FILE)["z"]), np.var(truth["z"]), rtol=0.1)


def test_same_settings_same_bytes(tmp_path: Path) -> None:
    paths = [
        simulate_cohort(tmp_path / name, n_subjects=40, seed=4, mechanism="mix", **SMALL).parent for name in ("a", "b")
    ]
    for one, other in zip(*(sorted(p for p in path.rglob("*") if p.is_file()) for path in paths), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_impossible_settings_are_told(tmp_path: Path) -> None:
    out = tmp_path / "c"
    with pytest.raises(UserError, match=r"no mechanism 'hfr'; did you mean 'hrf'"):
        simulate_cohort(out, mechanism="hfr")
    with pytest.raises(UserError, match="tier=hard with mechanism=hrf: it has settings of its own"):
        simulate_cohort(out, "hard", mechanism="hrf")
    with pytest.raises(UserError, match="n_parcels=10 is too few for 12 networks"):
        simulate_cohort(out, mechanism="hrf", n_parcels=10)
    with pytest.raises(UserError, match="k=8 groups need 32"):
        simulate_cohort(out, mechanism="switching", n_parcels=20)
    with pytest.raises(UserError, match=r"would change the words(.|\n)*needs simulated genomes|genomes=chr20"):
        simulate_cohort(out, mechanism="motif", awkward=True, genomes="chr20_1000g")
    assert not out.exists()


def test_nobody_with_a_rare_allele_makes_no_trait(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rare alleles of 8 windows span 0 dimensions"):  # below 1 % of 40 people
        simulate_cohort(tmp_path / "c", n_subjects=40, mechanism="burden", **SMALL)


def test_a_name_is_given_once() -> None:
    class Again(Mechanism):
        name = "hrf"
        summary = "taken"

    with pytest.raises(UserError, match="mechanism 'hrf' is registered twice"):
        register_mechanism(Again)


def test_the_design_explains_the_genetic_values(tmp_path: Path) -> None:
    for name in ("dense", "few_loci", "motif"):
        path = simulate_cohort(tmp_path / name, n_subjects=150, seed=5, mechanism=name, **SMALL | {"n_windows": 4})
        truth = read_truth(path.parent / FILE)
        design = truth["design"] - truth["design"].mean(axis=0)
        fitted = design @ np.linalg.lstsq(design, truth["g"], rcond=None)[0]
        assert np.abs(fitted - truth["g"]).max() < 0.02, name
        # Standard normal effects on the columns give values of unit variance.
        assert np.sum(design**2) / 150 == pytest.approx(1, rel=0.02), name


def test_few_loci_carry_their_share(tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "c", n_subjects=300, seed=5, mechanism="few_loci", **SMALL)
    size = np.sort((read_truth(path.parent / FILE)["design"] ** 2).mean(axis=0))[::-1]
    assert size[:6].sum() == pytest.approx(0.4, abs=0.03)
    assert size[5] > 10 * size[6]


def test_words_are_counted_as_in_the_written_sequences(tmp_path: Path) -> None:
    """Haplotypes put together from the VCF and the reference by hand, letter by letter."""
    path = simulate_cohort(tmp_path / "c", n_subjects=30, seed=3, mechanism="motif", k=2, **SMALL | {"n_windows": 2})
    rng = np.random.default_rng([3, 0])
    regions = list(
        simulate_regions(np.zeros(30, np.int64), n_windows=2, window_bp=20_000, n_contigs=3, fst=0.05, rng=rng)
    )
    words = draw_words(6, np.random.default_rng(0))
    reference = pysam.FastaFile(str(path.parent / "reference.fa"))
    records = list(pysam.VariantFile(str(path.parent / "genotypes.vcf.gz")))
    bed = [line.split("\t") for line in (path.parent / "windows.bed").read_text().splitlines()]
    assert any(len(r.ref) != len(r.alts[0]) for r in records), "indels are among them"
    letters = {b: i for i, b in enumerate("ACGT")}
    found = np.zeros((30, len(words)), int)
    for person, copy in itertools.product(range(0, 30, 6), range(2)):
        for contig, start, end, *_ in bed:
            first, last = int(start), int(end)
            here, text, origin = first, "", []
            for r in (r for r in records if r.contig == contig):
                if r.samples[person].allele_indices[copy] == 0 or r.stop <= first or r.start >= last + 200:
                    continue
                plain = reference.fetch(contig, here, max(here, r.start))
                added = r.alts[0] if r.start >= first else ""
                text += plain + added
                origin += list(range(here, here + len(plain))) + [r.start] * len(added)
                here = r.stop
            tail = reference.fetch(contig, here, last + 400)
            text, origin = text + tail, np.array(origin + list(range(here, here + len(tail))))
            for w, word in enumerate(words):
                for i in np.flatnonzero(origin[: len(text) - 7] < last):
                    found[person, w] += all(word[j, letters[text[i + j]]] for j in range(8))
    counted = word_counts(regions, words)
    assert found[::6].sum() > 100
    np.testing.assert_array_equal(counted[::6], found[::6])


def test_couplings_of_networks_follow_the_trait() -> None:
    rng = np.random.default_rng(0)
    model = coupled_networks(Parcels.random(80, rng), 4, 3, 0.735, rng)
    trait = np.repeat([[2.0, 0, 0, 0], [-2.0, 0, 0, 0]], 4, axis=0)
    scans = model.scans(trait, conditions(8), 2000, rng).astype(np.float64)
    network = model.weight.argmax(axis=1)
    means = np.stack([scans[:, :, network == n].mean(axis=2) for n in range(12)], axis=2)
    one, other = np.triu_indices(12, 1)
    r = np.array([np.corrcoef(scan.T)[one, other] for scan in means])
    change = r[:4].mean(axis=0) - r[4:].mean(axis=0)
    assert np.corrcoef(change, model.loading[:, 0])[0, 1] > 0.8


def test_frequencies_of_oscillators_follow_the_trait() -> None:
    rng = np.random.default_rng(1)
    model = coupled_oscillators(Parcels.random(80, rng), 2, 0.735, rng)
    trait = np.repeat([[0.0, 2.0], [0.0, -2.0]], 3, axis=0)
    scans = model.scans(trait, conditions(6), 3000, rng).astype(np.float64)
    power = np.abs(np.fft.rfft(scans - scans.mean(axis=1, keepdims=True), axis=1)) ** 2
    hz = np.fft.rfftfreq(3000, 0.735)
    slow = hz < 0.15
    centre = (power[:, slow] * hz[slow, None]).sum(axis=1) / power[:, slow].sum(axis=1)
    change = centre[:3].mean(axis=0) - centre[3:].mean(axis=0)
    assert np.corrcoef(change, model.shift[:, 1])[0, 1] > 0.8
    assert np.sqrt(np.mean(model.shift[:, 1] ** 2)) == pytest.approx(SHIFT_HZ)
    assert not model.shift[:, 0].any()


def test_dwell_times_follow_the_trait_and_odd_dimensions_leave_the_share_alone() -> None:
    model = SwitchingGroups(np.repeat([0, 1], 4), np.ones(8), 0.5)
    trait = np.array([[1.0, 1.0], [-1.0, -1.0]])
    states = model.states(np.repeat(trait, 20, axis=0), 4000, np.random.default_rng(2)).reshape(2, 20, 4000, 2)
    share = states.mean(axis=(1, 2))
    odds = np.exp(LOUDNESS)
    np.testing.assert_allclose(share[:, 0], [odds / (1 + odds), 1 / (1 + odds)], atol=0.02)
    np.testing.assert_allclose(share[:, 1], 0.5, atol=0.02)
    switches = np.abs(np.diff(states.astype(int), axis=2)).mean(axis=(1, 2))[:, 1]
    expected = 1 - np.exp(-0.5 / (DWELL_S * np.exp(LOUDNESS * trait[:, 1])))
    np.testing.assert_allclose(switches, expected, rtol=0.1)


def test_networks_are_loud_together_and_no_covariance_tells() -> None:
    rng = np.random.default_rng(0)
    network = np.arange(16) % 8
    model = LoudNetworks(network, np.ones(16), np.linalg.qr(rng.normal(size=(28, 1)))[0], 0.735)
    ways = {}
    for sign in (-3.0, 3.0):
        scans = model.scans(np.full((60, 1), sign), conditions(60), 200, rng)
        loud = np.log(scans**2 + 0.1)
        loud -= loud.mean(axis=1, keepdims=True)
        ways[sign] = tuple(np.einsum("ntp,ntq->pq", x, x)[:8, :8] / 12_000 for x in (scans, loud))
    pairs = np.triu_indices(8, 1)
    plain, envelopes = ((ways[3.0][i] - ways[-3.0][i])[pairs] for i in range(2))
    expected = model.loading[:, 0]
    assert np.corrcoef(envelopes, expected)[0, 1] > 0.8
    assert np.abs(np.corrcoef(plain, expected)[0, 1]) < 0.5


def test_a_delay_moves_a_parcel_and_leaves_its_variance() -> None:
    rng = np.random.default_rng(1)
    model = DelayedSources(np.ones((4, 6)) / np.sqrt(6), np.array([[0.0], [0.0], [2 * 0.735], [0.0]]), 0.735)
    scans = model.scans(np.ones((40, 1)), conditions(40), 200, rng)
    late = [np.mean(scans[:, 3:-3, 0] * scans[:, 3 + lag : 197 + lag, 2]) for lag in range(4)]
    assert int(np.argmax(late)) == 2
    np.testing.assert_allclose(scans.var(axis=(0, 1)), scans.var(axis=(0, 1)).mean(), rtol=0.1)


@pytest.mark.parametrize("name", ["recessive", "burden"])
def test_genes_act_as_their_mechanism_says(name: str, tmp_path: Path) -> None:
    path = simulate_cohort(tmp_path / "c", n_subjects=300, seed=3, mechanism=name, **SMALL)
    truth, samples = read_truth(path.parent / FILE), load_cohort(path).table["genotype_id"].tolist()
    with pysam.VariantFile(str(path.parent / "genotypes.vcf.gz")) as file:
        counts = np.array([[sum(record.samples[one]["GT"]) for one in samples] for record in file])
    share = counts.mean(axis=1) / 2
    minor = np.where(share[:, None] > 0.5, 2 - counts, counts)[np.minimum(share, 1 - share) >= 0.1]
    frequent = {copies: (minor == copies).astype(float) for copies in (1, 2)}
    told = {
        copies: max(abs(np.corrcoef(row, truth["g"][:, d])[0, 1]) for row in rows if row.std() for d in range(8))
        for copies, rows in frequent.items()
    }
    if name == "recessive":
        assert told[2] > 0.45 > told[1]
    else:
        assert max(told.values()) < 0.4
