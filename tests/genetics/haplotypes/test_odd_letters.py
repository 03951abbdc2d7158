"""Letters and calls that are there only in part: read by rule and told, or an error that names the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.haplotypes.policies import Policies
from genebrain.genetics.haplotypes.told import genotype_funnel, told_genotypes
from tests.genetics.genome.genotype_writing import Record, write_fasta, write_vcf

DNA = "".join(np.random.default_rng(1).choice(list("ACGT"), 2000))
PEOPLE = list("abcd")
WINDOWS = [Window("1", 100, 1000, "A"), Window("1", 1000, 1900, "B")]


def other(position: int) -> str:
    return "C" if DNA[position] != "C" else "G"


def built(folder: Path, changes: dict[int, tuple[str, ...]] | None = None, dna: str = DNA) -> ChunkSet:
    """Ten records in either window, some of them with other calls."""
    calls = dict.fromkeys(range(150, 1900, 90), ("0|1", "1|0", "1|1", "0|0")) | (changes or {})
    rows = [Record(p, DNA[p], (other(p),), calls[p]) for p in sorted(calls)]
    vcf, fasta = write_vcf(folder / "g.vcf.gz", {"1": DNA}, rows, PEOPLE), write_fasta(folder / "r.fa", {"1": dna})
    return build_chunks(vcf, fasta, WINDOWS, PEOPLE, policies=Policies(missing_threshold=0.15), progress=False)


CALLS: dict[str, tuple[dict[int, tuple[str, ...]], str | None]] = {
    "all known": ({}, None),
    "one missing": ({240: ("./.", "1|0", "1|1", "0|0")}, "1 are missing and 0 half missing"),
    "three half missing": ({240: (".|1", "1|.", "1|1", ".|0")}, "0 are missing and 3 half missing"),
    "too many of one person": (
        dict.fromkeys((150, 240, 330), ("./.", "1|0", "1|1", "0|0")),
        "of 1 of 8 windows of people nothing is read",
    ),
    "one copy here and two there": (
        {240: ("1", "1|0", "1|1", "0|0"), 1140: ("0|1", "0", "1|1", "0|0")},
        "in 2 of 8 windows of people some genotypes have one allele and others two",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_is_not_known_of_a_genotype_is_told_and_kept_in_the_funnel(tmp_path, case):
    changes, words = CALLS[case]
    report = built(tmp_path, changes).report
    told = [line for line in told_genotypes(report) if "windows vary" not in line]
    assert bool(told) == (words is not None)
    assert words is None or words in "\n".join(told)
    funnel = genotype_funnel(report)["genotypes"]
    assert funnel["missing_genotypes_full"] + funnel["missing_genotypes_partial"] == sum(
        "." in call for row in changes.values() for call in row
    )


@pytest.mark.parametrize("letter", ["-", "*", "5", "U", "E", " "])
def test_letters_that_are_none_of_dna_are_named_with_their_place(tmp_path, letter):
    """Also where no record lies, whose REF would show it: they would be read as N without a word."""
    dna = DNA[:500] + letter + DNA[501:]
    with pytest.raises(UserError, match=r"letters that are none of DNA .*the first at 1:501|cannot be indexed"):
        built(tmp_path, dna=dna)


def test_small_letters_and_runs_of_n_are_dna(tmp_path):
    plain = built(tmp_path)
    soft = built(tmp_path, dna=DNA[:300] + DNA[300:800].lower() + DNA[800:])
    assert soft.sequences == plain.sequences
    assert np.array_equal(soft.index, plain.index)
    assert b"N" * 40 in b"".join(built(tmp_path, dna=DNA[:520] + "N" * 40 + DNA[560:]).sequences)


@pytest.mark.parametrize(("code", "letters"), [("R", "AG"), ("Y", "CT"), ("K", "GT"), ("M", "AC"), ("B", "CGT")])
def test_ref_of_an_ambiguous_letter_is_the_first_that_it_stands_for(tmp_path, code, letters):
    """As the format of VCF has it; any other letter is another genome."""
    place = next(p for p in range(150, 1900, 90) if DNA[p] == letters[0])
    assert not built(tmp_path, dna=DNA[:place] + code + DNA[place + 1 :]).report["reference_mismatches"]
    place = next(p for p in range(150, 1900, 90) if DNA[p] in letters[1:])
    with pytest.raises(UserError, match=f"REF differs .* at 1 of 20 records .* FASTA {code}"):
        built(tmp_path, dna=DNA[:place] + code + DNA[place + 1 :])
