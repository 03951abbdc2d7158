"""KING-robust against PLINK 2, and no true relation on two sides of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genebrain.cohort.relatedness.genomewide import read_dosages
from genebrain.cohort.relatedness.kinship import SECOND_DEGREE, families, related_pairs
from tests.oracles.kinship import king_robust


@pytest.fixture(scope="module")
def folder(golden: Path) -> Path:
    found = golden / "genotypes" / "kinship"
    if not found.is_dir():
        pytest.skip(f"no kinship cases in {golden}")
    return found


def _table(folder: Path, column: str) -> pd.DataFrame:
    """The table of the folder that has ``column``: told by what a file holds, not by its name."""
    for path in sorted(folder.glob("*.tsv")):
        table = pd.read_csv(path, sep="\t", dtype={0: str, 1: str})
        table.columns = [name.lstrip("#") for name in table.columns]
        if column in table.columns:
            return table
    pytest.skip(f"no table with a column {column}")


@pytest.fixture(scope="module")
def genotypes(folder: Path) -> tuple[list[str], np.ndarray]:
    files = sorted([*folder.glob("*.vcf.gz"), *folder.glob("*.bcf"), *folder.glob("*.pgen")])
    return read_dosages(files[0], minimum_maf=0.0)


def test_kinship_equals_plink2_to_four_digits(folder, genotypes):
    samples, dosage = genotypes
    row = {name: i for i, name in enumerate(samples)}
    table = _table(folder, "KINSHIP")
    first, second = table["IID1"].map(row).to_numpy(), table["IID2"].map(row).to_numpy()
    kinship = king_robust(dosage, block=16)
    assert len(table) > 0
    assert np.abs(kinship[first, second] - table["KINSHIP"]).max() < 1e-5  # PLINK prints six digits
    known = dosage >= 0
    assert np.array_equal((known[first] & known[second]).sum(axis=1), table["NSNP"])


def test_related_pairs_are_the_true_relations_and_nobody_else(folder, genotypes):
    samples, dosage = genotypes
    relations = _table(folder, "relation")
    pairs = related_pairs(dosage, block=16)
    found = {frozenset((samples[i], samples[j])) for i, j in zip(pairs.first, pairs.second, strict=True)}
    assert found == {frozenset(pair) for pair in relations[["a", "b"]].to_numpy()}
    label = families(len(samples), pairs.first, pairs.second)
    family = dict(zip(samples, label, strict=True))
    assert all(family[a] == family[b] for a, b in relations[["a", "b"]].to_numpy())


def test_thinned_snps_find_the_same_close_relatives(folder, genotypes):
    """Dropping every second SNP blurs kinship but keeps parents, siblings and twins above second degree."""
    samples, dosage = genotypes
    relations = _table(folder, "relation")
    close = relations[relations["expected_kinship"] >= 0.25]
    row = {name: i for i, name in enumerate(samples)}
    kinship = king_robust(dosage[:, ::2])
    assert (kinship[close["a"].map(row), close["b"].map(row)] > SECOND_DEGREE).all()
