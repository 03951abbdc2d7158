from __future__ import annotations

import gzip

import pytest

from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import match_contigs
from genebrain.genetics.genome.gene_windows import Window, read_windows

GTF = """#!genome-build GRCh37
20\thavana\tgene\t101\t200\t.\t-\t.\tgene_id "ENSG1.2"; gene_name "OXT"; level 2;
20\thavana\texon\t101\t120\t.\t-\t.\tgene_id "ENSG1.2"; gene_name "OXT";
20\thavana\tgene\t301\t400\t.\t+\t.\tgene_id "ENSG2.1";
"""
GFF = """##gff-version 3
20\tx\tgene\t101\t200\t.\t-\t.\tID=gene:ENSG1;Name=OX%54;biotype=protein_coding
20\tx\tmRNA\t101\t200\t.\t-\t.\tID=t1;Parent=gene:ENSG1
##FASTA
>20
ACGT
"""


def test_bed_is_zero_based_and_fills_what_is_missing(tmp_path):
    path = tmp_path / "genes.bed"
    path.write_text("track name=x\n# note\nchr1\t0\t10\nchr1 5 25 B 0 -\r\n")
    assert read_windows(path) == [Window("chr1", 0, 10, "chr1:0-10", "+"), Window("chr1", 5, 25, "B", "-")]


def test_gtf_and_gff3_are_one_based_closed_and_only_genes_count(tmp_path):
    (tmp_path / "a.gtf").write_text(GTF)
    with gzip.open(tmp_path / "a.gff3.gz", "wt") as out:
        out.write(GFF)
    assert read_windows(tmp_path / "a.gtf") == [
        Window("20", 100, 200, "OXT", "-"),
        Window("20", 300, 400, "ENSG2.1", "+"),
    ]
    assert read_windows(tmp_path / "a.gff3.gz") == [Window("20", 100, 200, "OXT", "-")]


def test_repeated_names_are_made_unique_by_place(tmp_path):
    path = tmp_path / "par.bed"
    path.write_text("X\t1\t9\tASMT\nY\t1\t9\tASMT\nX\t20\t30\tXIST\n")
    assert [w.name for w in read_windows(path)] == ["ASMT@X:1-9", "ASMT@Y:1-9", "XIST"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.bed", "1\t10\t5\tA\n1\tx\t5\n1\t3\n1\t0\t5\n", "3 rows cannot be read.*line 1.*line 2.*line 3"),
        ("a.bed", "1\t1\t5\tA\n1\t1\t5\tA\n", "1 windows are listed more than once: A"),
        ("a.bed", "1\t1\t5\tA\t0\t*\n", "line 1.*strand"),
        ("a.bed", "# nothing\n", "holds no window"),
        ("a.gtf", '20\tx\texon\t1\t9\t.\t+\t.\tgene_id "A";\n', "only rows of type 'gene'"),
        ("a.txt", "1\t1\t5\n", r"must end in \.bed"),
        ("a.bed", "chrom\tstart\tend\nchr1\t1\t9\n", r"line 1: 'start' is no place .* begin header lines with #"),
        ("a.bed", "chr1\t1e4\t2e4\n", r"line 1: '1e4' is no place"),
        ("a.bed", "chr1\t1_000\t2000\n", r"line 1: '1_000' is no place"),
        ("a.bed", "chr1\t1,000\t2,000\n", r"line 1: '1,000' is no place"),
        ("a.bed", "chr1\t-5\t2000\n", r"line 1: '-5' is no place"),
        ("a.gtf", '1\tx\tgene\t10.0\t20\t.\t+\t.\tgene_id "A";\n', r"line 1: '10.0' is no place"),
    ],
)
def test_unusable_files_say_why(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_windows(tmp_path / name)


def test_absent_and_truncated_files(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_windows(tmp_path / "none.bed")
    whole = gzip.compress(b"1\t1\t5\tA\n" * 1000)
    (tmp_path / "cut.bed.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="truncated"):
        read_windows(tmp_path / "cut.bed.gz")


def test_contigs_match_across_spellings_and_all_absent_ones_are_named():
    assert match_contigs(["chr1", "X", "chrM"], ["1", "chrX", "MT"], "f") == {"chr1": "1", "X": "chrX", "chrM": "MT"}
    assert match_contigs(["23"], ["23", "X"], "f") == {"23": "23"}
    with pytest.raises(UserError, match=r"2 contigs .* absent \(7, chr9\)"):
        match_contigs(["7", "1", "chr9"], ["1"], "f")
    with pytest.raises(UserError, match=r"1 fit more than one contig \(23\)"):
        match_contigs(["23"], ["X", "chrX"], "f")
