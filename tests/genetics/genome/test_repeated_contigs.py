"""A FASTA in which one contig name stands twice: libraries read the first of the two without a word."""

from __future__ import annotations

import gzip
from pathlib import Path

import pysam
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.genome.reference import Reference

LETTERS = "ACGTAC\nGG\n"
TWICE = {
    "at the end": f">1\n{LETTERS}>2\n{LETTERS}>1\n{LETTERS}",
    "behind each other": f">2\n{LETTERS}>1 first\n{LETTERS}>1 second\n{LETTERS}",
    "the same letters": f">1\n{LETTERS}>1\n{LETTERS}",
}


def put(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        with pysam.BGZFile(str(path), "wb") as stream:
            stream.write(text.encode())
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["r.fa", "r.fa.gz"])
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("case", TWICE)
def test_a_name_that_stands_twice_is_refused_by_name(tmp_path, name, indexed, case):
    path = put(tmp_path / name, TWICE[case])
    if indexed:
        pysam.set_verbosity(0)
        pysam.faidx(str(path))
    with pytest.raises(UserError, match=r"r\.fa.*: 1 contig stands there more than once: 1\..*own name"):
        Reference(path)


def test_an_index_that_names_both_is_refused_too(tmp_path):
    path = put(tmp_path / "r.fa", f">1\n{LETTERS}>1\n{LETTERS}")
    Path(f"{path}.fai").write_text("1\t8\t3\t6\t7\n1\t8\t16\t6\t7\n")
    with pytest.raises(UserError, match="1 contig stands there more than once: 1"):
        Reference(path)


def test_what_is_odd_and_no_repetition_is_read(tmp_path):
    for text, wanted in {
        f">1 1\n{LETTERS}\n>11\n{LETTERS}": {"1", "11"},
        f">1\n>2\n{LETTERS}": {"2"},  # the index leaves empty ones out
        ">1\r\nACGT\r\n>2 >1\r\nACGT": {"1", "2"},
    }.items():
        with Reference(put(tmp_path / "r.fa", text)) as reference:
            assert set(reference.contigs) == wanted


def test_a_plain_gzip_keeps_its_own_sentence(tmp_path):
    path = tmp_path / "r.fa.gz"
    path.write_bytes(gzip.compress(TWICE["at the end"].encode()))
    with pytest.raises(UserError, match="compressed with gzip"):
        Reference(path)
