"""Which letters decide a score: every way to write a variant asks the same, both strands mirror each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genebrain.common.types import UserError
from genebrain.genetics.genome.reference import Reference
from genebrain.genetics.variants.contexts import (
    SCORED,
    Comparison,
    GenomeLetters,
    ScoreRule,
    comparisons,
    other_strand,
    status_of,
    trim,
    upstream_context,
)

LETTERS = "NNNACGTACGGTACCCATTGACACACACAGGTTTACGGATCCATGcatgcANNATGAC"
DNA = st.text("ACGT", min_size=1, max_size=6)


class Letters(GenomeLetters):
    """A genome that is a string."""

    def __init__(self, text: str) -> None:
        self.contigs = {"c": len(text)}
        self._text = text

    def span(self, contig: str, start: int, end: int) -> str:
        return self._text[max(0, start) : max(0, end)]


def ask(genome: GenomeLetters, position: int, ref: str, alt: str, **rule: object) -> list[Comparison] | None:
    return comparisons(genome, "c", position, ref, alt, ScoreRule(**{"context_bp": 12, "downstream_bp": 4, **rule}))  # type: ignore[arg-type]


def test_a_substitution_reads_what_stands_before_it_on_each_strand() -> None:
    genome = Letters("AAACCCGGGTTTACGTCATGCA")
    forward, reverse = ask(genome, 13, "A", "T") or []
    assert forward == Comparison(b"AAACCCGGGTTT", "ACGTC", "TCGTC")
    assert reverse == Comparison(b"ATGACG", "TAAAC", "AAAAC")


def test_all_ways_to_write_an_indel_ask_the_same() -> None:
    genome = Letters("GATTGACACACACAGGTTTACGGATC")
    #                 123456789...  the repeat ACACACACA is 6-14
    wanted = ask(genome, 5, "GAC", "G")
    for position, ref, alt in (
        (5, "GAC", "G"),
        (6, "ACA", "A"),
        (8, "ACAC", "AC"),
        (12, "ACA", "A"),
        (13, "CAGG", "GG"),
    ):
        assert genome.span("c", position - 1, position - 1 + len(ref)) == ref
        assert ask(genome, position, ref, alt) == wanted, position
    inserted = ask(genome, 5, "G", "GAC")
    for position, ref, alt in ((14, "A", "ACA"), (8, "A", "ACA"), (5, "GA", "GACA")):
        assert ask(genome, position, ref, alt) == inserted, position
    forward = (wanted or [])[0]
    assert forward.context.endswith(b"ACACACA")
    assert forward.reference[0] != forward.alternative[0]


def test_strings_are_equally_long_and_end_before_an_unknown_letter() -> None:
    genome = Letters("ACGTACGTACGTTGANNNACGT")
    (forward,) = ask(genome, 13, "T", "TCC", strands="forward") or []
    assert forward == Comparison(b"ACGTACGTACGTT"[1:], "GA", "CC")
    assert ask(genome, 15, "A", "ACC", strands="forward") is None
    (substitution,) = ask(genome, 15, "A", "C", strands="forward") or []
    assert (substitution.reference, substitution.alternative) == ("A", "C")


@given(st.text("ACGT", min_size=30, max_size=40), st.integers(8, 20), DNA, st.integers(1, 5))
def test_the_other_strand_of_a_genome_swaps_the_two_comparisons(text: str, start: int, alt: str, length: int) -> None:
    ref = text[start : start + length]
    if ref == alt:
        return
    mirrored = Letters(other_strand(text))
    there = len(text) - start - length + 1
    forward, reverse = ask(Letters(text), start + 1, ref, alt) or (None, None)
    first, second = ask(mirrored, there, other_strand(ref), other_strand(alt)) or (None, None)
    assert (forward, reverse) == (second, first)


def test_a_soft_masked_genome_asks_what_its_upper_case_twin_asks() -> None:
    soft, hard = Letters("acgtRACGTaCGTTGAnnACgT"), Letters("ACGTNACGTACGTTGANNACGT")
    assert ask(soft, 14, "T", "G") == ask(hard, 14, "T", "G")
    assert ask(soft, 14, "T", "G", parity=True) != ask(hard, 14, "T", "G", parity=True)


def test_context_is_cut_on_the_left_after_leading_unknown_letters() -> None:
    assert upstream_context("NNACGTACGT", 12) == b"GTACGT"
    assert upstream_context("ACGTNNACGT", 5) == b""
    assert upstream_context("acgtacgg", 8, as_written=True) == b"gtacgg"
    assert upstream_context("ACGTAC", 0) == b""


def test_alleles_lose_what_they_share() -> None:
    assert trim("GAC", "G") == (1, "AC", "")
    assert trim("A", "ATT") == (1, "", "TT")
    assert trim("CAG", "CTG") == (1, "A", "T")
    assert trim("AA", "A") == (0, "A", "")


@pytest.mark.parametrize(
    ("position", "ref", "alt", "status"),
    [
        (4, "A", "C", SCORED),
        (4, "A", "<DEL>", "not_acgt"),
        (4, "A", "*", "not_acgt"),
        (4, "A", ".", "not_acgt"),
        (4, "a", "C", "not_acgt"),
        (4, "N", "C", "not_acgt"),
        (4, "A", "A", "same_alleles"),
        (4, "A", "C" * 9, "too_long"),
        (58, "AC", "A", "outside"),
        (900, "A", "C", "outside"),
        (4, "C", "A", "mismatch"),
        (1, "A", "C", "mismatch"),
    ],
)
def test_status(position: int, ref: str, alt: str, status: str) -> None:
    assert status_of(Letters(LETTERS), "c", position, ref, alt, ScoreRule(max_allele_bp=8)) == status


def test_parity_scores_single_bases_only() -> None:
    assert status_of(Letters(LETTERS), "c", 4, "AC", "A", ScoreRule(parity=True)) == "not_single_base"
    assert status_of(Letters(LETTERS), None, 4, "A", "C", ScoreRule()) == "contig_absent"


def test_letters_are_read_across_slabs(tmp_path: Path) -> None:
    text = "ACGT" * 40_000
    fasta = tmp_path / "g.fa"
    fasta.write_text(f">c\n{text}\n")
    with Reference(fasta) as reference:
        genome = GenomeLetters(reference)
        assert genome.span("c", 65_530, 131_080) == text[65_530:131_080]
        assert genome.span("c", -5, 3) == "ACG"
        assert genome.span("c", 159_998, 200_000) == "GT"


def test_wrong_rules_are_named_together() -> None:
    with pytest.raises(UserError, match=r"strands='up'.*context_bp=-1.*max_allele_bp=0"):
        ScoreRule(strands="up", context_bp=-1, max_allele_bp=0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"context_bp=3 \(at least 6\)"):
        ScoreRule(context_bp=3)
