"""Rare alleles become the major one before chunks are cut; what is rare is counted on training people alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain.common.types import UserError
from genebrain.engines.run import using
from genebrain.engines.settings import EngineSettings
from genebrain.genetics.chunks import spread
from genebrain.genetics.chunks.build import build_chunks, content_fingerprint, cut_together, stored_chunks
from genebrain.genetics.chunks.chunk_set import together
from genebrain.genetics.chunks.stored_alleles import alleles_file, load_alleles, save_alleles
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.vcf import VcfFile
from genebrain.genetics.haplotypes.common_alleles import (
    UNKNOWN,
    Allele,
    AlleleMask,
    AlleleTable,
    allele_table,
    dosages_of,
)
from genebrain.genetics.haplotypes.dosages import dosages
from genebrain.genetics.haplotypes.policies import Policies
from genebrain.genetics.haplotypes.told import told_genotypes
from tests.genetics.genome.genotype_writing import Record, write_fasta, write_vcf

DNA = "".join(np.random.default_rng(1).choice(list("ACGT"), 300))
WINDOW = Window("1", 60, 240, "w")
N = 20
PEOPLE = [f"p{i}" for i in range(N)]
TRAINING = list(range(12))


def other(position: int, step: int = 1) -> str:
    return "ACGT"[("ACGT".index(DNA[position]) + step) % 4]


def calls(**carriers: list[int]) -> tuple[str, ...]:
    """Genotypes of everybody; ``a1=[3]``: person 3 carries allele 1 once; ``b1``: twice."""
    pairs = [["0", "0"] for _ in PEOPLE]
    for key, people in carriers.items():
        for person in people:
            pairs[person] = [key[1], "0"] if key[0] == "a" else [key[1], key[1]]
    return tuple("|".join(pair) for pair in pairs)


COMMON, RARE, TURNED, THREE, NEW = 80, 100, 120, 150, 200
RECORDS = [
    Record(COMMON, DNA[COMMON], (other(COMMON),), calls(b1=[0, 1, 2, 15])),  # 6 of 24 among training people
    Record(RARE, DNA[RARE], (other(RARE),), calls(a1=[1, 15])),
    Record(TURNED, DNA[TURNED], (other(TURNED),), calls(b1=[i for i in range(N) if i != 4])),  # REF is the rare one
    Record(THREE, DNA[THREE], (other(THREE), other(THREE, 2)), calls(b1=list(range(2, 12)), a2=[0], b2=[16])),
    Record(NEW, DNA[NEW], (other(NEW),), calls(b1=[14, 15, 16])),  # nobody in training has it
]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("files")
    write_fasta(folder / "r.fa", {"1": DNA})
    write_vcf(folder / "g.vcf.gz", {"1": DNA}, RECORDS, PEOPLE)
    return {"genotypes": folder / "g.vcf.gz", "reference": folder / "r.fa", "windows": [WINDOW], "samples": PEOPLE}


@pytest.fixture(scope="module")
def table(files) -> AlleleTable:
    return allele_table(files["genotypes"], [WINDOW], PEOPLE, counting_rows=TRAINING, frequency=0.002)


def written(*changes: tuple[int, str]) -> bytes:
    letters = list(DNA)
    for position, letter in changes:
        letters[position] = letter
    return "".join(letters[WINDOW.start : WINDOW.end]).encode()


def test_alleles_are_counted_on_training_people(table: AlleleTable) -> None:
    (alleles,), (dosages,) = table.alleles, table.dosages
    assert [(a.position, a.copies, a.of_reference, a.known) for a in alleles] == [
        (COMMON, 6, 18, 24), (TURNED, 22, 2, 24), (THREE, 20, 3, 24),
    ]  # fmt: skip
    assert table.n_seen == 5, "the rare one and the second of three are seen, the new one is not"
    np.testing.assert_array_equal(dosages[:, 0], [2, 2, 2, *[0] * 12, 2, *[0] * 4])
    ((own,), (everything,)) = (table.burden(f)[0].T for f in (0.002, 1.0))
    # RARE and the second of three are rare in training, NEW is unknown there.
    assert {person: own[person] for person in np.flatnonzero(own)} == {0: 1, 1: 1, 14: 2, 15: 3, 16: 4}
    np.testing.assert_array_equal(everything, own + dosages.sum(axis=1))
    (varying,) = table.blocks(0.002)
    np.testing.assert_array_equal(varying, dosages[:, :1]), "where REF is rare nothing varies"


def test_whoever_carries_a_rare_allele_gets_the_major_one(files, table: AlleleTable) -> None:
    """Each person's string is what a look at the records gives."""
    chunks = build_chunks(**files, chunk_bp=1000, mask=table.mask(0.002), progress=False)
    turned, three, common = (TURNED, other(TURNED)), (THREE, other(THREE)), (COMMON, other(COMMON))
    strings = {
        0: (written(turned, common, three), written(turned, common, three)),  # allele 2 and REF of three are rare
        1: (written(turned, common, three), written(turned, common, three)),  # RARE is gone
        4: (written(turned, three), written(turned, three)),  # REF of TURNED is rare
        14: (written(turned, three), written(turned, three)),  # NEW is unknown
        15: (written(turned, common, three), written(turned, common, three)),
    }
    for person, expected in strings.items():
        assert tuple(chunks.sequences[row] for row in chunks.index[person, :, 0, 0]) == expected, person
    assert chunks.n_unique == 2
    assert chunks.report["counts"]["rare_alleles_masked"] == 5
    told = told_genotypes(chunks.report, 0.002)[1]
    assert told.startswith("genotypes: 5 kinds of rare alleles (below 0.002) are written as the major")


