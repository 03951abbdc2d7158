"""People of whom there is a genotype file only, or scans only, through the model of a finished run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest

import genebrain
from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.common.types import UserError
from genebrain.runs.new_people.search import row_of
from genebrain.sides.genome import GeneSide
from genebrain.simulation.cohort import simulate_cohort
from tests.runs.test_transfer import SMALL

CLOSED = AlignmentSettings(train="none")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "A", n_subjects=120, seed=23, **SMALL)


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    return tasks.fit(
        cohort, run=tmp_path_factory.mktemp("runs") / "a", alignment=CLOSED, progress=False,
        genetics=GeneSide(chunk_bp=1500),
    )  # fmt: skip


def vcf_of(source: Path, samples: list[str], out: Path, change=None) -> Path:
    """A genotype file of some of the people, in this order; ``change`` edits the columns of every record."""
    lines = []
    with pysam.BGZFile(str(source)) as stream:
        for raw in stream:
            line = raw.decode()
            cells = line.split("\t")
            if line.startswith("#CHROM"):
                columns = [cells.index(name) for name in samples]
            if not line.startswith("##"):
                cells = cells[:9] + [cells[column] for column in columns]
                if change is not None and not line.startswith("#"):
                    cells = change(cells)
            lines.append("\t".join(cells) if not line.startswith("##") else line)
    plain = out.with_suffix("")
    plain.write_text("\n".join(lines) + "\n")
    pysam.tabix_compress(str(plain), str(out), force=True)
    pysam.tabix_index(str(out), preset="vcf", force=True)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_person_alone_has_the_vectors_of_the_same_person_in_a_cohort(cohort, run, tmp_path):
    """Of the run nothing is left but its folder: no cohort, no reference, no store."""
    opened = genebrain.load_run(run)
    inside, table = opened.vectors("test"), opened.cohort.table.set_index("participant_id")
    samples = table.loc[inside.ids[:3], "genotype_id"].tolist()
    file = vcf_of(cohort.parent / "genotypes.vcf.gz", samples[::-1], tmp_path / "new.vcf.gz")
    shutil.copytree(run, tmp_path / "moved" / "run")
    alone = genebrain.load_run(tmp_path / "moved" / "run")
    assert alone.store is None
    found = alone.embed_genomes(file)
    assert found.index.tolist() == samples[::-1]
    assert np.abs(found.loc[samples].to_numpy() - inside.genome[:3]).max() < 1e-6 * np.abs(inside.genome).max()
    one = alone.embed_genomes(file, ids=[samples[1]])
    assert np.abs(one.to_numpy()[0] - inside.genome[1]).max() < 1e-6 * np.abs(inside.genome).max()
    with pytest.raises(UserError, match=r"1 of 1 ids are not among the 3 people of the genotypes \(stranger\)"):
        alone.embed_genomes(file, ids=["stranger"])


def test_the_store_of_the_run_is_read_and_not_written(cohort, run, tmp_path):
    opened = genebrain.load_run(run)
    assert opened.store is not None
    inside = opened.vectors("all").genome  # the cohort's own people: this stamps its tables as used
    before = files(cohort.parent / "store"), files(run)
    found = opened.embed_genomes(cohort)
    assert found.index.tolist() == opened.ids("all")
    assert np.abs(found.to_numpy() - inside).max() < 1e-6 * np.abs(inside).max()
    for folder, found in zip((cohort.parent / "store", run), before, strict=True):
        now = files(folder)
        assert now.keys() == found.keys()
        assert not [name for name in now if now[name] != found[name]]


def test_differences_to_the_reference_and_trained_towers_come_out_the_same(cohort, tmp_path):
    run = tasks.fit(
        cohort, run=tmp_path / "run", progress=False, genetics=GeneSide(delta=True),
        alignment=AlignmentSettings(start="random", train="full", score="cosine"),
        trainer=genebrain.TrainerSettings(max_epochs=2),
    )  # fmt: skip
    opened = genebrain.load_run(run)
    inside = opened.vectors("test")
    assert opened.model.kept == "trained"
    samples = opened.cohort.table.set_index("participant_id").loc[inside.ids, "genotype_id"].tolist()
    found = opened.embed_genomes(cohort.parent / "genotypes.vcf.gz", ids=samples)
    assert np.abs(found.to_numpy() - inside.genome).max() < 2e-6
    scans = opened.embed_scans(cohort.parent / "scans.tsv")
    assert np.abs(scans.loc[inside.ids].to_numpy() - inside.brain).max() < 2e-6


def test_scans_alone_have_the_vectors_of_the_same_people_in_a_cohort(cohort, run, tmp_path):
    opened = genebrain.load_run(run)
    inside = opened.vectors("test")
    table = pd.read_csv(cohort.parent / "scans.tsv", sep="\t", dtype=str)
    table["path"] = [str(cohort.parent / path) for path in table["path"]]
    table[table["participant_id"].isin(inside.ids[:4])].iloc[::-1].to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    found = opened.embed_scans(tmp_path / "s.tsv")
    assert sorted(found.index) == sorted(inside.ids[:4])
    assert np.abs(found.loc[inside.ids[:4]].to_numpy() - inside.brain[:4]).max() < 1e-6 * np.abs(inside.brain).max()
    scores = opened.scores(opened.embed_genomes(cohort), found)
    assert scores.loc[inside.ids[0], inside.ids[1]] == pytest.approx(inside.scores.iloc[0, 1], rel=1e-4, abs=1e-4)
    narrow = tmp_path / "narrow.npy"
    np.save(narrow, np.load(table["path"].iloc[0])[:, :-2])
    (tmp_path / "n.tsv").write_text(f"participant_id\tpath\ttr\nx\t{narrow}\t0.735\n")
    with pytest.raises(UserError, match=r"does not fit cohort n\.tsv; other parcels: 30 and 28"):
        opened.embed_scans(tmp_path / "n.tsv")
    (tmp_path / "t.tsv").write_text(f"participant_id\tpath\ttr\nx\t{table['path'].iloc[0]}\t2.0\n")
    with pytest.raises(UserError, match=r"other seconds between two frames: 0\.735 and 2"):
        opened.embed_scans(tmp_path / "t.tsv")


def test_another_build_other_windows_and_other_sides_are_refused_by_name(cohort, run, tmp_path):
    opened, everybody = genebrain.load_run(run), cohort.parent / "genotypes.vcf.gz"
    people = opened.cohort.table["genotype_id"].tolist()[:2]

    def other_letters(cells):
        turned = dict(zip("ACGT", "CGTA", strict=True))
        return [*cells[:3], "".join(turned[letter] for letter in cells[3]), *cells[4:]]

    build = vcf_of(everybody, people, tmp_path / "build.vcf.gz", other_letters)
    with pytest.raises(UserError, match=r"REF differs from the reference that the run was fitted with at .*100\.0%"):
        opened.embed_genomes(build)

    def elsewhere(cells):
        return [cells[0], str(int(cells[1]) + 10_000_000), *cells[2:]]

    empty = vcf_of(everybody, people, tmp_path / "empty.vcf.gz", elsewhere)
    with pytest.raises(UserError, match=r"no record in any of the 4 windows of the run.*another genome build"):
        opened.embed_genomes(empty)
    shutil.copytree(cohort.parent, tmp_path / "W", ignore=shutil.ignore_patterns("store"))
    bed = tmp_path / "W" / "windows.bed"
    bed.write_text("\n".join(bed.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match=r"other windows .*: 4 and 3, 3 the same; other letters"):
        opened.embed_genomes(tmp_path / "W" / "cohort.yaml")
    with pytest.raises(UserError, match=r"reads genotypes: give a \.vcf\.gz.*given: a ndarray"):
        opened.embed_genomes(np.zeros((3, 4)))
    with pytest.raises(UserError, match="reads scans: give a scan table"):
        opened.embed_scans(np.zeros((3, 4)))


def test_search_takes_a_genotype_file(cohort, run, tmp_path, capsys):
    opened = genebrain.load_run(run)
    inside, table = opened.vectors("test"), opened.cohort.table.set_index("participant_id")
    sample = table.loc[inside.ids[2], "genotype_id"]
    file = vcf_of(cohort.parent / "genotypes.vcf.gz", [sample], tmp_path / "new.vcf.gz")
    found = tasks.search(run, vcf=file, k=3, out=tmp_path / "found.tsv", progress=False)
    own = tasks.search(run, genome=inside.ids[2], k=3, progress=False)
    assert found["participant_id"].tolist() == own["participant_id"].tolist()
    assert np.allclose(found["score"], own["score"], atol=1e-4)
    best = inside.scores.loc[inside.ids[2]].sort_values(ascending=False).index[:3].tolist()
    assert found["participant_id"].tolist() == best
    assert (tmp_path / "found.tsv").stat().st_mode & 0o077 == 0
    assert set(found["query"]) == {sample}
    rows = pd.read_csv(cohort.parent / "scans.tsv", sep="\t")
    mine = rows[rows["participant_id"] == inside.ids[2]]
    mine.assign(path=[str(cohort.parent / one) for one in mine["path"]]).to_csv(
        tmp_path / "s.tsv", sep="\t", index=False
    )
    by_file = tasks.search(run, scan=tmp_path / "s.tsv", k=3, progress=False)
    by_id = tasks.search(run, scan=inside.ids[2], k=3, progress=False)
    assert by_file["participant_id"].tolist() == by_id["participant_id"].tolist()
    assert np.allclose(by_file["score"], by_id["score"], atol=1e-4)
    with pytest.raises(UserError, match="one of the three"):
        tasks.search(run, vcf=file, genome="x")


def test_what_is_no_person_may_be_meant_as_a_file(tmp_path):
    with pytest.raises(UserError, match=r"called 'x/new\.vcf\.gz'.*no such file"):
        row_of("x/new.vcf.gz", ["S1", "S2"])
    with pytest.raises(UserError, match=r"written like S1, S2$"):
        row_of("S9", ["S1", "S2"])
