"""Whatever a genotype file or its index holds: right numbers or a sentence that names it, never a traceback."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools
import pytest

from genebrain.cohort.relatedness.genomewide import read_dosages
from genebrain.common.types import UserError
from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.reference import Reference
from genebrain.genetics.genotypes import record_counts
from genebrain.genetics.genotypes.records import ABSENT, MISSING
from genebrain.genetics.haplotypes.resolve import Policies, open_genotypes
from tests.genetics.genome.genotype_writing import Record, write_fasta, write_pgen

DNA = "".join(np.random.default_rng(7).choice(list("ACGT"), 4000))
WINDOW = Window("1", 0, 4000, "W")
PEOPLE = ["a", "b", "c"]
HEADER = [
    "##fileformat=VCFv4.2",
    "##contig=<ID=1,length=4000>",
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">',
    '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="d">',
]
COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
Lines = list[list[str]]


def other(position: int) -> str:
    return "C" if DNA[position] != "C" else "G"


def table() -> Lines:
    calls = np.random.default_rng(2).integers(0, 2, (40, 3, 2))
    return [
        ["1", str(p + 1), ".", DNA[p], other(p), ".", "PASS", ".", "GT", *(f"{a}|{b}" for a, b in row)]
        for p, row in zip(range(100, 3300, 80), calls, strict=True)
    ]


def write(path: Path, rows: Lines, header=HEADER, samples=PEOPLE, end: str = "\n", index: bool = True) -> Path:
    lines = [*header, "\t".join([*(COLUMNS if samples else COLUMNS[:8]), *samples]), *("\t".join(row) for row in rows)]
    with pysam.BGZFile(str(path), "wb") as stream:
        stream.write((end.join(lines) + end).encode())
    if index:
        pysam.tabix_index(str(path), preset="vcf", force=True)
    return path


def refused(path: Path, limits: tuple[int, ...] = (8 * 2**20, 0)) -> str:
    """The sentence with which a file is refused, with small and with large files' checks."""
    said = []
    for limit in limits:
        record_counts._checked.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(record_counts, "SCANNED_WHOLE", limit)
            with pytest.raises(UserError) as error, open_genotypes(path) as file:
                file.read(WINDOW)
        said.append(str(error.value))
    assert all(path.stem.split(".")[0] in words for words in said)
    return said[0]


def changed(number: int, column: int, value: str) -> Lines:
    rows = table()
    rows[number][column] = value
    return rows