def test_a_mask_is_applied_to_people_who_were_not_counted(files, table: AlleleTable, tmp_path: Path) -> None:
    """Another file with alleles of its own, records joined or absent: known common alleles stay, all else is major."""
    records = [
        Record(COMMON, DNA[COMMON], (other(COMMON, 2), other(COMMON)), ("1|2", "0|0")),
        Record(130, DNA[130], (other(130),), ("1|1", "1|0")),
        Record(TURNED, DNA[TURNED], (other(TURNED),), ("0|1", "1|1")),
    ]
    write_vcf(tmp_path / "g.vcf.gz", {"1": DNA}, sorted(records, key=lambda r: r.position), ["x", "y"])
    there = {**files, "genotypes": tmp_path / "g.vcf.gz", "samples": ["x", "y"]}
    chunks = build_chunks(**there, chunk_bp=1000, mask=table.mask(0.002), progress=False)
    turned, common = (TURNED, other(TURNED)), (COMMON, other(COMMON))
    found = [[chunks.sequences[row] for row in person[:, 0, 0]] for person in chunks.index]
    assert found == [[written(turned), written(turned, common)], [written(turned), written(turned)]]
    theirs, absent, unknown = dosages_of(there["genotypes"], [WINDOW], ["x", "y"], table.alleles)
    assert (absent, unknown) == (1, 2)
    np.testing.assert_array_equal(theirs.dosages[0], [[1, 1, 0], [0, 2, 0]])
    np.testing.assert_array_equal(theirs.burden(0.002)[0], [[3], [1]])


def test_who_else_is_in_a_file_changes_nobody(table: AlleleTable, tmp_path: Path) -> None:
    """An allele that training people lack is rare for one new person and for forty who all carry it."""
    counts = []
    for n in (1, 40):
        people = [f"p{i}" for i in range(n)]
        new = Record(130, DNA[130], (other(130),), ("0|1",) * n)
        write_vcf(tmp_path / f"{n}.vcf.gz", {"1": DNA}, [new], people)
        theirs, _, _ = dosages_of(tmp_path / f"{n}.vcf.gz", [WINDOW], people, table.alleles)
        counts.append(theirs.burden(0.002)[0][0])
    assert counts == [[1], [1]]


def test_masks_of_equal_content_share_their_chunks(files, table: AlleleTable) -> None:
    mask = table.mask(0.002)
    fewer = allele_table(files["genotypes"], [WINDOW], PEOPLE, counting_rows=TRAINING[:-1], frequency=0.002).mask(0.002)
    assert fewer.windows != mask.windows, "other counts"
    assert fewer.digest == mask.digest
    names = [content_fingerprint(**files, mask=one) for one in (mask, fewer, AlleleMask(0.002, ((),)))]
    assert names[0] == names[1] != names[2]
    assert content_fingerprint(**files) == content_fingerprint(**files, mask=None) not in names


def test_an_allele_needs_copies_whatever_its_frequency() -> None:
    few = Allele(5, "A", "C", copies=4, of_reference=6, known=10)
    assert not few.is_common(0.003)
    assert few.common_reference(0.003)
    assert Allele(5, "A", "C", copies=5, of_reference=5, known=10).varies(0.003)
    assert not Allele(5, "A", "C", copies=11, of_reference=400, known=411).varies(0.01)
    assert Allele(5, "A", "C", copies=12, of_reference=400, known=412).varies(0.01)
    assert not Allele(5, "A", "C", copies=12, of_reference=4000, known=4012).varies(0.01)


def test_chunks_of_several_masks_are_read_once(files, table: AlleleTable) -> None:
    plain = build_chunks(**files, chunk_bp=60, progress=False)
    masked = build_chunks(**files, chunk_bp=60, mask=table.mask(0.002), progress=False)
    both = together([plain, masked])
    assert len(set(both.sequences)) == len(both.sequences) == len(set(plain.sequences) | set(masked.sequences))
    assert both.sequences[: plain.n_unique] == plain.sequences
    assert both.keys.shape == (both.n_unique, 16)
    both._check()


TWICE = 160
TWO_BATCHES = [
    # One allele in two records: each has calls of its own people, as after a merge of two files.
    Record(TWICE, DNA[TWICE], (other(TWICE),), ("1|0", "0|1", "0|0", "1|1", "./.", "./.", "0|0", "./.")),
    Record(
        TWICE, DNA[TWICE], (other(TWICE, 2), other(TWICE)), ("./.", "2|0", "2|2", "0|0", "2|2", "./.", "./.", "0|0")
    ),
]
COPIES = [1, 2, 2, 2, 2, np.nan, 0, 0]


