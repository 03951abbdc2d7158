"""Genotypes of a cohort in several files, filtered, and what every verb tells of them."""

from __future__ import annotations

import json

import pysam
import pytest

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.cohort import notices
from genebrain.cohort.checks.check import check_cohort
from genebrain.cohort.participants import load_cohort
from genebrain.common.types import UserError
from genebrain.sides.genome import GeneSide
from genebrain.sides.workspace import Workspace
from tests.cohort.small_cohort import SmallCohort, write_vcf


@pytest.fixture
def small(tmp_path) -> SmallCohort:
    notices._told.clear()
    made = SmallCohort(tmp_path)
    for row in made.participants:
        row["family_id"] = row["participant_id"]
    return made


def in_parts(small: SmallCohort, reverse: bool = False) -> None:
    """Two files with half of the sites each, the samples of the second in another order if asked for."""
    rows = [
        (pos, small.sequence[pos], alt, calls)
        for pos, alt, calls in zip(small.sites, small.alleles, small.genotypes, strict=True)
    ]
    half = len(rows) // 2
    step = -1 if reverse else 1
    second = [(*row[:3], row[3][::step]) for row in rows[half:]]
    write_vcf(small.folder / "part1.vcf.gz", small.contig, small.samples, rows[:half])
    write_vcf(small.folder / "part10.vcf.gz", small.contig, small.samples[::step], second)


@pytest.mark.parametrize("value", [["part10.vcf.gz", "part1.vcf.gz"], "part*.vcf.gz", ["part*"], "part*"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_list_or_a_pattern_of_files_is_one_cohort(small, value, reverse):
    gene = GeneSide(chunk_bp=600)
    plain = gene.plan(load_cohort(small.write()))
    in_parts(small, reverse)
    small.keys["genotypes"] = value
    path = small.write()
    cohort = load_cohort(path)
    found = gene.plan(cohort)
    assert (found["chunks_unique"], found["sites"]) == (plain["chunks_unique"], plain["sites"])
    assert sum(block.shape[1] for block in gene.dosage_blocks(cohort)) == len(small.sites)
    result = check_cohort(path)
    assert result.problems == []
    assert result.funnel["records_looked_at"] == len(small.sites)


def test_each_file_counts_in_the_fingerprint(small):
    in_parts(small)
    small.keys["genotypes"] = "part*.vcf.gz"
    before = load_cohort(small.write()).fingerprint
    small.genotypes[-1][0] = "0|0" if small.genotypes[-1][0] != "0|0" else "1|1"
    in_parts(small)
    assert load_cohort(small.write()).fingerprint != before
    small.keys["genotype_filter"] = "PASS"
    filtered = load_cohort(small.write()).fingerprint
    small.keys["genotype_filter"] = ["PASS", "q10"]
    assert load_cohort(small.write()).fingerprint != filtered


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"genotypes": "none*.vcf.gz"}, "no such file"),
        ({"genotypes": ["genotypes.vcf.gz", "gone.vcf.gz"]}, "1 of 2 entries are no file: gone.vcf.gz"),
        ({"genotypes": ["genotypes.vcf.gz", "geno*.gz"]}, "named more than once"),
        ({"min_r2": "high"}, "a number from 0 to 1"),
        ({"min_r2": 30}, "a number from 0 to 1"),
        ({"min_r2": True}, "a number from 0 to 1"),
        ({"min_r2": 0.3}, "none of the INFO fields"),
        ({"genotype_filter": 3}, "words as in the FILTER column"),
        ({"min_r": 0.3}, "did you mean `min_r2`"),
    ],
)
def test_wrong_keys_are_named(small, keys, words):
    small.keys |= keys
    with pytest.raises(UserError, match=words):
        load_cohort(small.write())


def test_every_verb_tells_the_same_once(small, capsys):
    """Warnings of the check, windows that do not vary and carriers that are dropped."""
    small.samples[1] = "stranger"  # a person without genome, a genome without person
    small.genotypes = [["0|0"] * 24 if k else ["0|2", *["0|0"] * 23] for k in range(len(small.sites))]
    small.alleles = [f"{alt},<DEL>" for alt in small.alleles]
    path = small.write()
    wanted = [
        "warning: 1 of 24 participants have no genotypes",
        "warning: 1 of 24 ids of the genotypes are not in the participants table",
        "genotypes: 0 of 1 windows vary among these 23 people; everybody has the same sequence in GENE1",
        "genotypes: 1 records with 1 carriers dropped",
    ]
    tasks.plan(path)
    told = capsys.readouterr().err
    assert [told.count(words) for words in wanted] == [1, 1, 1, 1]
    tasks.plan(path)
    assert not any(words in capsys.readouterr().err for words in wanted)
    notices._told.clear()
    Workspace(path, progress=False).chunks(GeneSide())
    told = capsys.readouterr().err
    assert [told.count(words) for words in wanted] == [1, 1, 1, 1]
    result = check_cohort(path)
    assert result.funnel["genotypes"] == {
        "people": 23, "windows": 1, "windows_that_vary": 0, "windows_without_variation": ["GENE1"],
    }  # fmt: skip
    assert wanted[2] in result.text
    assert {"no variation", "symbolic alleles"} <= {problem.kind for problem in result.problems}


def test_a_run_keeps_the_counts_in_its_funnel(tmp_path, capsys):
    notices._told.clear()
    made = SmallCohort(tmp_path, n=60)
    made.genotypes = [row if k % 2 else ["0|0"] * 60 for k, row in enumerate(made.genotypes)]
    run = tasks.fit(made.write(), run=tmp_path / "run", alignment=AlignmentSettings(train="none"), progress=False)
    funnel = json.loads((run / "funnel.json").read_text())["genotypes"]
    assert (funnel["people"], funnel["windows"], funnel["windows_that_vary"]) == (60, 1, 1)
    assert (funnel["records"], funnel["windows_without_variation"]) == (len(made.sites), [])
    assert capsys.readouterr().err.count("1 of 1 windows vary among these 60 people") == 1


def test_the_check_reads_on_until_a_window_varies(small):
    small.genotypes = [["0|0"] * 24 for _ in small.sites[:-1]] + [small.genotypes[-1]]
    result = check_cohort(small.write(), most_records=20)
    assert result.funnel["records_looked_at"] == 20
    assert result.funnel["genotypes"]["windows_that_vary"] == 1


def test_a_contig_without_records_is_an_error_of_the_check_and_of_the_run(small):
    path = small.write()
    with (small.folder / "windows.bed").open("a") as bed:
        bed.write("chr2\t10\t100\tGENE2\t0\t+\n")
    with (small.folder / "reference.fa").open("a") as fasta:
        fasta.write(f">chr2\n{'ACGT' * 50}\n")
    (small.folder / "reference.fa.fai").unlink(missing_ok=True)
    vcf = small.folder / "genotypes.vcf.gz"
    text = pysam.BGZFile(str(vcf)).read().replace(b"##FORMAT", b"##contig=<ID=chr2>\n##FORMAT", 1)
    with pysam.BGZFile(str(vcf), "wb") as stream:
        stream.write(text)
    pysam.tabix_index(str(vcf), preset="vcf", force=True)
    problems = {problem.kind: problem for problem in check_cohort(path).problems}
    assert problems["contig without records"].counts == {"windows": 1, "contigs": 1}
    with pytest.raises(UserError, match="no record at all on chr2"):
        GeneSide().plan(load_cohort(path))
