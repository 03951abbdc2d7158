from __future__ import annotations

from pathlib import Path

import cyvcf2
import numpy as np
import pandas as pd
import pysam
import pytest

from genebrain.common.types import UserError
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.genome.families import inherit, plan_families
from genebrain.simulation.genome.genomes import simulate_regions
from genebrain.simulation.genome.sources import real_genomes_folder
from genebrain.simulation.known_answer import FILE, read_known_answer
from genebrain.simulation.traits import choose_causal, genetic_values

SMALL = {"n_frames": 20, "n_parcels": 60, "n_genomewide": 200}


def alleles_of(path: Path) -> tuple[list[str], np.ndarray]:
    """Samples, and alternate-allele counts ``[people, sites]``."""
    reader = cyvcf2.VCF(str(path), gts012=True)
    dosage = np.array([record.gt_types.copy() for record in reader]).T
    samples = list(reader.samples)
    reader.close()
    return samples, dosage


@pytest.mark.parametrize("awkward", [False, True])
def test_reference_alleles_agree_with_the_sequence(tmp_path: Path, awkward: bool) -> None:
    folder = simulate_cohort(tmp_path / "c", "smoke", 50, seed=2, awkward=awkward, n_windows=5, **SMALL).parent
    kinds = {"indel": 0, "many": 0, "star": 0, "symbolic": 0, "missing": 0, "unphased": 0}
    last: tuple[str, int] = ("", 0)
    with pysam.FastaFile(str(folder / "reference.fa")) as fasta:
        reader = cyvcf2.VCF(str(folder / "genotypes.vcf.gz"))
        for record in reader:
            assert fasta.fetch(record.CHROM, record.start, record.start + len(record.REF)).upper() == record.REF
            if not awkward and last[0] == record.CHROM:
                assert record.start >= last[1], "records overlap"
            last = (record.CHROM, record.start + len(record.REF))
            calls = record.genotype.array()
            kinds["indel"] += record.is_indel
            kinds["many"] += len(record.ALT) > 1
            kinds["star"] += "*" in record.ALT
            kinds["symbolic"] += "<DEL>" in record.ALT
            kinds["missing"] += bool((calls[:, :2] < 0).any())
            kinds["unphased"] += bool((calls[:, 2] == 0).any() and (calls[:, :2] >= 0).all())
        reader.close()
        letters = "".join(fasta.fetch(name) for name in fasta.references)
    assert kinds["indel"] > 0
    assert all(count > 0 for kind, count in kinds.items() if kind != "indel") == awkward
    assert ("N" in letters and any(base in letters for base in "acgt")) == awkward
    assert bool(read_known_answer(folder / FILE)["policies"]) == awkward


def test_siblings_share_half_and_twins_everything(tmp_path: Path) -> None:
    settings = {**SMALL, "n_genomewide": 2000}
    folder = simulate_cohort(tmp_path / "c", "families", 200, seed=6, **settings).parent
    people = pd.read_csv(folder / "participants.tsv", sep="\t")
    for file in ("genotypes.vcf.gz", "genomewide.vcf.gz"):
        samples, dosage = alleles_of(folder / file)
        row = {name: number for number, name in enumerate(samples)}
        families = [group for _, group in people.groupby("family_id") if len(group) == 2]
        pairs = [[row[name] for name in group["genotype_id"]] for group in families]
        twins = [pair for pair in pairs if (dosage[pair[0]] == dosage[pair[1]]).all()]
        assert len(twins) == 10
        assert len(pairs) - len(twins) == 30
    samples, dosage = alleles_of(folder / "genomewide.vcf.gz")
    scaled = dosage - dosage.mean(0)
    relation = [float((scaled[a] * scaled[b]).mean() / scaled.var()) for a, b in pairs if [a, b] not in twins]
    assert np.mean(relation) == pytest.approx(0.5, abs=0.05)


def test_children_inherit_stretches_of_their_parents() -> None:
    founders = np.zeros((50, 2, 2), np.int8)
    founders[:, 0, 1] = 1
    pedigree = plan_families(2, 1.0, 0.0)
    linked = inherit(founders, pedigree, np.zeros(50), np.random.default_rng(0))
    assert all(len(np.unique(linked[:, child, 0])) == 1 for child in range(2))
    assert not linked[:, :, 1].any()
    free = inherit(founders, pedigree, np.full(50, 0.5), np.random.default_rng(0))
    assert 10 < free[:, 0, 0].sum() < 40


def test_groups_differ_by_the_wanted_amount() -> None:
    groups = np.repeat(np.arange(4), 60)
    rng = np.random.default_rng(8)
    between = within = 0.0
    for region in simulate_regions(groups, n_windows=10, window_bp=20_000, n_contigs=1, fst=0.05, rng=rng):
        share = np.stack([region.haplotypes[:][:, groups == group].mean(axis=(1, 2)) for group in range(4)])
        size = 2 * 60
        within += (2 * share * (1 - share) * size / (size - 1)).mean(axis=0).sum()
        mean = share.sum(axis=0)
        between += ((mean * (4 - mean) - (share * (1 - share)).sum(axis=0)) * 2 / 12).sum()
    assert 1 - within / between == pytest.approx(0.05, abs=0.02)


def test_genetic_values_are_white_and_know_their_architecture() -> None:
    rng = np.random.default_rng(3)
    dosage = rng.binomial(2, 0.4, (800, 16))
    none = np.zeros(800, np.int64)
    explained = {}
    for architecture in ("additive", "dominance", "epistasis"):
        g = genetic_values(dosage, 4, architecture, none, np.random.default_rng(1))  # type: ignore[arg-type]
        np.testing.assert_allclose(g.T @ g / 800, np.eye(4), atol=1e-8)
        design = dosage - dosage.mean(0)
        fitted = design @ np.linalg.lstsq(design, g, rcond=None)[0]
        explained[architecture] = fitted.var() / g.var()
    assert explained["additive"] == pytest.approx(1.0)
    assert explained["dominance"] < 0.05
    assert explained["epistasis"] == pytest.approx(0.5, abs=0.1)
    with pytest.raises(UserError, match="3 causal variants"):
        genetic_values(dosage[:, :3], 4, "additive", none, rng)


def test_causal_variants_are_spread_common_and_inside() -> None:
    rng = np.random.default_rng(4)
    dosages = [rng.binomial(2, 0.3, (20, 300)).astype(np.int8) for _ in range(5)]
    usable = [np.arange(20) >= 10 for _ in range(5)]
    chosen = choose_causal(dosages, usable, 15, rng)
    assert len(set(chosen)) == 15
    assert np.bincount([window for window, _ in chosen]).tolist() == [3] * 5
    assert min(site for _, site in chosen) >= 10
    assert len(choose_causal(dosages, usable, 1000, rng)) == 50


def test_real_genomes(tmp_path: Path) -> None:
    try:
        source = real_genomes_folder()
    except UserError as error:
        pytest.skip(str(error))
    folder = simulate_cohort(tmp_path / "c", "smoke", 60, genomes="chr20_1000g", n_frames=20).parent
    people = pd.read_csv(folder / "participants.tsv", sep="\t")
    assert len(people) == 60
    assert set(people["genotype_id"]) <= set(alleles_of(source / "genotypes.vcf.gz")[0])
    assert (folder / "genotypes.vcf.gz").read_bytes() == (source / "genotypes.vcf.gz").read_bytes()
