"""Generated sequences depend on seed and record alone; recovery is judged against chance; bad prompts are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genebrain import tasks
from genebrain.common.types import UserError
from genebrain.genetics.generation.continuation import Prompt, continue_batch, on_grid
from genebrain.genetics.generation.recovery import accuracy_table, most_frequent_base
from genebrain.genetics.generation.recovery_run import recover_file
from genebrain.genetics.generation.run import generate_file
from genebrain.genetics.generation.sampling import SamplingSettings
from genebrain.genetics.model.language_model import GeneratorLanguageModel, load_language_model
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer
from genebrain.genetics.store.work_parts import Shard
from genebrain.sides.genome import GeneSide

GREEDY = SamplingSettings(temperature=0)
RANDOM = np.random.default_rng(0)
LETTERS = ["".join(RANDOM.choice(list("ACGT"), 6 * n)) for n in (1, 9, 4, 9, 2, 30, 7)]


@pytest.fixture(scope="module")
def model() -> GeneratorLanguageModel:
    return load_language_model(device="cpu")


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.fa"
    path.write_text("".join(f">p{i}\n{text}\n" for i, text in enumerate(LETTERS)))
    return path


def test_greedy_equals_the_whole_sequence_run_anew_at_every_step(model: GeneratorLanguageModel) -> None:
    tokenizer = SixMerTokenizer()
    got = continue_batch(model, [Prompt(text, i) for i, text in enumerate(LETTERS)], 4, GREEDY, 0)
    for prompt, continuation in zip(LETTERS, got, strict=True):
        ids = [BOS, *tokenizer.encode(prompt)]
        for _ in range(4):
            with torch.inference_mode():
                logits = model.model(torch.tensor([ids])).logits[0, -1]
            ids.append(32 + int(logits[32:].argmax()))
        assert tokenizer.decode(ids[-4:]) == continuation


@pytest.mark.parametrize("policy", ["token", "base"])
def test_a_sequence_depends_on_seed_record_and_sample_not_on_its_batch(
    model: GeneratorLanguageModel, policy: str
) -> None:
    settings = SamplingSettings(policy=policy, temperature=0.8, top_p=0.95)  # type: ignore[arg-type]
    rows = [Prompt(text, i, s) for i, text in enumerate(LETTERS) for s in range(2)]
    together = continue_batch(model, rows, 5, settings, 7)
    alone = [continue_batch(model, [row], 5, settings, 7)[0] for row in rows]
    assert together == alone
    assert len(set(together)) == len(rows)
    assert continue_batch(model, rows, 5, settings, 8) != together
    assert all(set(text) <= set("ACGT") and len(text) == 30 for text in together)


def test_killed_sharded_and_whole_runs_write_the_same_bytes(
    model: GeneratorLanguageModel, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genebrain.genetics.generation.run.BLOCK", 4)

    def run(out: str, **options: object) -> dict | None:
        return generate_file(
            fasta, tmp_path / out, model, SamplingSettings(), n_bp=20, samples=2, progress=False, **options
        )  # type: ignore[arg-type]

    run("whole.fa")
    assert run("pieces.fa", shard=Shard(2, 3)) is None
    assert not (tmp_path / "pieces.fa").exists()
    assert run("pieces.fa", shard=Shard(1, 3)) is None
    with pytest.raises(UserError, match="other work: n_bp"):
        generate_file(fasta, tmp_path / "pieces.fa", model, SamplingSettings(), n_bp=9, samples=2, progress=False)
    report = run("pieces.fa")
    assert report is not None
    assert report["n_generated"] == 14
    assert (tmp_path / "pieces.fa").read_bytes() == (tmp_path / "whole.fa").read_bytes()
    assert not list(tmp_path.glob("*.parts"))
    assert run("whole.fa") == json.loads((tmp_path / "whole.fa.report.json").read_text())
    run("one_at_a_time.fa", tokens_per_batch=1)
    assert (tmp_path / "one_at_a_time.fa").read_bytes() == (tmp_path / "whole.fa").read_bytes()


def test_output_formats_and_the_prompt_in_front(model: GeneratorLanguageModel, fasta: Path, tmp_path: Path) -> None:
    for suffix in ("fa", "tsv", "parquet"):
        out = tmp_path / f"out.{suffix}"
        generate_file(fasta, out, model, GREEDY, n_bp=8, with_prompt=True, progress=False)
        assert out.stat().st_mode & 0o777 == 0o600
    table = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.tsv", sep="\t"), table, check_dtype=False)
    assert [s[:-8] for s in table.sequence] == LETTERS
    assert (tmp_path / "out.fa").read_text().split("\n")[1] == table.sequence[0]


def test_prompts_stand_on_the_grid_by_a_stated_rule(tmp_path: Path) -> None:
    names = ["a", "b"]
    with pytest.raises(UserError, match=r"1 of 2 prompts are no whole number of 6-mers: b \(8\).*trim_left.*pad_left"):
        on_grid(["ACGTAC", "ACGTACGG"], names, "error", 60)
    assert on_grid(["ACGTAC", "ACGTACGG"], names, "trim_left", 60) == ["ACGTAC", "GTACGG"]
    assert on_grid(["ACGTAC", "ACGTACGG"], names, "pad_left", 60) == ["ACGTAC", "AAAAACGTACGG"]
    assert on_grid(["ACGTACGGGGGG"], ["a"], "error", 10) == ["GGGGGG"]
    with pytest.raises(UserError, match="shorter than one 6-mer"):
        on_grid(["ACG"], ["a"], "pad_left", 60)
    with pytest.raises(UserError, match="prompt_rule='cut'"):
        on_grid(["ACG"], ["a"], "cut", 60)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either input=FILE"),
        ({"prompt": "ACGTAC", "input": "x.fa"}, "either input=FILE"),
        ({"prompt": "ACGTACG"}, "no whole number of 6-mers"),
        ({"prompt": "ACGUAC"}, "U"),
        ({"prompt": "NNNNNN"}, "of N alone"),
        ({"prompt": "ACG"}, "shorter than 6"),
        ({"prompt": "HELLO!"}, "no nucleotide code"),
        ({"prompt": "ACGTAC", "n_bp": 0}, "n_bp=0"),
        ({"prompt": "ACGTAC", "n_bp": 100_000}, "reads 16384"),
        ({"prompt": "ACGTAC", "out": "x.docx"}, "must end with"),
        ({"prompt": "ACGTAC", "out": "nowhere/x.fa"}, "does not exist"),
        ({"prompt": "ACGTAC", "top_p": 2.0}, "top_p=2.0"),
    ],
)
def test_bad_input_of_generate(tmp_path: Path, options: dict, message: str) -> None:
    options = {"out": "x.fa", "progress": False, **options}
    options["out"] = tmp_path / options["out"]
    with pytest.raises(UserError, match=message):
        tasks.generate(**options)
    assert not list(tmp_path.iterdir())


def test_options_of_other_verbs_are_refused(tmp_path: Path) -> None:
    side = GeneSide(tuning="lora", model=ModelOptions(context="sliding_window"))
    with pytest.raises(UserError, match=r"tuning=lora.*model\.context=sliding_window"):
        tasks.generate(tmp_path / "x.fa", prompt="ACGTAC", genetics=side, progress=False)


def test_a_longer_position_range_goes_through_stored_keys_and_values(tmp_path: Path) -> None:
    side = GeneSide(model=ModelOptions(context="yarn", context_tokens=32768))
    tasks.generate(tmp_path / "x.tsv", prompt=LETTERS[5], genetics=side, n_bp=12, temperature=0, progress=False)
    stretched = load_language_model(device="cpu", options=side.model)
    ids = [BOS, *SixMerTokenizer().encode(LETTERS[5])]
    for _ in range(2):
        with torch.inference_mode():
            ids.append(32 + int(stretched.model(torch.tensor([ids])).logits[0, -1, 32:].argmax()))
    assert pd.read_csv(tmp_path / "x.tsv", sep="\t").sequence[0] == SixMerTokenizer().decode(ids[-2:])


def test_a_soft_masked_prompt_is_continued_like_its_upper_case_twin(tmp_path: Path) -> None:
    for name, prompt in (("soft", "acgtACgtacgt"), ("hard", "ACGTACGTACGT")):
        tasks.generate(tmp_path / f"{name}.tsv", prompt=prompt, n_bp=12, progress=False)
    assert (tmp_path / "soft.tsv").read_bytes() == (tmp_path / "hard.tsv").read_bytes()


@pytest.fixture
def benchmark(tmp_path: Path, model: GeneratorLanguageModel) -> Path:
    """Seven sequences, of which three are followed by what the model says."""
    truth = continue_batch(model, [Prompt(text, i) for i, text in enumerate(LETTERS)], 5, GREEDY, 0)
    labels = [t if i < 3 else "".join(RANDOM.choice(list("ACGT"), 30)) for i, t in enumerate(truth)]
    types = ["known" if i < 3 else "other" for i in range(len(LETTERS))]
    path = tmp_path / "recovery.tsv"
    prompts = ["AC" * (i > 0) + text for i, text in enumerate(LETTERS)]
    pd.DataFrame({"sequence": prompts, "label": labels, "type": types}).to_csv(path, sep="\t", index=False)
    return path


def test_recovery_per_type_with_interval_and_chance(
    benchmark: Path, tmp_path: Path, model: GeneratorLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genebrain.genetics.generation.run.BLOCK", 2)
    out = tmp_path / "out"
    assert recover_file(benchmark, out, model, GREEDY, shard=Shard(1, 2), progress=False) is None
    assert not (out / "accuracy.tsv").exists(), "half of the predictions must not be scored as empty"
    report = recover_file(benchmark, out, model, GREEDY, progress=False)
    table = pd.read_csv(out / "accuracy.tsv", sep="\t").set_index("type")
    assert table.index.tolist() == ["known", "other", "overall"]
    assert table.sequences.tolist() == [3, 4, 7]
    assert table.accuracy["known"] == 1
    assert table.low["known"] < 1 == table.high["known"]
    assert (table.low <= table.accuracy).all()
    assert table.chance.tolist() == [0.25] * 3
    predictions = pd.read_csv(out / "predictions.tsv", sep="\t")
    assert table.accuracy["overall"] == pytest.approx(predictions.accuracy.mean(), abs=1e-5)
    assert report is not None
    assert report["n_sequences"] == 7
    assert sorted(p.name for p in out.iterdir()) == ["accuracy.tsv", "predictions.tsv", "report.json"]
    with pytest.raises(UserError, match="other work: n_bp"):
        recover_file(benchmark, out, model, GREEDY, n_bp=12, progress=False)
    assert recover_file(benchmark, out, model, GREEDY, progress=False) == report


def test_a_file_without_types_is_judged_overall(benchmark: Path, tmp_path: Path, model: GeneratorLanguageModel) -> None:
    pd.read_csv(benchmark, sep="\t").drop(columns="type").to_csv(benchmark, sep="\t", index=False)
    report = recover_file(benchmark, tmp_path / "out", model, GREEDY, progress=False)
    assert report is not None
    assert [row["type"] for row in report["accuracy"]] == ["overall"]


def test_interval_follows_the_spread_between_sequences() -> None:
    types = ["x"] * 50
    same = accuracy_table(np.full(50, 0.5), np.zeros(50), types, 30).set_index("type").loc["overall"]
    split = accuracy_table(np.repeat([0.0, 1.0], 25), np.zeros(50), types, 30).set_index("type").loc["overall"]
    assert same.accuracy == split.accuracy == 0.5
    assert split.high - split.low > 3 * (same.high - same.low)
    assert most_frequent_base("NNACGTTN") == "T"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.drop(columns="label"), {}, "no column 'label'.*columns present: type"),
        (lambda t: t, {"type_column": "kingdom"}, "no column 'kingdom'"),
        (lambda t: t.assign(label="ACGT"), {}, "7 of 7 labels.*30 or more letters.*row 1: 4 bases"),
        (lambda t: t.assign(label=5), {}, "7 of 7 labels"),
        (lambda t: t.assign(sequence="ACG"), {}, "7 sequences shorter than 6"),
        (lambda t: t, {"n_bp": 0}, "n_bp=0"),
    ],
)
def test_bad_benchmarks(
    benchmark: Path, tmp_path: Path, model: GeneratorLanguageModel, change: object, options: dict, message: str
) -> None:
    change(pd.read_csv(benchmark, sep="\t")).to_csv(benchmark, sep="\t", index=False)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        recover_file(benchmark, tmp_path / "out", model, GREEDY, progress=False, **options)
    assert not (tmp_path / "out").exists()
