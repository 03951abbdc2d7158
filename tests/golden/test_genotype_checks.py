"""The look over genotypes counts exactly what was planted in the golden cohorts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from genebrain.cohort.checks.genotypes import check_genotypes
from genebrain.cohort.tables.problems import Problem, Problems


@pytest.fixture(scope="module")
def cases(golden: Path) -> list[Path]:
    """Folders with genotypes, a reference, windows and the flags counted by other tools."""
    found = sorted(path.parent for path in golden.glob("genotypes/*/expected_flags.tsv"))
    return found or pytest.skip(f"no genotype cases in {golden}")


def _references(folder: Path) -> tuple[Path, list[Path]]:
    """The true reference, and references that have a table of altered sites beside them."""
    fasta = sorted(folder.glob("*.fa"))
    altered = [path for path in fasta if path.with_suffix(".sites.tsv").is_file()]
    return next(path for path in fasta if path not in altered), altered


def _check(folder: Path, genotypes: Path, reference: Path) -> dict[str, Problem]:
    problems = Problems()
    check_genotypes(genotypes, reference, next(folder.glob("*.bed")), problems)
    return {problem.kind: problem for problem in problems}


def test_unphased_and_missing_calls_are_counted_exactly(cases):
    for folder in cases:
        flags = pd.read_csv(folder / "expected_flags.tsv", sep="\t")
        for genotypes in sorted(folder.glob("*.vcf.gz")):
            found = _check(folder, genotypes, _references(folder)[0])
            n_unphased = found["unphased"].counts["unphased"] if "unphased" in found else 0
            n_missing = found["missing genotypes"].counts["missing"] if "missing genotypes" in found else 0
            assert n_unphased == flags["unphased_het_genotypes"].sum()
            assert n_missing == flags.filter(like="missing_genotypes").to_numpy().sum()
            assert "reference mismatch" not in found


def test_every_altered_base_of_the_reference_is_found(cases):
    n_checked = 0
    for folder in cases:
        for reference in _references(folder)[1]:
            sites = pd.read_csv(reference.with_suffix(".sites.tsv"), sep="\t")
            for genotypes in sorted(folder.glob("*.vcf.gz")):
                problem = _check(folder, genotypes, reference)["reference mismatch"]
                assert problem.counts["mismatches"] == len(sites)
                assert f":{sites['pos_1based'][0]} {sites['vcf_ref'][0]}" in problem.message
                n_checked += 1
    if not n_checked:
        pytest.skip("no altered reference")
