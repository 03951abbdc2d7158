"""From a file of variants to a scored file: resumed, sharded and whole runs give the same bytes; bad input is named."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.model.language_model import GeneratorLanguageModel, load_language_model
from genebrain.genetics.store.work_parts import Shard, WorkParts, finished_report, parts_of, report_path
from genebrain.genetics.variants.contexts import ScoreRule
from genebrain.genetics.variants.files import VariantFile
from genebrain.genetics.variants.likelihood import Question, log_likelihoods
from genebrain.genetics.variants.metrics import classification_areas
from genebrain.genetics.variants.run import score_variant_file

RULE = ScoreRule(context_bp=60, downstream_bp=8)


@pytest.fixture(scope="module")
def model() -> GeneratorLanguageModel:
    return load_language_model(device="cpu")


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    path = tmp_path / "genome.fa"
    path.write_text(">chr1\n" + "".join(random.choice(list("ACGT"), 3000)) + "\n>chr2\nACGTTTACGGATTTACACACATTG\n")
    return path


@pytest.fixture
def table(genome: Path, tmp_path: Path) -> Path:
    text = genome.read_text().split("\n")[1]
    random = np.random.default_rng(4)
    rows = []
    for position in sorted(random.integers(1, 2990, 60)):
        ref = text[position - 1 : position - 1 + random.choice([1, 1, 1, 3])]
        alt = ref[0] if len(ref) > 1 else random.choice([x for x in "ACGT" if x != ref])
        rows.append((1, position, ref, alt, int(random.integers(2))))
    path = tmp_path / "variants.tsv"
    pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt", "label"]).to_csv(path, sep="\t", index=False)
    return path


def score(variants: Path, genome: Path, out: Path, model: GeneratorLanguageModel, **options: object) -> dict | None:
    settings = {"rule": RULE, "block_size": 16, "tokens_per_batch": 200, "progress": False, **options}
    return score_variant_file(variants, genome, out, model, settings.pop("rule"), **settings)  # type: ignore[arg-type]


def test_scores_are_the_difference_of_two_likelihoods_averaged_over_strands(
    table: Path, genome: Path, tmp_path: Path, model: GeneratorLanguageModel
) -> None:
    report = score(table, genome, tmp_path / "out.tsv", model)
    scored = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    assert report is not None
    assert report["statuses"] == {"scored": len(scored)}
    expected = (scored.ref_forward - scored.alt_forward + scored.ref_reverse - scored.alt_reverse) / 2
    assert scored.score.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)
    row = scored[(scored.ref.str.len() == 1) & (scored.pos > 100)].iloc[0]
    text = genome.read_text().split("\n")[1]
    question = Question(
        text[row.pos - 61 : row.pos - 1].encode(),
        (row.ref + text[row.pos : row.pos + 8], row.alt + text[row.pos : row.pos + 8]),
    )
    (values,) = log_likelihoods(model, [question], 4096)
    assert values == pytest.approx([row.ref_forward, row.alt_forward], abs=1e-4)
    want = classification_areas(scored.label.to_numpy(), scored.score.to_numpy())
    assert report["metrics"]["auroc"] == pytest.approx(want["auroc"])
    assert (tmp_path / "out.tsv").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.parts"))


def test_parity_is_the_published_score(
    table: Path, genome: Path, tmp_path: Path, model: GeneratorLanguageModel
) -> None:
    report = score(table, genome, tmp_path / "out.tsv", model, rule=ScoreRule(context_bp=60, parity=True))
    scored = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    single = scored[scored.status == "scored"]
    p_ref, p_alt = np.exp(single.ref_forward), np.exp(single.alt_forward)
    assert single.score.to_numpy() == pytest.approx(np.log(p_ref / (p_alt + 1e-10)).to_numpy(), abs=1e-6)
    assert set(scored[scored.status != "scored"].status) == {"not_single_base"}
    assert scored.ref_reverse.isna().all()
    assert report is not None
    assert report["metrics"]["auprc_estimator"] == "trapezoid"


def test_variants_of_one_place_share_a_forward_pass(
    genome: Path, tmp_path: Path, model: GeneratorLanguageModel
) -> None:
    base = genome.read_text().split("\n")[1][499]
    others = [x for x in "ACGT" if x != base]
    variants = tmp_path / "v.csv"
    variants.write_text("CHROM,POS,REF,ALT\n" + "".join(f"chr1,500,{base},{x}\n" for x in others))
    report = score(variants, genome, tmp_path / "out.csv", model)
    assert report is not None
    assert (report["work"]["comparisons"], report["work"]["contexts"]) == (6, 2)


@pytest.mark.parametrize("suffix", ["tsv", "csv", "parquet", "vcf", "vcf.gz"])
def test_shards_and_resumed_runs_give_the_bytes_of_a_whole_run(
    table: Path, genome: Path, tmp_path: Path, model: GeneratorLanguageModel, suffix: str
) -> None:
    whole, pieces, resumed = (tmp_path / f"{name}.{suffix}" for name in ("whole", "pieces", "resumed"))
    score(table, genome, whole, model)
    assert score(table, genome, pieces, model, shard=Shard(2, 2)) is None
    assert not pieces.exists()
    assert score(table, genome, pieces, model, shard=Shard(1, 2)) is not None
    assert pieces.read_bytes() == whole.read_bytes()
    assert score(table, genome, resumed, model, shard=Shard(1, 3)) is None
    (resumed.with_name(f"{resumed.name}.parts") / "part-000003.safetensors").unlink()
    score(table, genome, resumed, model)
    assert resumed.read_bytes() == whole.read_bytes()
    assert (
        resumed.with_name(f"{resumed.name}.report.json").read_bytes()
        == whole.with_name(f"{whole.name}.report.json").read_bytes()
    )


def test_parts_of_finished_work_that_a_kill_left_are_dropped(tmp_path: Path) -> None:
    out = tmp_path / "scored.tsv"
    WorkParts(parts_of(out), {"rule": 1}).write(0, {"x": np.zeros(1)})
    assert finished_report(out, {"rule": 1}) is None
    assert parts_of(out).is_dir()
    out.write_text("id\n")
    report_path(out).write_text('{"identity": {"rule": 1}}')
    assert finished_report(out, {"rule": 1}) == {"identity": {"rule": 1}}
    assert not parts_of(out).exists()


def test_shares_that_start_and_end_together_write_one_result(tmp_path: Path) -> None:
    identity = {"rule": 1}
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: WorkParts(tmp_path / "parts", identity), range(8)))
    parts = opened[0]
    parts.write(0, {"x": np.zeros(1)})
    with parts.merging([0, 1]) as early:
        assert not early
    parts.write(1, {"x": np.zeros(1)})
    with parts.merging([0, 1]) as first:
        assert first
        with opened[1].merging([0, 1]) as second:
            assert not second
        with parts.alone("shard 1/2"), pytest.raises(UserError, match="another process"), opened[1].alone("shard 1/2"):
            pass
        parts.remove()
    with opened[1].merging([0, 1]) as late:
        assert not late
    with pytest.raises(UserError, match="missing: the part was not worked out"):
        WorkParts(tmp_path / "parts", identity).read(3, "x")


def test_a_killed_run_goes_on_to_the_same_bytes(table: Path, genome: Path, tmp_path: Path) -> None:
    def command(out: str) -> list[str]:
        options = [f"variants={table}", f"reference={genome}", f"out={tmp_path / out}", "context_bp=2400"]
        return [sys.executable, "-m", "genebrain", "score-variants", *options, "block_size=4", "tokens_per_batch=400"]

    process = subprocess.Popen(command("killed.tsv"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "killed.tsv.parts"
    until = time.monotonic() + 90
    while not list(parts.glob("part-*.safetensors")) and time.monotonic() < until:
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = len(list(parts.glob("part-*.safetensors")))
    assert done >= 1
    assert not (tmp_path / "killed.tsv").exists(), "the run was over before it could be killed"
    from genebrain import tasks

    for out in ("killed.tsv", "whole.tsv"):
        tasks.score_variants(
            table, genome, tmp_path / out, context_bp=2400, block_size=4, tokens_per_batch=400, progress=False
        )
    assert (tmp_path / "killed.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()


def test_a_vcf_keeps_its_records_and_loses_its_people(
    genome: Path, tmp_path: Path, model: GeneratorLanguageModel
) -> None:
    text = genome.read_text().split("\n")[1]
    a, b = text[299], text[399:402]
    others = [x for x in "ACGT" if x != a]
    path = tmp_path / "in.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=1>\n##INFO=<ID=AF,Number=A,Type=Float,Description=x>\n"
        "##FORMAT=<ID=GT,Number=1,Type=String,Description=x>\n"
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tALICE\n"
        f"1\t300\trs1\t{a}\t{others[0]},<DEL>,{others[1].lower()}\t7\tPASS\tAF=0.1,0.2,0.3\tGT\t0|1\n"
        f"1\t400\t.\t{b}\t{b[0]}\t.\t.\t.\tGT\t0|1\n"
    )
    report = score(path, genome, tmp_path / "out.vcf.gz", model)
    assert report is not None
    assert report["statuses"] == {"scored": 3, "not_acgt": 1}
    assert report["lower_case"] == 1
    assert report["contigs"] == {"1": "chr1"}
    with pysam.VariantFile(str(tmp_path / "out.vcf.gz")) as file:
        assert not list(file.header.samples)
        first, second = file
    assert first.info["AF"] == pytest.approx((0.1, 0.2, 0.3))
    assert first.info["GENEBRAIN_STATUS"] == ("scored", "not_acgt", "scored")
    assert first.info["GENEBRAIN_SCORE"][1] is None
    assert second.info["GENEBRAIN_SCORE"][0] == pytest.approx(
        np.mean(
            [
                second.info[f"GENEBRAIN_REF_{strand}"][0] - second.info[f"GENEBRAIN_ALT_{strand}"][0]
                for strand in ("FORWARD", "REVERSE")
            ]
        ),
        abs=1e-4,
    )
    with pysam.BGZFile(str(tmp_path / "out.vcf.gz")) as raw:
        assert b"ALICE" not in raw.read()
    score(path, genome, tmp_path / "out.tsv", model)
    assert pd.read_csv(tmp_path / "out.tsv", sep="\t").status.tolist() == ["scored", "not_acgt", "scored", "scored"]


def test_another_genome_build_is_recognised(table: Path, tmp_path: Path, model: GeneratorLanguageModel) -> None:
    other = tmp_path / "other.fa"
    other.write_text(">chr1\n" + "ACGT" * 500 + "\n")
    with pytest.raises(UserError, match=r"wrong genome build\?.* of 60 variants .*contradict the reference"):
        score(table, other, tmp_path / "out.tsv", model)
    assert not list(tmp_path.glob("out*"))


def test_a_few_mismatches_are_counted_and_not_scored(
    table: Path, genome: Path, tmp_path: Path, model: GeneratorLanguageModel
) -> None:
    lines = table.read_text().splitlines()
    cells = lines[1].split("\t")
    cells[2], cells[3] = ("A", "C") if cells[2][0] != "A" else ("C", "A")
    table.write_text("\n".join([lines[0], "\t".join(cells), *lines[2:]]))
    report = score(table, genome, tmp_path / "out.parquet", model)
    assert report is not None
    assert report["statuses"]["mismatch"] == 1
    assert report["mismatch_share"] == pytest.approx(1 / 60)
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert np.isnan(frame.score[0])
    assert frame.score[1:].notna().all()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("chrom\tpos\tref\nchr1\t1\tA\n", {}, "no column 'alt'.*columns present: chrom, pos, ref"),
        ("chrom\tpos\tref\talt\nchr1\t0\tA\tC\nchr1\tx\tA\tC\n", {}, "2 positions that are not whole numbers from 1"),
        ("chrom\tpos\tref\talt\n", {}, "no rows"),
        ("chrom\tpos\tref\talt\nchr9\t5\tA\tC\n", {}, "none of 1 variants.*reference lacks: chr9.*chr1, chr2"),
        ("chrom\tpos\tref\talt\nchr2\t1\t<x>\tC\n", {}, "none of 1 variants.*not plain letters"),
        ("chrom\tpos\tref\talt\tlabel\nchr2\t1\tA\tC\tmaybe\n", {}, "1 labels that are not 0 or 1.*'maybe'"),
        ("chrom\tpos\tref\talt\nchr2\t1\tA\tC\n", {"label": "clinical"}, "no column 'clinical'"),
        ("chrom\tpos\tref\talt\tclinical\nchr2\t1\tA\tC\t\n", {"label": "clinical"}, "empty for all 1 variants"),
        ("chrom\tpos\tref\talt\nchr2\t\t\tC\n", {}, "1 positions|1 rows with an empty"),
        ("chrom\tpos\tref\talt\nchr2\t1\tA\tC\n", {"rule": ScoreRule(context_bp=200_000)}, "at most 97266"),
        ("chrom\tpos\tref\talt\nchr2\t1\tA\tC\n", {"max_mismatch_share": 2.0}, "a share, 0 to 1"),
    ],
)
def test_bad_tables_and_options(
    genome: Path, tmp_path: Path, model: GeneratorLanguageModel, content: str, options: dict, message: str
) -> None:
    path = tmp_path / "v.tsv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        score(path, genome, tmp_path / "out.tsv", model, **options)
    assert not list(tmp_path.glob("out*"))


def test_files_that_are_something_else(
    genome: Path, table: Path, tmp_path: Path, model: GeneratorLanguageModel
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        VariantFile(tmp_path / "none.vcf")
    with pytest.raises(UserError, match="must end with one of"):
        VariantFile(genome)
    (tmp_path / "x.vcf").write_text("hello\n")
    with pytest.raises(UserError, match="cannot be read as VCF"):
        VariantFile(tmp_path / "x.vcf")
    with pytest.raises(UserError, match=r"must end with \.vcf"):
        score(table, genome, tmp_path / "out.xlsx", model)
    with pytest.raises(UserError, match="does not exist"):
        score(table, genome, tmp_path / "nowhere" / "out.tsv", model)
    (tmp_path / "mine.tsv").write_text("precious")
    with pytest.raises(UserError, match="was not made by this verb"):
        score(table, genome, tmp_path / "mine.tsv", model)
    assert (tmp_path / "mine.tsv").read_text() == "precious"


def test_results_of_other_options_are_never_mixed(
    table: Path, genome: Path, tmp_path: Path, model: GeneratorLanguageModel
) -> None:
    out = tmp_path / "out.tsv"
    score(table, genome, out, model, shard=Shard(1, 2))
    with pytest.raises(UserError, match="other work: context_bp: 60 -> 54"):
        score(table, genome, out, model, rule=ScoreRule(context_bp=54, downstream_bp=8))
    score(table, genome, out, model)
    before = out.stat().st_mtime_ns
    assert score(table, genome, out, model) == json.loads((tmp_path / "out.tsv.report.json").read_text())
    assert out.stat().st_mtime_ns == before
    with pytest.raises(UserError, match="other work"):
        score(table, genome, out, model, rule=ScoreRule(context_bp=54, downstream_bp=8))


def test_a_cut_off_vcf_is_an_error(genome: Path, tmp_path: Path, model: GeneratorLanguageModel) -> None:
    base = genome.read_text().split("\n")[1][99]
    path = tmp_path / "v.vcf.gz"
    with pysam.BGZFile(str(path), "wb") as raw:
        head = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        raw.write(head.encode())
        for i in range(20_000):
            raw.write(f"chr1\t100\t{i}\t{base}\t{'C' if base != 'C' else 'A'}\t.\t.\t.\n".encode())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"damaged|cut off|truncated"):
        score(path, genome, tmp_path / "out.tsv", model)


def test_metrics_need_two_classes_and_plain_labels() -> None:
    alone = classification_areas(np.ones(3, int), np.arange(3.0))
    assert (alone["auroc"], alone["n_negative"]) == (None, 0)
    tied = classification_areas(np.array([1, 0, 1, 0]), np.zeros(4))
    assert (tied["auroc"], tied["auprc"]) == (0.5, 0.5)
    assert classification_areas(np.array([1, 0, 1, 0]), np.zeros(4), parity=True)["auprc"] == 0.75
    with pytest.raises(UserError, match="0 or 1; found also 2"):
        classification_areas(np.array([0, 2]), np.zeros(2))
    with pytest.raises(UserError, match="not finite"):
        classification_areas(np.array([0, 1]), np.array([0.0, np.inf]))


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0"])
def test_shards_that_do_not_exist(text: str) -> None:
    with pytest.raises(UserError, match="from 1 to n"):
        Shard.parse(text)