HEADERS: dict[str, tuple[dict, str]] = {
    "one name twice": ({"samples": ["a", "b", "a"]}, "1 of 2 sample names stand more than once in the header: a;"),
    "six names twice": ({"samples": [*"abcdef"] * 2}, r"6 of 6 sample names .*: a, b, c, d, e and 1 more;"),
    "sites only": ({"samples": []}, "has no samples"),
    "no FORMAT column": ({"header": ["##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF"]}, "the header ends in a line with"),
    "no version": ({"header": ["##contig=<ID=1>"]}, "is no VCF or BCF"),
    "a table": ({"header": ["name\tvalue"]}, "is no VCF or BCF"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_that_name_nobody_or_somebody_twice(tmp_path, kind, capfd):
    settings, words = HEADERS[kind]
    rows = (
        [row[:8] + (["GT"] + ["0|1"] * len(settings["samples"]) if settings["samples"] else []) for row in table()]
        if "samples" in settings
        else table()
    )
    path = write(tmp_path / "odd.vcf.gz", rows, index=False, **settings)
    Path(f"{path}.tbi").write_bytes(b"")
    with pytest.raises(UserError, match=words):
        open_genotypes(path)
    assert capfd.readouterr().err == ""


LINES: dict[str, tuple[Lines, str]] = {
    "allele without a name": (changed(5, 10, "0|3"), "allele 3, but names 1 ALT"),
    "three copies": (changed(5, 10, "0|1|1"), "genotypes of 3 alleles"),
    "a column too few": ([row[:-1] if n == 9 else row for n, row in enumerate(table())], "columns|read"),
    "a column too many": ([[*row, "0|1"] if n == 9 else row for n, row in enumerate(table())], "columns|read"),
}


@pytest.mark.parametrize("kind", LINES)
def test_records_that_cannot_be_are_named(tmp_path, kind):
    rows, words = LINES[kind]
    # htslib passes over what stands behind the last sample: only the pass over small files sees it.
    limits = (8 * 2**20,) if kind == "a column too many" else (8 * 2**20, 0)
    assert re.search(words, refused(write(tmp_path / "odd.vcf.gz", rows), limits))


def test_records_without_genotypes_are_missing_calls(tmp_path):
    rows = table()
    for number, cells in ((4, "DP"), (7, "."), (11, "DP")):
        rows[number][8:] = [cells, *["." if cells == "." else "10"] * 3]
    vcf = write(tmp_path / "g.vcf.gz", rows)
    bcf = tmp_path / "g.bcf"
    pysam.bcftools.view("-Ob", "-o", str(bcf), str(vcf), catch_stdout=False)
    pysam.bcftools.index(str(bcf), catch_stdout=False)
    for path in (vcf, bcf):
        with open_genotypes(path) as file:
            alleles = file.read(WINDOW).alleles
        assert [n for n in range(40) if (alleles[n] == MISSING).all()] == [4, 7, 11]
        assert not (np.delete(alleles, [4, 7, 11], axis=0) == MISSING).any()
    for row in rows:
        row[9] = row[9].split("|")[0]  # one person has one copy
    with open_genotypes(write(tmp_path / "x.vcf.gz", rows)) as file:
        alleles = file.read(WINDOW).alleles
    assert (alleles[:, 0, 1] == ABSENT).all()
    assert not (alleles[:, 1:] == ABSENT).any()


def test_odd_but_good_files_read_as_the_plain_one(tmp_path, capfd):
    fasta = write_fasta(tmp_path / "r.fa", {"1": DNA})
    settings = {"policies": Policies(missing_threshold=1), "progress": False}
    plain = build_chunks(write(tmp_path / "plain.vcf.gz", table()), fasta, [WINDOW], PEOPLE, **settings)
    prefixed = [["chr1", *row[1:]] for row in table()]
    good = {
        "header without contigs": write(tmp_path / "1.vcf.gz", table(), header=[HEADER[0], HEADER[2]]),
        "lines end as in Windows": write(tmp_path / "2.vcf.gz", table(), end="\r\n"),
        "fields that are not declared": write(tmp_path / "3.vcf.gz", changed(3, 7, "XX=1;YY"), header=HEADER[:2]),
        "chr in the name": write(tmp_path / "4.vcf.gz", prefixed, header=[HEADER[0], HEADER[2]]),
        "other fields before and behind": write(
            tmp_path / "5.vcf.gz",
            [[*row[:8], "GT:DP", *(f"{cell}:9" for cell in row[9:])] for row in table()],
        ),
    }
    for kind, path in good.items():
        found = build_chunks(path, fasta, [WINDOW], PEOPLE, **settings)
        assert found.sequences == plain.sequences, kind
    assert capfd.readouterr().err == ""


def test_files_that_are_no_genotypes(tmp_path):
    good = write(tmp_path / "good.vcf.gz", table())
    whole, packed = good.read_bytes(), gzip.compress(b"##fileformat=VCFv4.2\n")
    for name, content, words in [
        ("empty", b"", "is empty"),
        ("short", whole[:10], "not bgzip"),
        ("head", whole[:18], "truncated"),
        ("cut", whole[:-28], "truncated"),
        ("half", whole[: len(whole) // 2], "truncated"),
        ("gzip", packed, "gzip, not bgzip"),
        ("text", b"##fileformat=VCFv4.2\n", "not compressed"),
        ("end", whole[-28:], "holds nothing"),
        ("noise", bytes(range(256)) * 9, "not compressed"),
    ]:
        path = tmp_path / f"{name}.vcf.gz"
        path.write_bytes(content)
        Path(f"{path}.tbi").write_bytes(Path(f"{good}.tbi").read_bytes())
        assert words in refused(path), name
    (tmp_path / "folder.vcf.gz").mkdir()
    with pytest.raises(UserError, match="are a folder"):
        open_genotypes(tmp_path / "folder.vcf.gz")


@pytest.mark.parametrize("kind", ["tbi", "csi"])
def test_damaged_indexes(tmp_path, kind):
    path = write(tmp_path / "g.vcf.gz", table(), index=False)
    pysam.tabix_index(str(path), preset="vcf", force=True, csi=kind == "csi")
    index = Path(f"{path}.{kind}")
    whole = index.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    other_kind = gzip.decompress(whole)
    for content in (
        b"",
        b"\x00" * 40,
        whole[:20],
        whole[:-40],
        bytes(flipped),
        b"BAI\x01" + other_kind[4:],
        other_kind[:50],
    ):
        index.write_bytes(content)
        assert "index" in refused(path)


def test_names_that_promise_another_format(tmp_path):
    vcf = write(tmp_path / "g.vcf.gz", table())
    bcf = tmp_path / "g.bcf"
    pysam.bcftools.view("-Ob", "-o", str(bcf), str(vcf), catch_stdout=False)
    (tmp_path / "wrong.vcf.gz").write_bytes(bcf.read_bytes())
    (tmp_path / "wrong.bcf").write_bytes(vcf.read_bytes())
    for name, words in (("wrong.vcf.gz", "is a BCF with the name of a VCF"), ("wrong.bcf", "is a VCF with the name")):
        with pytest.raises(UserError, match=words):
            open_genotypes(tmp_path / name)


def test_using_a_wrong_reference_as_it_is_is_never_advised(tmp_path):
    """One odd REF of forty may be kept by choice; a quarter of them never."""
    for n_wrong, advised in ((1, True), (10, False)):
        rows = table()
        for row in rows[:n_wrong]:
            row[3], row[4] = row[4], row[3]
        path, fasta = write(tmp_path / f"{n_wrong}.vcf.gz", rows), write_fasta(tmp_path / "r.fa", {"1": DNA})
        with pytest.raises(UserError, match=f"{n_wrong} of 40 records") as error:
            build_chunks(path, fasta, [WINDOW], PEOPLE, progress=False)
        assert ("reference_mismatch=report" in str(error.value)) == advised


def test_unsorted_records_are_named(tmp_path):
    rows = table()
    path = write(tmp_path / "g.vcf.gz", rows)
    index = Path(f"{path}.tbi").read_bytes()
    rows[3], rows[20] = rows[20], rows[3]
    write(path, rows, index=False)
    Path(f"{path}.tbi").write_bytes(index)
    record_counts._checked.cache_clear()
    with pytest.raises(UserError, match=r"is not sorted|does not belong"), open_genotypes(path) as file:
        file.read(WINDOW)


def test_single_changed_bytes_give_the_same_numbers_or_a_sentence(tmp_path):
    """A changed byte anywhere in the file or its index: never a traceback, never other genotypes."""
    path = write(tmp_path / "g.vcf.gz", table())
    with open_genotypes(path) as file:
        expected = file.read(WINDOW)
    random = np.random.default_rng(0)
    for target in (path, Path(f"{path}.tbi")):
        whole = target.read_bytes()
        for place in random.choice(len(whole), 60, replace=False).tolist():
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(random.integers(8))
            target.write_bytes(damaged)
            record_counts._checked.cache_clear()
            try:
                with open_genotypes(path) as file:
                    found = file.read(WINDOW)
            except UserError:
                continue
            assert np.array_equal(found.alleles, expected.alleles), (target.name, place)
            assert np.array_equal(found.position, expected.position)
        target.write_bytes(whole)


def test_broken_files_of_plink(tmp_path):
    rows = [Record(p, DNA[p], (other(p),), ("0|1", "1|1", "0|0")) for p in range(100, 300, 20)]
    pgen = write_pgen(tmp_path / "g.pgen", rows, PEOPLE)
    pvar, psam = pgen.with_suffix(".pvar"), pgen.with_suffix(".psam")
    lines, people = pvar.read_text().splitlines(), psam.read_text().splitlines()
    with open_genotypes(pgen) as file:
        assert len(file.read(WINDOW)) == 10

    def lists(file: Path, *parts: list[str]) -> Callable[[], object]:
        return lambda: file.write_text("\n".join(line for part in parts for line in part) + "\n")

    position = [lines[3].replace("\t121\t", "\t12x1\t")]
    cases: list[tuple[Callable[[], object], str]] = [
        (lists(pvar, lines[:-1]), "holds 10 variants, the .pvar beside it lists 9"),
        (lists(pvar, lines[:3], position, lines[4:]), "1 of 10 variants have no whole number as POS"),
        (lists(pvar, lines[:3], ["1\t121"], lines[4:]), "no REF or ALT"),
        (lists(pvar, lines[2:]), "columns .* are absent"),
        (lists(pvar, []), "columns .* are absent|cannot be read"),
        (lambda: pvar.write_bytes(b"\xff\xfe" + "#CHROM".encode("utf-16-le")), "cannot be read"),
        (lists(psam, people[:-1]), "holds 3 samples, the .psam beside it lists 2"),
        (lists(psam, people[:-1], people[1:2]), "1 of 3 IIDs are not unique"),
        (lambda: psam.write_bytes(b"#IID\n\xe4\n"), "is not UTF-8 text"),
        (lambda: pgen.write_bytes(b""), "is no .pgen"),
        (lambda: pgen.write_bytes(pgen.read_bytes()[:12]), "cannot be read"),
        (lambda: pgen.write_bytes(b"\x6c\x1b\x01" + b"\x00" * 30), "PLINK 1 .bed"),
    ]  # fmt: skip
    for change, words in cases:
        write_pgen(pgen, rows, PEOPLE)
        change()
        with pytest.raises(UserError, match=words), open_genotypes(pgen) as file:
            file.read(WINDOW)
    write_pgen(pgen, rows, PEOPLE)
    quoted = [line.replace("\t.\t", '\t"rs\t') if n in (3, 6) else line for n, line in enumerate(lines)]
    lists(pvar, quoted)()  # a quote is a letter like any other
    with open_genotypes(pgen) as file:
        assert len(file.read(WINDOW)) == 10


def test_phase_sets_of_pieces_are_told(tmp_path):
    """People phased in pieces are counted; one set, sets of homozygous calls and unphased calls are not."""
    header = [*HEADER, '##FORMAT=<ID=PS,Number=1,Type=Integer,Description="p">']
    calls = [("0|1:5", "0|1:5", "0|0:5"), ("1|0:5", "1|0:9", "1|1:9"), ("0|1:.", "0/1:1", "0|1:5")]
    rows = [[*row[:8], "GT:PS", *cells] for row, cells in zip(table(), calls, strict=False)]
    fasta = write_fasta(tmp_path / "r.fa", {"1": DNA})
    policies = Policies(unphased="as_written")
    for kind, expected in (("Integer", 2), ("String", 2)):
        named = [*HEADER, f'##FORMAT=<ID=PS,Number=1,Type={kind},Description="p">']
        path = write(tmp_path / f"{kind}.vcf.gz", rows, header=named)
        built = build_chunks(path, fasta, [WINDOW], PEOPLE, policies=policies, progress=False)
        assert built.report["subjects_in_several_phase_sets"] == expected
    one = [[*row[:9], *(cell.split(":")[0] + ":5" for cell in row[9:])] for row in rows]
    path = write(tmp_path / "one.vcf.gz", one, header=header)
    built = build_chunks(path, fasta, [WINDOW], PEOPLE, policies=policies, progress=False)
    assert built.report["subjects_in_several_phase_sets"] == 0


def fasta_text(width: int, names=("1", "2"), words: str = "") -> str:
    contigs = {"1": DNA, "2": DNA[::-1]}
    return "".join(
        f">{name}{words}\n" + "\n".join(contigs[name][i : i + width] for i in range(0, 4000, width)) + "\n"
        for name in names
    )


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzipped"])
def test_an_index_of_another_fasta_is_named(tmp_path, packed):
    name = tmp_path / ("r.fa.gz" if packed else "r.fa")

    def put(text: str) -> None:
        if packed:
            with pysam.BGZFile(str(name), "wb") as stream:
                stream.write(text.encode())
        else:
            name.write_text(text)

    crlf = fasta_text(60).replace("\n", "\r\n")
    for text in (
        fasta_text(60),
        fasta_text(60, words=" first"),
        fasta_text(61),
        fasta_text(60)[:-1],
        fasta_text(4000),
        crlf,
    ):
        put(text)
        pysam.faidx(str(name))
        with Reference(name) as reference:
            reference.check([WINDOW])
            assert reference.fetch(WINDOW).decode() == DNA
    put(fasta_text(60))
    pysam.faidx(str(name))
    for text in (
        fasta_text(70),
        fasta_text(60, words=" downloaded again"),
        fasta_text(60, names=("2", "1")),
        fasta_text(60, names=("1",)),
        ">0\nACGT\n" + fasta_text(60),
        fasta_text(60) + ">3\nACGT\n",
        crlf,
        fasta_text(60)[:-300],
    ):
        put(text)
        with pytest.raises(UserError, match=r"does not belong to|is damaged"):
            Reference(name)
    put(fasta_text(60))
    for content in (
        "",
        f"1\t4000\t{10**30}\t60\t61\n",
        "1\tx\t3\t60\t61\n",
        "1\t4000\n",
        "1\t-5\t3\t60\t61\n",
        "\x00\x01",
    ):
        Path(f"{name}.fai").write_text(content)
        with pytest.raises(UserError, match=r"r\.fa.*\.fai is damaged"):
            Reference(name)


def test_broken_files_for_kinship(tmp_path):
    path = write(tmp_path / "k.vcf.gz", table())
    assert read_dosages(path)[1].shape[0] == 3
    whole = path.read_bytes()
    for content in (b"", whole[:-28], whole[:50], b"##fileformat=VCFv4.2\n#CHROM\n", b"noise"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"k\.vcf\.gz"):
            read_dosages(path)
    random = np.random.default_rng(4)
    people = [f"p{i}" for i in range(300)]
    cells = [[*row[:9], *(f"{a}|{b}" for a, b in random.integers(0, 2, (300, 2)))] for row in table() * 3]
    _, expected = read_dosages(write(path, cells, samples=people, index=False))
    assert expected.shape == (300, 120)
    whole = path.read_bytes()
    for place in range(30, len(whole) - 30, len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            found = read_dosages(path)[1]
        except UserError:
            continue
        assert np.array_equal(found, expected), place  # never fewer SNPs
    write(path, table(), samples=["a", "a", "b"], index=False)
    with pytest.raises(UserError, match="stand more than once"):
        read_dosages(path)
