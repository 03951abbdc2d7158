"""No record is lost without a word: indexes that belong to another file, alleles nobody carries, several files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.chunks.build import build_chunks, dosages
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes import record_counts
from genebrain.genetics.genotypes.record_filter import RecordFilter
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.resolve import Policies, open_genotypes
from genebrain.genetics.haplotypes.told import genotype_funnel, told_genotypes
from tests.genetics.genome.genotype_writing import Record, write_fasta, write_pgen, write_vcf

RNG = np.random.default_rng(11)
DNA = {name: "".join(RNG.choice(list("ACGT"), 60_000)) for name in ("1", "2")}
SAMPLES = [f"s{i}" for i in range(40)]
WINDOWS = [Window("1", 100, 59_000, "A"), Window("2", 100, 59_000, "B")]


def other(contig: str, position: int) -> str:
    return "C" if DNA[contig][position] != "C" else "G"


def records(contigs=("1", "2"), n: int = 150, people: int = 40) -> list[Record]:
    random = np.random.default_rng(3)
    found = []
    for contig in contigs:
        for position in sorted(random.choice(np.arange(200, 58_000), n, replace=False).tolist()):
            calls = tuple(f"{a}|{b}" for a, b in random.integers(0, 2, (people, 2)))
            found.append(Record(position, DNA[contig][position], (other(contig, position),), calls, contig))
    return found


@pytest.fixture(scope="module")
def all_records() -> list[Record]:
    return records()


def write(folder: Path, rows: list[Record], samples=SAMPLES, name: str = "g.vcf.gz") -> Path:
    return write_vcf(folder / name, DNA, rows, samples)


def put_index_of(rows: list[Record]) -> Callable[[Path, list[Record]], None]:
    """The file beside the index of a file with other records."""

    def change(path: Path, every: list[Record]) -> None:
        write(path.parent, rows, name="other.vcf.gz")
        shutil.copy(f"{path.parent / 'other.vcf.gz'}.tbi", f"{path}.tbi")

    return change


def test_every_kind_of_foreign_index_is_refused(tmp_path, all_records):
    def index_of_csi(path: Path, every: list[Record]) -> None:
        part = write(path.parent, every[::3], name="part.vcf.gz")
        pysam.tabix_index(str(part), preset="vcf", force=True, csi=True)
        shutil.copy(f"{part}.csi", f"{path}.csi")

    def longer_header(path: Path, every: list[Record]) -> None:
        index = Path(f"{path}.tbi").read_bytes()
        write(path.parent, every, samples=[f"{name}_renamed_in_the_header" for name in SAMPLES], name=path.name)
        Path(f"{path}.tbi").write_bytes(index)

    moved = [
        Record(r.position + 1, DNA[r.contig][r.position + 1], ("ACGTACGT",), r.genotypes, r.contig) for r in all_records
    ]
    kinds: dict[str, Callable[[Path, list[Record]], None]] = {
        "of every second record": put_index_of(all_records[::2]),
        "of the first contig": put_index_of([r for r in all_records if r.contig == "1"]),
        "of the second contig": put_index_of([r for r in all_records if r.contig == "2"]),
        "of all but the last record": put_index_of(all_records[:-1]),
        "of all but the first record": put_index_of(all_records[1:]),
        "of other alleles": put_index_of(moved),
        "in the form of .csi": index_of_csi,
        "of the file before its header was changed": longer_header,
    }
    for kind, change in kinds.items():
        folder = tmp_path / kind.replace(" ", "_")
        folder.mkdir()
        path = write(folder, all_records)
        change(path, all_records)
        for limit in (record_counts.SCANNED_WHOLE, 0):  # small files are scanned, of large ones the index is compared
            record_counts._checked.cache_clear()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(record_counts, "SCANNED_WHOLE", limit)
                with (
                    open_genotypes(path) as file,
                    pytest.raises(UserError, match=r"does not belong to .*Index the file"),
                ):
                    file.read(WINDOWS[0])


def test_an_index_of_its_own_file_serves_in_every_form(tmp_path, all_records):
    """Old or new, .tbi or .csi, VCF or BCF, with comment lines at the end: the same records, all of them."""
    vcf = write(tmp_path, all_records)
    expected = [sum(r.contig == w.contig for r in all_records) for w in WINDOWS]
    csi = tmp_path / "c.vcf.gz"
    shutil.copy(vcf, csi)
    pysam.tabix_index(str(csi), preset="vcf", force=True, csi=True)
    bcf = tmp_path / "g.bcf"
    pysam.bcftools.view("-Ob", "-o", str(bcf), str(vcf), catch_stdout=False)
    pysam.bcftools.index(str(bcf), catch_stdout=False)
    old = tmp_path / "old.vcf.gz"
    shutil.copy(vcf, old)
    shutil.copy(f"{vcf}.tbi", f"{old}.tbi")
    os.utime(f"{old}.tbi", (1, 1))  # copying changes ages, and nothing else
    for path in (vcf, csi, bcf, old):
        for limit in (record_counts.SCANNED_WHOLE, 0):
            record_counts._checked.cache_clear()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(record_counts, "SCANNED_WHOLE", limit)
                with open_genotypes(path) as file:
                    assert [len(file.read(window)) for window in WINDOWS] == expected


# Kind 2: alleles whose letters are not known.

GVCF = [("<NON_REF>",), ("<*>",), ("<X>",), ("*",), ("<NON_REF>", "*")]


@pytest.mark.parametrize("more", GVCF, ids=str)
def test_alleles_that_nobody_carries_change_nothing(tmp_path, all_records, more):
    plain = write(tmp_path, all_records)
    wide = write(
        tmp_path,
        [Record(r.position, r.ref, r.alts + more, r.genotypes, r.contig) for r in all_records],
        name="w.vcf.gz",
    )
    fasta = write_fasta(tmp_path / "r.fa", DNA)
    one, two = (build_chunks(path, fasta, WINDOWS, SAMPLES, progress=False) for path in (plain, wide))
    assert one.sequences == two.sequences
    assert np.array_equal(one.index, two.index)
    assert two.report["counts"]["symbolic_carriers"] == 0
    strict = Policies(symbolic="error")
    assert build_chunks(wide, fasta, WINDOWS, SAMPLES, policies=strict, progress=False).n_unique == one.n_unique
    assert [a.shape for a in dosages(plain, WINDOWS, SAMPLES)] == [a.shape for a in dosages(wide, WINDOWS, SAMPLES)]


@pytest.mark.parametrize("kind", ["vcf", "bcf", "pgen"])
@pytest.mark.parametrize("symbolic", ["<DEL>", "<INS:ME:ALU>", "<CN0>", "N[2:100[", "]2:100]N", "N."])
def test_who_carries_letters_beside_a_symbolic_allele_keeps_them(tmp_path, kind, symbolic):
    dna = DNA["1"]
    rows = [
        Record(300, dna[300], (other("1", 300), symbolic.replace("N", dna[300])), ("0|1", "1|2", "2|0", "0|0")),
        Record(400, dna[400], (symbolic.replace("N", dna[400]),), ("0|0", "1|1", "0|0", "0|0")),
    ]
    people = list("abcd")
    path = write(tmp_path, rows, people)
    if kind == "pgen":
        path = write_pgen(tmp_path / "g.pgen", rows, people)
    if kind == "bcf":
        pysam.bcftools.view("-Ob", "-o", str(tmp_path / "g.bcf"), str(path), catch_stdout=False)
        path = tmp_path / "g.bcf"
        pysam.bcftools.index(str(path), catch_stdout=False)
    fasta = write_fasta(tmp_path / "r.fa", DNA)
    built = build_chunks(path, fasta, [Window("1", 250, 500, "W")], people, chunk_bp=10**6, progress=False)
    changed = dna[250:300] + other("1", 300) + dna[301:500]
    texts = [[built.sequences[row].decode() for row in person.ravel()] for person in built.index[:, :, 0]]
    assert texts == [[dna[250:500], changed], [changed, dna[250:500]], [dna[250:500]] * 2, [dna[250:500]] * 2]
    lines = told_genotypes(built.report)
    assert "2 records with 4 carriers dropped" in lines[1]
    assert [column.sum() for column in dosages(path, [Window("1", 250, 500, "W")], people)[0].T] == [2]


@pytest.mark.parametrize("kind", ["vcf", "pgen"])
@pytest.mark.parametrize("names", [("chr1", "1"), ("Chr1", "1"), ("CHR1", "chr1")])
def test_one_contig_under_two_names_is_an_error(tmp_path, all_records, names, kind):
    """Reading one of the names would lose the records of the other."""
    rows = [r for r in all_records if r.contig == "1"]
    rows = [Record(r.position, r.ref, r.alts, r.genotypes, names[i % 2]) for i, r in enumerate(rows)]
    rows.sort(key=lambda r: (r.contig, r.position))
    if kind == "vcf":
        path = write_vcf(tmp_path / "g.vcf.gz", dict.fromkeys(names, DNA["1"]), rows, SAMPLES)
    else:
        path = write_pgen(tmp_path / "g.pgen", rows, SAMPLES)
    for spelled in ("1", "chr1"):
        with pytest.raises(UserError, match=r"stand under 2 names|fit more than one contig"):
            dosages(path, [Window(spelled, 100, 59_000, "A")], SAMPLES)


def test_a_name_without_records_does_not_hide_those_of_the_other(tmp_path, all_records):
    """Headers may list ``chr1`` and ``1``; the windows say the one that has no record."""
    rows = [r for r in all_records if r.contig == "1"]
    path = write_vcf(tmp_path / "g.vcf.gz", {"1": DNA["1"], "chr1": DNA["1"]}, rows, SAMPLES)
    found = [dosages(path, [Window(name, 100, 59_000, "A")], SAMPLES)[0] for name in ("1", "chr1")]
    assert found[0].shape == (40, 150)
    np.testing.assert_array_equal(*found)


# Kind 3: windows in which nobody differs.


def test_windows_without_variation_are_counted_and_named(tmp_path):
    dna = DNA["1"]

    def snp(position: int, *calls: str, alts: tuple[str, ...] = ()) -> Record:
        return Record(position, dna[position], alts or (other("1", position),), calls)

    rows = [
        snp(1100, "0|1", "0|0"),
        snp(2100, "1|1", "1|1"),  # everybody has the ALT
        snp(3100, "0|0", "0|0"),  # nobody has it
        snp(4100, "0|1", "1|1", alts=("<DEL>",)),  # no letters
        snp(5100, ".|.", "0|0"),
        Record(6999, dna[6999:7003], (dna[6999],), ("0|1", "1|1")),  # over the edge
    ]
    path, fasta = write(tmp_path, rows, ["a", "b"]), write_fasta(tmp_path / "r.fa", DNA)
    windows = [Window("1", k * 1000, k * 1000 + 1000, f"W{k}") for k in range(1, 8)]
    built = build_chunks(path, fasta, windows, ["a", "b"], policies=Policies(missing_threshold=1), progress=False)
    funnel = genotype_funnel(built.report)["genotypes"]
    assert (funnel["windows"], funnel["windows_that_vary"]) == (7, 1)
    assert funnel["windows_without_variation"] == ["W2", "W3", "W4", "W5", "W6", "W7"]
    assert told_genotypes(built.report)[0] == (
        "genotypes: 1 of 7 windows vary among these 2 people; everybody has the same sequence in W2, W3, W4, W5, W6 "
        "and 1 more"
    )


def test_a_contig_of_the_header_without_any_record_is_an_error(tmp_path, all_records):
    path = write(tmp_path, [r for r in all_records if r.contig == "1"])
    fasta = write_fasta(tmp_path / "r.fa", DNA)
    with pytest.raises(UserError, match="no record at all on 2, where 1 of 2 windows lie"):
        build_chunks(path, fasta, WINDOWS, SAMPLES, progress=False)
    with pytest.raises(UserError, match="no record at all on 2"):
        dosages(path, WINDOWS, SAMPLES)


# Several files.


def equal_chunks(one, two) -> bool:
    return one.sequences == two.sequences and np.array_equal(one.index, two.index)


def test_files_of_chromosomes_and_of_parts_read_as_one(tmp_path, all_records):
    fasta = write_fasta(tmp_path / "r.fa", DNA)
    whole = build_chunks(write(tmp_path, all_records), fasta, WINDOWS, SAMPLES, progress=False)
    by_contig = [[r for r in all_records if r.contig == name] for name in DNA]
    half = len(by_contig[0]) // 2
    shares = {
        "chromosomes": by_contig,
        "other way round": by_contig[::-1],
        "parts": [by_contig[0][:half], by_contig[0][half:], by_contig[1]],
        "parts in disorder": [by_contig[0][half:], by_contig[1], by_contig[0][:half]],
        "interleaved": [all_records[::2], all_records[1::2]],
    }
    for kind, parts in shares.items():
        files = tuple(write(tmp_path, part, name=f"{len(kind)}.{k}.vcf.gz") for k, part in enumerate(parts))
        assert equal_chunks(whole, build_chunks(GenotypeSource(files), fasta, WINDOWS, SAMPLES, progress=False)), kind


def test_order_of_samples_may_differ_between_files_and_people_may_not(tmp_path, all_records):
    fasta = write_fasta(tmp_path / "r.fa", DNA)
    whole = build_chunks(write(tmp_path, all_records), fasta, WINDOWS, SAMPLES, progress=False)
    order = np.random.default_rng(0).permutation(len(SAMPLES))
    shuffled = [
        Record(r.position, r.ref, r.alts, tuple(r.genotypes[i] for i in order), r.contig)
        for r in all_records
        if r.contig == "2"
    ]
    first = write(tmp_path, [r for r in all_records if r.contig == "1"], name="1.vcf.gz")
    second = write(tmp_path, shuffled, [SAMPLES[i] for i in order], name="2.vcf.gz")
    source = GenotypeSource((first, second))
    assert equal_chunks(whole, build_chunks(source, fasta, WINDOWS, SAMPLES, progress=False))
    stranger = write(tmp_path, shuffled, ["stranger", *SAMPLES[1:]], name="3.vcf.gz")
    with pytest.raises(
        UserError, match=r"same people.*1 are in the first only and 1 in the other only \(s0, stranger\)"
    ):
        open_genotypes(GenotypeSource((first, stranger)))
    with pytest.raises(UserError, match="stands in two files"):
        build_chunks(GenotypeSource((first, write(tmp_path, all_records, name="4.vcf.gz"))), fasta, WINDOWS, SAMPLES)


def test_order_of_samples_in_the_file_changes_nothing_keyed_by_person(tmp_path, all_records):
    fasta = write_fasta(tmp_path / "r.fa", DNA)
    order = np.random.default_rng(1).permutation(len(SAMPLES))
    rows = [Record(r.position, r.ref, r.alts, tuple(r.genotypes[i] for i in order), r.contig) for r in all_records]
    one = write(tmp_path, all_records)
    two = write(tmp_path, rows, [SAMPLES[i] for i in order], name="o.vcf.gz")
    people = SAMPLES[5:30]
    assert equal_chunks(*(build_chunks(path, fasta, WINDOWS, people, progress=False) for path in (one, two)))
    for a, b in zip(dosages(one, WINDOWS, people), dosages(two, WINDOWS, people), strict=True):
        assert np.array_equal(a, b)


# Filters.


def write_lines(path: Path, lines: list[str]) -> Path:
    with pysam.BGZFile(str(path), "wb") as stream:
        stream.write(("\n".join(lines) + "\n").encode())
    pysam.tabix_index(str(path), preset="vcf", force=True)
    return path


@pytest.mark.parametrize("field", ["R2", "DR2", "INFO"])
def test_filters_leave_records_out_and_count_them(tmp_path, field):
    dna = DNA["1"]
    cells = [
        ("PASS", "0.9"),
        ("q10", "0.9"),
        (".", "0.2"),
        ("GENOTYPED", "0.1"),
        ("PASS", None),
        ("q10;s5", "1"),
        ("PASS", "0.3"),
    ]
    lines = [
        "##fileformat=VCFv4.2", "##contig=<ID=1>", '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">',
        f'##INFO=<ID={field},Number={"A" if field == "DR2" else "1"},Type=Float,Description="r">',
        *(f'##FILTER=<ID={name},Description="f">' for name in ("q10", "s5", "GENOTYPED")),
        "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", "a"]),
    ]  # fmt: skip
    for k, (kept, r2) in enumerate(cells):
        position = 300 + 10 * k
        info = "." if r2 is None else f"{field}={r2}"
        lines.append(f"1\t{position + 1}\t.\t{dna[position]}\t{other('1', position)}\t.\t{kept}\t{info}\tGT\t0|1")
    path, window = write_lines(tmp_path / "f.vcf.gz", lines), Window("1", 0, 1000, "W")

    def read(**filters) -> tuple[list[int], dict[str, int]]:
        with open_genotypes(GenotypeSource((path,), RecordFilter(**filters))) as file:
            sites = file.read(window)
            return ((sites.position - 300) // 10).tolist(), sites.left_out

    assert read() == ([0, 1, 2, 3, 4, 5, 6], {})
    assert read(kept=("PASS",)) == ([0, 2, 4, 6], {"filtered_records": 3})
    assert read(kept=("PASS", "q10", "GENOTYPED")) == ([0, 1, 2, 3, 4, 6], {"filtered_records": 1})
    assert read(min_r2=0.3) == ([0, 1, 4, 5, 6], {"low_r2_records": 2})
    assert read(kept=(), min_r2=0.5) == ([0, 4], {"filtered_records": 3, "low_r2_records": 2})


def test_a_least_quality_needs_a_file_that_has_one(tmp_path, all_records):
    path = write(tmp_path, all_records[:5])
    with pytest.raises(UserError, match="none of the INFO fields R2, DR2, INFO"):
        open_genotypes(GenotypeSource((path,), RecordFilter(min_r2=0.3)))
    with pytest.raises(UserError, match="from 0 to 1"):
        RecordFilter(min_r2=30)
