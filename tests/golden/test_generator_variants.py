"""Variant scores and sequence recovery against numbers of the published code.

Cases are discovered from the files; a kind of file that is absent is skipped with its name. The bfloat16 rows and the
rows with alleles that no 6-mer begins with record what the published code does: ours computes the softmax in float64
and refuses those alleles.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genebrain.common.types import UserError
from genebrain.genetics.generation.continuation import Prompt, continue_batch, last_six_mers
from genebrain.genetics.generation.recovery import matching_share
from genebrain.genetics.generation.sampling import SamplingSettings
from genebrain.genetics.genome.reference import Reference
from genebrain.genetics.model.language_model import GeneratorLanguageModel, load_language_model
from genebrain.genetics.model.tokenizer import BOS, CONTROL_TOKENS, SixMerTokenizer
from genebrain.genetics.variants.contexts import GenomeLetters, upstream_context
from genebrain.genetics.variants.likelihood import LETTERS, Question, begins_with, log_likelihoods, published_score
from genebrain.genetics.variants.metrics import classification_areas
from tests.golden.generator_cases import read_json, read_tensors
from tests.oracles.next_letter import next_letter

TOKENIZER = SixMerTokenizer()


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> GeneratorLanguageModel:
    return load_language_model("golden", checkpoint, dtype=torch.float32, device="cpu")


def test_ids_that_begin_with_a_letter(generator: Path) -> None:
    sets = read_json(generator, "variant_cases")["token_sets"]
    for letter, expected in sets.items():
        ids = [i for i, token in enumerate(TOKENIZER.id_to_token) if token.startswith(letter)]
        assert [len(ids), ids[0], ids[-1], sum(ids)] == list(expected.values())
        if letter in LETTERS:
            mine = torch.full((1, len(TOKENIZER.id_to_token)), -math.inf)
            mine[0, ids] = -math.log(len(ids))
            assert begins_with(mine, [letter]).exp().item() == pytest.approx(1)
        else:
            assert len(CONTROL_TOKENS) == len(ids)


def test_scores_from_given_logits(generator: Path, tolerances: dict[str, Any]) -> None:
    rows = read_json(generator, "variant_cases")["maths"]
    logits = read_tensors(generator, "variant_cases")["maths.logits"]
    letters = next_letter(logits).numpy()
    log_p = logits.double().log_softmax(-1)
    scored = 0
    for row in rows:
        mine = log_p[[row["logits_row"]] * 2]
        if set(row["ref"] + row["alt"]) - set(LETTERS):
            with pytest.raises(UserError, match="no 6-mer begins with them"):
                begins_with(mine, [row["ref"], row["alt"]])
            continue
        if len(row["ref"] + row["alt"]) > 2:  # several letters have a likelihood here, 0 in the published code
            continue
        p = begins_with(mine, [row["ref"], row["alt"]]).exp().numpy()
        assert p == pytest.approx([row["p_ref"], row["p_alt"]], abs=tolerances["probabilities"])
        assert p == pytest.approx([letters[row["logits_row"]][LETTERS.index(row[k])] for k in ("ref", "alt")])
        score = published_score(p[:1], p[1:])[0]
        assert score == pytest.approx(row["score"], abs=tolerances["finite_scores"]), row
        scored += 1
    assert scored


def test_contexts(generator: Path, tmp_path: Path) -> None:
    cases = read_json(generator, "variant_cases")
    fasta = tmp_path / "genome.fa"
    fasta.write_text("".join(f">{name}\n{letters}\n" for name, letters in cases["genome"].items()))
    assert cases["contexts"]
    with Reference(fasta) as reference:
        genome = GenomeLetters(reference)
        for case in cases["contexts"]:
            contig, start = f"chr{case['chrom']}", case["pos"] - 1
            assert genome.span(contig, start, start + 1) == case["genome_base_at_pos"]
            before = genome.span(contig, start - case["context_length"], start)
            context = upstream_context(before, case["context_length"], as_written=True)
            assert context.decode() == case["context"], case
            assert [BOS, *TOKENIZER.encode(context.decode())] == case["input_ids"], case


def test_scores_through_the_model(generator: Path, tolerances: dict[str, Any], model: GeneratorLanguageModel) -> None:
    cases = read_json(generator, "variant_cases")["end_to_end"]
    assert cases
    questions = [Question(case["context"].encode(), tuple(LETTERS)) for case in cases]
    for case, found in zip(cases, log_likelihoods(model, questions, 4096), strict=True):
        p = dict(zip(LETTERS, np.exp(found), strict=True))
        for letter, expected in case["marginal"].items():
            assert p[letter] == pytest.approx(expected, abs=tolerances["end_to_end_probabilities"])
        assert 1 - sum(p.values()) == pytest.approx(case["special_mass"], abs=tolerances["end_to_end_probabilities"])
        for change, expected in case["scores"].items():
            ref, alt = change.split(">")
            score = published_score(np.array([p[ref]]), np.array([p[alt]]))[0]
            assert score == pytest.approx(expected, abs=tolerances["finite_scores"]), (case["context"], change)


def test_areas(generator: Path) -> None:
    case = read_json(generator, "variant_cases")["metrics"]
    got = classification_areas(np.array(case["labels"]), np.array(case["scores"]), parity=True)
    assert got["auroc"] == pytest.approx(case["AUROC"], abs=1e-9)
    assert got["auprc"] == pytest.approx(case["AUPRC"], abs=1e-9)
    assert got["n_positive"] + got["n_negative"] == len(case["labels"])


def test_recovery(generator: Path, model: GeneratorLanguageModel) -> None:
    cases = read_json(generator, "recovery_cases")["greedy_token_level"]
    assert cases
    for case in cases:
        prompts = [last_six_mers(sequence, case["max_seq_len"]) for sequence in case["prompts"]]
        assert prompts == case["truncated"]
        rows = [Prompt(letters, record) for record, letters in enumerate(prompts)]
        got = continue_batch(model, rows, case["gen_len"], SamplingSettings(temperature=0), seed=0)
        assert got == case["predictions"]


def test_recovery_accuracy(generator: Path, tolerances: dict[str, Any]) -> None:
    case = read_json(generator, "recovery_cases")["accuracy"]
    got = [
        matching_share(p, label, case["window"]) for p, label in zip(case["predictions"], case["labels"], strict=True)
    ]
    assert got == pytest.approx(case["accuracy"], abs=tolerances["accuracy"])
