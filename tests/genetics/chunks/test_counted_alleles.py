"""Alleles that are counted window by window, by jobs of an array or processes, are those of one pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain.common.types import UserError
from genebrain.engines.run import using
from genebrain.engines.shard import Shard
from genebrain.genetics.chunks import counted_alleles as counting
from genebrain.genetics.chunks.window import CutInputs
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.haplotypes.common_alleles import AlleleTable, allele_table
from tests.genetics.genome.genotype_writing import Record, write_fasta, write_vcf

DNA = "".join(np.random.default_rng(4).choice(list("ACGT"), 400))
PEOPLE = [f"p{i}" for i in range(30)]
TRAINING = np.arange(20)
WINDOWS = [Window("1", 20, 140, "a"), Window("1", 150, 200, "empty"), Window("1", 210, 380, "b")]


def genotypes(seed: int) -> tuple[str, ...]:
    random = np.random.default_rng(seed)
    calls = random.choice(["0|0", "0|1", "1|1", ".|."], len(PEOPLE), p=[0.5, 0.3, 0.15, 0.05])
    return tuple(calls.tolist())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> CutInputs:
    folder = tmp_path_factory.mktemp("files")
    write_fasta(folder / "r.fa", {"1": DNA})
    places = [30, 60, 90, 220, 260, 300, 350]
    records = [Record(p, DNA[p], ("ACGT"[("ACGT".index(DNA[p]) + 1) % 4],), genotypes(p)) for p in places]
    records.append(Record(360, DNA[360], ("A" if DNA[360] != "A" else "C",), ("0|1", *["0|0"] * 29)))  # rare
    write_vcf(folder / "g.vcf.gz", {"1": DNA}, records, PEOPLE)
    return CutInputs.of(folder / "g.vcf.gz", folder / "r.fa", WINDOWS, PEOPLE)


@pytest.fixture(autouse=True)
def worth_it(monkeypatch):
    monkeypatch.setattr(counting, "worth_spreading", lambda inputs: True)


@pytest.fixture(scope="module")
def alone(inputs) -> AlleleTable:
    found = allele_table(inputs.source, WINDOWS, PEOPLE, counting_rows=TRAINING, frequency=0.05)
    assert [bool(window) for window in found.alleles] == [True, False, True]
    assert found.n_seen == 8
    assert np.isnan(np.concatenate(found.blocks(0.05), axis=1)).any()
    return found


def assert_same(one: AlleleTable, other: AlleleTable) -> None:
    assert one.alleles == other.alleles
    assert one.n_seen == other.n_seen
    np.testing.assert_array_equal(one.rare, other.rare)
    assert one.mask(0.2).digest == other.mask(0.2).digest
    for a, b in zip(one.blocks(0.05) + one.burden(0.2), other.blocks(0.05) + other.burden(0.2), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shard", [None, Shard(claims=True)])
def test_windows_apart_give_the_table_of_one_pass(inputs, alone, tmp_path, shard):
    place = tmp_path / "x.windows"
    with using(shard=shard):
        found = counting.counted_alleles(inputs, TRAINING, 0.05, place, progress=False)
    assert_same(found, alone)
    assert len(list(place.glob("window-*"))) == 3
    assert place.stat().st_mode & 0o077 == 0


def test_a_window_that_was_counted_is_not_counted_again(inputs, alone, tmp_path, monkeypatch):
    counting.counted_alleles(inputs, TRAINING, 0.05, tmp_path, progress=False)
    (tmp_path / "window-00002.safetensors").unlink()
    count, counted = counting.window_table, []

    def seen(sites, window, *more):
        counted.append(window.name)
        return count(sites, window, *more)

    monkeypatch.setattr(counting, "window_table", seen)
    assert_same(counting.counted_alleles(inputs, TRAINING, 0.05, tmp_path, progress=False), alone)
    assert counted == ["b"]


def test_a_numbered_job_counts_for_itself(inputs, alone, tmp_path):
    with using(shard=Shard(2, 3)):
        found = counting.counted_alleles(inputs, TRAINING, 0.05, tmp_path / "none", progress=False)
    assert_same(found, alone)
    assert not (tmp_path / "none").exists()


def test_unknown_people_are_told_before_any_window_is_counted(inputs, tmp_path):
    strangers = CutInputs.of(inputs.source, inputs.reference, WINDOWS, [*PEOPLE, "stranger"])
    with pytest.raises(UserError, match="stranger"):
        counting.counted_alleles(strangers, TRAINING, 0.05, tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()


def test_a_job_that_comes_late_takes_what_the_first_has_stored(tmp_path, monkeypatch):
    """The first job has tidied up between the late one's look at the store and its reading of the parts."""
    from genebrain import tasks
    from genebrain.sides.genes import features
    from genebrain.sides.genome import GeneSide
    from genebrain.sides.workspace import Workspace

    small = {"n_windows": 2, "window_bp": 3000, "n_frames": 60, "n_parcels": 12, "n_genomewide": 50, "n_active": 4}
    cohort: Path = tasks.simulate(tmp_path / "c", n_subjects=60, seed=2, k=2, **small)
    gene, rows = GeneSide(), np.arange(40)
    first, late = (Workspace(cohort, tmp_path / "store", progress=False) for _ in range(2))
    with using(shard=Shard(claims=True)):
        first.read_chunks(gene, rows)
        assert len(list((tmp_path / "store").rglob("alleles-*.safetensors"))) == 1
        assert not list((tmp_path / "store").rglob("*.windows"))
        stored, looks = late._stored_alleles, []

        def look(*given):
            looks.append(given)
            return stored(*given) if len(looks) > 1 else []

        def too_late(*given, **more):
            raise FileNotFoundError

        monkeypatch.setattr(late, "_stored_alleles", look)
        monkeypatch.setattr(features, "counted_alleles", too_late)
        found = late.alleles(gene, rows)
    assert len(looks) == 2
    assert_same(found, first.alleles(gene, rows))
