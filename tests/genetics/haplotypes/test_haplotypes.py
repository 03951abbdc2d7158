"""Policies: each irregularity of a genotype file, what happens to it, and that it is counted."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.reference import Reference, reverse_complement
from genebrain.genetics.haplotypes.common_alleles import Allele, AlleleMask
from genebrain.genetics.haplotypes.resolve import Policies, open_genotypes
from tests.genetics.genome.genotype_writing import Record, write_fasta, write_pgen, write_vcf

DNA = "".join(np.random.default_rng(5).choice(list("ACGT"), 400))
SAMPLES = ["a", "b", "c"]
W = Window("1", 100, 300, "G")


def other(position: int) -> str:
    return "C" if DNA[position] != "C" else "G"


def snp(position: int, *genotypes: str, **kw: str) -> Record:
    return Record(position, DNA[position], (other(position),), genotypes, **kw)


def cohort(folder: Path, records: list[Record], samples=SAMPLES, contigs=None) -> tuple[Path, Path]:
    contigs = contigs or {"1": DNA}
    return write_vcf(folder / "g.vcf.gz", contigs, records, samples), write_fasta(folder / "r.fa", contigs)


def texts(files: tuple[Path, Path], window: Window = W, samples=SAMPLES, **kw) -> tuple[list[list[str]], dict]:
    """Plus-strand haplotypes ``[sample][copy]``, empty where there is none, and the counts."""
    policies = Policies(**{"missing_threshold": 1.0, **kw})
    built = build_chunks(*files, [window], samples, chunk_bp=10**6, policies=policies, progress=False)
    joined = [
        ["".join(built.sequences[row].decode() for row in copy if row >= 0) for copy in person]
        for person in built.index[:, :, 0]
    ]
    return joined, built.report["counts"]


def changed(position: int, ref: str, alt: str, text: str = DNA) -> str:
    assert text[position : position + len(ref)] == ref
    return (text[:position] + alt + text[position + len(ref) :])[100 : 300 + len(alt) - len(ref)]


PLAIN = DNA[100:300]


def test_unphased_genotypes(tmp_path):
    files = cohort(tmp_path, [snp(120, "1/0", "1/1", "0/0"), snp(130, "0|1", "0|0", "1|0")])
    with pytest.raises(UserError, match=r"1 of 3 heterozygous genotypes \(33.3%\) in 1 of 1 windows \(G\)"):
        texts(files)
    (a, b, c), counts = texts(files, unphased="as_written")
    assert a == [changed(120, DNA[120], other(120)), changed(130, DNA[130], other(130))]
    assert b[0] == b[1] == changed(120, DNA[120], other(120))
    assert counts["unphased_het_genotypes"] == 1
    assert c[1] == PLAIN
    orders = {tuple(texts(files, unphased="random", seed=seed)[0][0]) for seed in range(12)}
    assert len(orders) == 2
    assert texts(files, unphased="random", seed=3) == texts(files, unphased="random", seed=3)


def test_a_random_order_belongs_to_the_person(tmp_path):
    """Whoever stands before or beside a person, the copies are the same; and people do not share their coins."""
    records = [snp(position, "0/1", "0/1", "0/1") for position in range(120, 280, 4)]
    files = cohort(tmp_path, records)
    (a, b, c), _ = texts(files, unphased="random")
    assert texts(files, samples=["c", "a", "b"], unphased="random")[0] == [c, a, b]
    assert texts(files, samples=["b"], unphased="random")[0] == [b]
    assert len({*map(tuple, (a, b, c))}) == 3
    turned = sum(one != PLAIN[i] for one, i in ((a[0][p - 100], p - 100) for p in range(120, 280, 4)))
    assert 8 < turned < 32


def test_homozygous_unphased_genotypes_need_no_policy(tmp_path):
    (a, _, _), counts = texts(cohort(tmp_path, [snp(120, "1/1", "0/0", "./.")]))
    assert a[0] == a[1] != PLAIN
    assert counts["missing_genotypes_full"] == 1


def test_missing_counts_as_reference_until_the_threshold_masks_the_window(tmp_path):
    files = cohort(
        tmp_path, [snp(120, ".|1", "1|1", "0|1"), snp(140, "0|0", ".|.", "1|1"), snp(150, "1|0", ".|.", "0|0")]
    )
    (a, b, _), counts = texts(files)
    assert a[0] == changed(150, DNA[150], other(150))
    assert b[0] == changed(120, DNA[120], other(120))
    assert (counts["missing_genotypes_partial"], counts["missing_genotypes_full"]) == (1, 2)
    (a, b, c), counts = texts(files, missing_threshold=0.5)
    assert b == ["", ""]
    assert a[0]
    assert c[0]
    assert counts["masked_subjects"] == 1


def test_multiallelic_star_and_symbolic(tmp_path):
    three = tuple(base for base in "ACGT" if base != DNA[120])
    records = [
        Record(120, DNA[120], (*three[:2], "*"), ("1|2", "3|0", "0|0")),
        Record(150, DNA[150], ("<DEL>",), ("0|0", "0|0", "1|1")),
        Record(160, DNA[160], (f"{DNA[160]}[1:5[",), ("0|1", "0|0", "0|0")),
    ]
    files = cohort(tmp_path, records)
    (a, b, c), counts = texts(files)
    assert a == [changed(120, DNA[120], three[0]), changed(120, DNA[120], three[1])]
    assert b == c == [PLAIN, PLAIN]
    assert (counts["symbolic_records"], counts["symbolic_carriers"], counts["star_allele_records"]) == (2, 3, 1)
    with pytest.raises(UserError, match=r"2 of 3 records .* genetics\.symbolic=drop"):
        texts(files, symbolic="error")


def test_records_over_an_edge_are_dropped_and_counted(tmp_path):
    over_start = Record(97, DNA[97:103], (DNA[97],), ("1|1", "0|0", "0|0"))
    over_end = Record(298, DNA[298:303], (DNA[298],), ("1|1", "0|0", "0|0"))
    (a, _, _), counts = texts(cohort(tmp_path, [over_start, over_end]))
    assert a == [PLAIN, PLAIN]
    assert (counts["edge_records"], counts["records"], counts["used_records"]) == (2, 1, 0)


def test_the_wrong_reference_is_an_error_with_examples(tmp_path):
    wrong = [
        Record(p, "ACGT"[("ACGT".index(DNA[p]) + 1) % 4], (DNA[p],), ("0|1", "0|0", "0|0")) for p in range(110, 180, 10)
    ]
    files = cohort(tmp_path, [*wrong, snp(200, "0|1", "0|0", "0|0")])
    with pytest.raises(UserError, match=r"7 of 8 records \(87.5%\).*wrong genome build") as error:
        texts(files)
    assert str(error.value).count("FASTA") == 5
    built = build_chunks(*files, [W], SAMPLES, policies=Policies(reference_mismatch="report"), progress=False)
    assert len(built.report["reference_mismatches"]) == 7
    assert built.report["reference_mismatches"][0]["position"] == 111


def test_haploid_genotypes_have_no_second_copy_even_where_no_record_says_so(tmp_path):
    contigs = {"X": DNA}
    records = [snp(120, "1", "0|1", "0", contig="X"), snp(130, "0", "0|0", ".", contig="X")]
    files = cohort(tmp_path, records, contigs=contigs)
    windows = [Window("chrX", 100, 300, "with"), Window("chrX", 310, 390, "without")]
    built = build_chunks(
        *files, windows, SAMPLES, chunk_bp=10**6, policies=Policies(missing_threshold=1), progress=False
    )
    assert (built.index[:, 1, :, 0] >= 0).tolist() == [[False, False], [True, True], [False, False]]
    assert (built.index[:, 0] >= 0).any(axis=2).all()
    assert built.report["absent_copies_inferred"] == 2
    assert built.report["windows_without_records"] == ["without"]
    assert built.report["counts"]["haploid_genotypes"] == 4
    assert built.n_naive == 8


def test_files_with_only_haploid_genotypes(tmp_path):
    (a, b, _), _ = texts(cohort(tmp_path, [snp(120, "1", "0", "0")]))
    assert a == [changed(120, DNA[120], other(120)), ""]
    assert b == [PLAIN, ""]


CASES = [
    [(120, 1, "snp"), (120, 1, "ins")],
    [(120, 1, "ins"), (120, 1, "snp")],
    [(120, 1, "snp"), (120, 3, "del")],
    [(120, 3, "del"), (120, 1, "snp")],
    [(120, 3, "del"), (122, 1, "ins")],
    [(120, 3, "del"), (121, 1, "ins")],
    [(120, 3, "del"), (122, 2, "del"), (123, 1, "ins")],
    [(120, 1, "ins"), (120, 3, "del")],
    [(120, 1, "ins"), (120, 1, "ins")],
    [(120, 2, "mnp"), (121, 1, "ins")],
    [(120, 1, "snp"), (120, 1, "unanchored")],
    [(120, 5, "del"), (122, 1, "snp"), (125, 1, "snp")],
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("chunk_bp", [1000, 3])
def test_overlaps_end_as_in_bcftools_consensus(tmp_path, capfd, case, chunk_bp):
    flip = str.maketrans("ACGT", "CAAC")
    records = []
    for position, length, kind in case:
        ref = DNA[position : position + length]
        alt = {
            "snp": ref.translate(flip),
            "mnp": ref.translate(flip),
            "ins": f"{ref}TT",
            "del": ref[0],
            "unanchored": f"{ref.translate(flip)}GG",
        }[kind]
        records.append(Record(position, ref, (alt,), ("1|0", "0|0", "0|0")))
    files = cohort(tmp_path, records)
    consensus = pysam.bcftools.consensus("-s", "a", "-H", "1", "-f", str(files[1]), str(files[0]))
    expected = "".join(consensus.split("\n")[1:])[100:-100]
    built = build_chunks(*files, [W], SAMPLES, chunk_bp=chunk_bp, progress=False)
    found = "".join(built.sequences[row].decode() for row in built.index[0, 0, 0] if row >= 0)
    assert found == expected
    capfd.readouterr()


def test_lower_case_reads_as_upper_case(tmp_path):
    lower = {"1": DNA[:150].lower() + DNA[150:]}
    records = [Record(120, DNA[120].lower(), (other(120).lower(),), ("1|0", "0|0", "0|0"))]
    (a, _, _), counts = texts(cohort(tmp_path, records, contigs=lower))
    assert a == [changed(120, DNA[120], other(120)), PLAIN]
    assert counts["reference_mismatches"] == 0


def test_unknown_samples_are_one_error_with_a_hint(tmp_path):
    files = cohort(tmp_path, [snp(120, "0|0", "0|0", "0|0")])
    with pytest.raises(UserError, match=r"3 of 4 samples .* holds 3.*2 of them would match without 'sub-'"):
        texts(files, samples=["a", "sub-b", "sub-c", "zzz"])


def test_absent_contigs_and_windows_over_the_end(tmp_path):
    files = cohort(tmp_path, [snp(120, "0|0", "0|0", "0|0")])
    with pytest.raises(UserError, match="1 contigs of the windows are absent"):
        texts(files, Window("7", 0, 9, "no"))
    with pytest.raises(UserError, match=r"1 of 1 windows end behind .*genome build"):
        texts(files, Window("chr1", 0, 4000, "long"))


def test_damaged_files_are_refused_by_name(tmp_path):
    rng = np.random.default_rng(0)
    many = [snp(p, *(f"{a}|{b}" for a, b in rng.integers(0, 2, (300, 2)))) for p in range(100, 300)]
    names = [f"p{i}" for i in range(300)]
    vcf, fasta = cohort(tmp_path, many, names)
    whole = vcf.read_bytes()
    vcf.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"g\.vcf\.gz is truncated"):
        open_genotypes(vcf)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    vcf.write_bytes(flipped)
    with pytest.raises(UserError, match=r"g\.vcf\.gz.* damaged"):
        texts((vcf, fasta), samples=names)


def test_missing_index_plain_and_unknown_files(tmp_path):
    vcf, _ = cohort(tmp_path, [snp(120, "0|0", "0|0", "0|0")])
    alone = tmp_path / "alone.vcf.gz"
    shutil.copy(vcf, alone)
    with pytest.raises(UserError, match="tabix -p vcf"):
        open_genotypes(alone)
    (tmp_path / "plain.vcf").write_text("##fileformat=VCFv4.2\n")
    with pytest.raises(UserError, match="not compressed"):
        open_genotypes(tmp_path / "plain.vcf")
    (tmp_path / "x.bed").write_text("x")
    with pytest.raises(UserError, match="no phase"):
        open_genotypes(tmp_path / "x.bed")
    with pytest.raises(UserError, match="do not exist"):
        open_genotypes(tmp_path / "none.bcf")


def test_bcf_reads_as_vcf(tmp_path):
    vcf, fasta = cohort(tmp_path, [snp(120, "0|1", "1|1", "0|0"), snp(140, "1|0", "0|0", ".|.")])
    bcf = tmp_path / "g.bcf"
    pysam.bcftools.view("-Ob", "-o", str(bcf), str(vcf), catch_stdout=False)
    pysam.bcftools.index(str(bcf), catch_stdout=False)
    assert texts((bcf, fasta)) == texts((vcf, fasta))


def test_pgen_and_vcf_read_alike(tmp_path):
    contigs = {"1": DNA, "X": DNA}
    alts = tuple(base for base in "ACGT" if base != DNA[130])
    records = [
        snp(120, "0|1", "1|1", "0|0"),
        Record(130, DNA[130], alts, ("1|3", "2|0", "./.")),
        Record(140, DNA[140:144], (DNA[140], f"{DNA[140:144]}GG"), ("2|1", "0/0", "1|0")),
        snp(150, "0/1", "0|0", "1|0", filter="q10"),
        snp(120, "1", "0|1", "0", contig="X"),
        Record(130, DNA[130], alts, ("3", "2|1", "."), contig="X"),
    ]
    vcf, fasta = cohort(tmp_path, records, contigs=contigs)
    pgen = write_pgen(tmp_path / "g.pgen", records, SAMPLES, ["1", "2", "1"])
    windows = [W, Window("X", 100, 300, "X", "-"), Window("1", 141, 200, "inside")]
    settings = {"chunk_bp": 30, "policies": Policies("as_written", 1.0), "progress": False}
    order = ["c", "a", "b", "a"]
    one, two = (build_chunks(path, fasta, windows, order, **settings) for path in (vcf, pgen))
    assert np.array_equal(one.index, two.index)
    assert one.sequences == two.sequences
    assert one.report["per_window"] == two.report["per_window"]
    unknown = write_pgen(tmp_path / "u.pgen", records, SAMPLES, ["1", "NA", "1"])
    with pytest.raises(UserError, match=r"SEX, which the .psam does not give for 1 of 4"):
        build_chunks(unknown, fasta, windows, order, **settings)
    (tmp_path / "u.psam").unlink()
    with pytest.raises(UserError, match=r"needs u\.psam beside it"):
        open_genotypes(unknown)


def test_alleles_that_a_mask_does_not_keep_are_written_as_the_major_one(tmp_path):
    files = cohort(tmp_path, [snp(120, "1|0", "1|0", "0|0"), snp(140, "0|0", "1|0", "1|1")])
    kept = Allele(120, DNA[120], other(120), copies=6, of_reference=8, known=14)
    mask = AlleleMask(0.002, ((kept,),))
    built = build_chunks(*files, [W], SAMPLES, chunk_bp=10**6, mask=mask, progress=False)
    assert {text.decode() for text in built.sequences} == {PLAIN, changed(120, DNA[120], other(120))}
    assert built.report["counts"]["rare_alleles_masked"] == 1


def test_policies_of_an_older_index_are_read():
    stored = {**asdict(Policies(unphased="as_written")), "min_allele_count": 0, "min_allele_frequency": 0.0}
    assert Policies.of_index(stored) == Policies(unphased="as_written")


def test_wrong_policies_are_named_together():
    with pytest.raises(UserError, match=r"unphased='x'.*symbolic='y'.*missing_threshold=2"):
        Policies(unphased="x", symbolic="y", missing_threshold=2)  # type: ignore[arg-type]


def test_reference_is_indexed_elsewhere_when_its_folder_has_no_index(tmp_path):
    fasta = write_fasta(tmp_path / "r.fa", {"1": DNA})
    pysam.tabix_compress(str(fasta), str(tmp_path / "z.fa.gz"))
    for path in (fasta, tmp_path / "z.fa.gz"):
        with Reference(path) as reference:
            reference.check([W])
            assert reference.fetch(W).decode() == PLAIN
    assert not list(tmp_path.glob("*.fai"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty$"),
        (b"not a fasta", "is no FASTA: it must begin with '>NAME', and begins with b'not a fasta'"),
        (b">a\n", "has no letters behind its first line, '>a'"),
        (b">a\nACGT\n\nAC\nACGTAC\n", "cannot be indexed: all lines of a contig but the last"),
        (gzip.compress(b">a\nACGT\n", mtime=0), "compressed with gzip, which has no places to jump to"),
        (b"\x1f\x8b", "compressed with gzip"),
    ],
)
def test_a_file_that_is_no_reference_is_told_in_words(content, words, tmp_path, capfd):
    (tmp_path / "no.fa").write_bytes(content)
    with pytest.raises(UserError, match=words):
        Reference(tmp_path / "no.fa")
    assert capfd.readouterr().err == ""


def test_reverse_complement_knows_ambiguity_codes():
    assert reverse_complement(b"ACGTNRYKM") == b"KMRYNACGT"