def test_an_allele_of_two_records_is_one_allele(tmp_path: Path) -> None:
    """Dosages, counts and masks take it as the letters do: whoever carries it in any record has it."""
    people = list("abcdefgh")
    write_fasta(tmp_path / "r.fa", {"1": DNA})
    write_vcf(tmp_path / "g.vcf.gz", {"1": DNA}, TWO_BATCHES, people)
    files = {"genotypes": tmp_path / "g.vcf.gz", "reference": tmp_path / "r.fa", "windows": [WINDOW], "samples": people}
    all_calls = Policies(missing_threshold=1.0)
    chunks = build_chunks(**files, chunk_bp=1000, policies=all_calls, progress=False)
    carried = [[chunks.sequences[row] != written() for row in person[:, 0, 0]] for person in chunks.index]
    assert [sum(pair) for pair in carried] == [1, 2, 2, 2, 2, 0, 0, 0]
    assert chunks.report["counts"]["repeated_records"] == 1

    table = allele_table(files["genotypes"], [WINDOW], people, counting_rows=range(8), frequency=0.002)
    assert [(a.copies, a.known) for a in table.alleles[0]] == [(9, 14)]
    assert table.dosages[0].dtype == np.int8
    np.testing.assert_array_equal(table.block(0.0, 0)[:, 0], COPIES)
    found, absent, _ = dosages_of(files["genotypes"], [WINDOW], people, table.alleles)
    assert absent == 0
    np.testing.assert_array_equal(found.dosages[0][:, 0], COPIES)
    (one,) = dosages(files["genotypes"], [WINDOW], people)
    np.testing.assert_array_equal(one[:, 0], COPIES)
    assert one.shape == (8, 1), "nobody carries the other allele of the second record"

    masked = build_chunks(**files, chunk_bp=1000, policies=all_calls, mask=table.mask(0.002), progress=False)
    assert masked.report["counts"]["rare_alleles_masked"] == 0
    assert masked.sequences == chunks.sequences, "the first record alone has fewer copies than a common allele"


def test_counted_alleles_come_back_as_they_were_stored(table: AlleleTable, tmp_path: Path) -> None:
    """Unknown dosages stay unknown; a changed file is refused by name."""
    dosages = table.dosages[0].astype(np.float32)
    dosages[3, 0] = np.nan
    path = alleles_file(tmp_path, "x")
    rare = np.repeat(table.rare, 2, axis=1)
    save_alleles(path, AlleleTable([*table.alleles, []], [dosages, np.zeros((N, 0), np.float32)], 7, rare))
    again = load_alleles(path)
    np.testing.assert_array_equal(again.rare, rare)
    assert again.alleles == [*table.alleles, []]
    assert again.n_seen == 7
    assert again.dosages[0].dtype == np.int8, "a quarter of the memory"
    assert again.dosages[0][3, 0] == UNKNOWN
    block = again.block(0.0, 0)
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, AlleleTable(table.alleles, [dosages], 7).block(0.0, 0))
    assert np.isnan(block[3, 0])
    assert again.dosages[1].shape == (N, 0)
    assert path.stat().st_mode & 0o077 == 0
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"alleles-x\.safetensors is damaged.*delete this file"):
        load_alleles(path)


def test_alleles_of_others_under_this_name_are_refused(table: AlleleTable, tmp_path: Path) -> None:
    """What was counted on other people would let these be learned from."""
    save_alleles(alleles_file(tmp_path, "theirs"), table)
    alleles_file(tmp_path, "theirs").rename(alleles_file(tmp_path, "ours"))
    with pytest.raises(UserError, match=r"alleles-ours.*written as alleles-theirs.*delete this file"):
        load_alleles(alleles_file(tmp_path, "ours"))


def test_windows_are_read_once_for_all_masks(files, table: AlleleTable, tmp_path: Path, monkeypatch) -> None:
    """What is cut together is what each mask gives alone, and the second mask costs no reading."""
    monkeypatch.setattr(spread, "WORTH", 0)
    settings = [{**files, "windows": [WINDOW, Window("1", 30, 90, "v")], "mask": table.mask(f)} for f in (0.002, 0.3)]
    settings = [{**one, "mask": AlleleMask(m.frequency, (*m.windows, ()))} for one in settings for m in [one["mask"]]]
    apart = [build_chunks(**one, progress=False) for one in settings]
    read, reads = VcfFile.read, []

    def counting(self, window, rows=None):
        reads.append(window)
        return read(self, window, rows)

    monkeypatch.setattr(VcfFile, "read", counting)
    with using(EngineSettings(workers=1)):
        cut_together(tmp_path, settings, progress=False)
        together_ = [stored_chunks(tmp_path, progress=False, **one) for one in settings]
    assert len(reads) == 2
    for one, other in zip(apart, together_, strict=True):
        assert one.sequences == other.sequences
        np.testing.assert_array_equal(one.index, other.index)
        assert one.report == other.report
    assert apart[0].sequences != apart[1].sequences
    assert not list(tmp_path.glob("*.windows"))
