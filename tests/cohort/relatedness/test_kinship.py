from __future__ import annotations

import numpy as np
import pandas as pd
import pgenlib
import pytest

from genebrain.cohort.relatedness.genomewide import read_dosages
from genebrain.cohort.relatedness.kinship import SAME_GENOME, families, related_pairs
from genebrain.cohort.relatedness.relatives import families_from
from genebrain.cohort.tables.problems import Problems
from genebrain.common.types import UserError
from tests.cohort.small_cohort import write_vcf
from tests.oracles.kinship import king_robust

N_SNPS = 6000


def haplotypes(n: int, seed: int = 0) -> np.ndarray:
    """Unlinked SNPs of ``n`` founders, bool ``[n, 2, SNPs]``."""
    random = np.random.default_rng(seed)
    return random.random((n, 2, N_SNPS)) < random.uniform(0.1, 0.9, N_SNPS)


def child(mother: np.ndarray, father: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    pick = random.integers(0, 2, (2, N_SNPS))
    return np.stack([np.where(pick[i], a[0], a[1]) for i, a in enumerate((mother, father))])


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """Dosages: 0 mother, 1 father, 2 and 3 siblings, 4 twin of 3, 5 half-sibling of 2 and 3, strangers."""
    founders = haplotypes(13)
    a, b = child(founders[0], founders[1], 1), child(founders[0], founders[1], 2)
    half = child(founders[0], founders[2], 3)
    return np.stack([*founders[:2], a, b, b, half, *founders[3:]]).sum(axis=1).astype(np.int8)


def test_known_relations_have_their_kinship(people):
    kinship = king_robust(people)
    expected = {
        (0, 2): 0.25,
        (1, 3): 0.25,
        (2, 3): 0.25,
        (3, 4): 0.5,
        (2, 5): 0.125,
        (0, 1): 0.0,
        (1, 5): 0.0,
    }
    for (i, j), value in expected.items():
        assert kinship[i, j] == pytest.approx(value, abs=0.03)
    assert np.allclose(np.diag(kinship), 0.5)
    assert np.allclose(kinship, kinship.T)


def test_blocks_and_swapped_alleles_change_nothing(people):
    whole = king_robust(people)
    assert np.array_equal(whole, king_robust(people, block=3))
    assert np.allclose(whole, king_robust(2 - people))
    assert np.array_equal(whole, king_robust(people.astype(np.float32)))


def test_missing_calls_are_left_out_pair_by_pair(people):
    holes = people.copy()
    holes[2, :3000] = -1
    kinship = king_robust(holes)
    assert kinship[2, 3] == pytest.approx(king_robust(people[:, 3000:])[2, 3])
    assert kinship[0, 3] == king_robust(people)[0, 3]
    with_nan = np.where(holes < 0, np.nan, holes)
    assert np.array_equal(king_robust(with_nan), kinship)


def test_pairs_are_those_of_the_full_matrix(people):
    kinship = king_robust(people)
    pairs = related_pairs(people, block=5)
    first, second = np.nonzero(np.triu(kinship >= 0.0884, 1))
    assert pairs.first.tolist() == first.tolist()
    assert pairs.second.tolist() == second.tolist()
    assert np.array_equal(pairs.kinship, kinship[first, second])
    assert pairs.at_least(SAME_GENOME).first.tolist() == [3]


def test_people_without_any_heterozygous_site_are_nobodys_relatives():
    empty = np.zeros((3, 50), np.int8)
    assert np.isnan(king_robust(empty)).all()
    assert len(related_pairs(empty)) == 0


def test_families_are_connected_components_in_order_of_appearance():
    assert families(6, np.array([4, 1]), np.array([5, 4])).tolist() == [0, 1, 2, 3, 1, 1]
    assert families(3, np.array([], int), np.array([], int)).tolist() == [0, 1, 2]


def test_dosages_out_of_range_or_shape_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.2"):
        king_robust(np.array([[3.0, 1.0]]))
    with pytest.raises(ValueError, match="people, SNPs"):
        king_robust(np.array([1.0, 2.0]))


def test_genome_wide_genotypes_make_families_in_any_sample_order(people, tmp_path):
    names = [f"p{i:02d}" for i in range(len(people))]
    order = np.random.default_rng(1).permutation(len(people))
    words = np.array(["0/0", "0/1", "1/1"])[people[order]]
    records = [(i, "A", "C", list(words[:, i])) for i in range(N_SNPS)]
    write_vcf(tmp_path / "all.vcf.gz", "chr7", [names[i] for i in order], records)
    table = pd.DataFrame({"participant_id": names, "genotype_id": names})
    problems = Problems()
    relatives = families_from(table, None, tmp_path / "all.vcf.gz", problems)
    assert relatives.family.tolist() == [0] * 6 + list(range(1, 11))
    assert relatives.genome[3] == relatives.genome[4]
    assert [problem.kind for problem in problems] == ["identical genomes"]


def test_only_common_biallelic_autosomal_snps_are_read_and_thinned(tmp_path):
    calls = ["0/1", "0/0", "1|1", "./."]
    records = [
        (10, "A", "C", calls),
        (20, "A", "C,G", calls),  # multiallelic
        (30, "AT", "C", calls),  # indel
        (40, "A", "G", ["0/0"] * 4),  # nobody carries it
        *[(pos, "G", "T", calls) for pos in range(50, 90)],
    ]
    write_vcf(tmp_path / "few.vcf.gz", "1", list("abcd"), records)
    samples, dosage = read_dosages(tmp_path / "few.vcf.gz")
    assert samples == list("abcd")
    assert dosage.shape == (4, 41)
    assert dosage[:, 0].tolist() == [1, 0, 2, -1]
    assert read_dosages(tmp_path / "few.vcf.gz", most=10)[1].shape[1] <= 10
    write_vcf(tmp_path / "x.vcf.gz", "chrX", list("abcd"), records)
    assert read_dosages(tmp_path / "x.vcf.gz")[1].shape == (4, 0)


def test_pgen_gives_the_same_dosages_as_vcf(people, tmp_path):
    names = [f"p{i}" for i in range(len(people))]
    dosage = np.where(np.random.default_rng(0).random(people.shape) < 0.02, -1, people)[:, :300]
    sites = [(chromosome, i) for i in range(300) for chromosome in ("1" if i < 200 else "X",)]
    text = "".join(f"{chromosome}\t{i + 1}\t.\tA\tC\n" for chromosome, i in sites)
    (tmp_path / "all.pvar").write_text("##made by hand\n#CHROM\tPOS\tID\tREF\tALT\n" + text)
    (tmp_path / "all.psam").write_text("#IID\tSEX\n" + "".join(f"{name}\t1\n" for name in names))
    with pgenlib.PgenWriter(str(tmp_path / "all.pgen").encode(), len(names), variant_ct=300) as writer:
        for calls in dosage.T:
            writer.append_biallelic(np.where(calls < 0, -9, calls).astype(np.int8))
    samples, read = read_dosages(tmp_path / "all.pgen", minimum_maf=0)
    assert samples == names
    assert np.array_equal(read, dosage[:, [i for chromosome, i in sites if chromosome == "1"]])
    (tmp_path / "all.psam").unlink()
    with pytest.raises(UserError, match=r"all\.psam"):
        read_dosages(tmp_path / "all.pgen")


def test_gene_windows_are_refused_as_a_source_of_kinship(tmp_path):
    write_vcf(tmp_path / "gene.vcf.gz", "1", ["a", "b"], [(pos, "G", "T", ["0|1", "1|1"]) for pos in range(60)])
    table = pd.DataFrame({"participant_id": ["a", "b"], "genotype_id": ["a", "b"]})
    problems = Problems()
    families_from(table, None, tmp_path / "gene.vcf.gz", problems)
    assert problems.errors[0].kind == "genomewide SNPs"
    assert problems.errors[0].counts == {"snps": 60}
