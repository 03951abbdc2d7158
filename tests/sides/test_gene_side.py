"""The DNA side of a cohort: readings have their own tables, differences to the reference are zero where due."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genebrain.cohort.participants import Cohort, load_cohort
from genebrain.common.types import UserError
from genebrain.genetics.genome.reference import reverse_complement
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer
from genebrain.genetics.store.work_parts import Shard
from genebrain.sides.genome import GeneSide
from genebrain.sides.workspace import Workspace
from tests.cohort.small_cohort import SmallCohort

CHUNK = 300


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallCohort:
    small = SmallCohort(tmp_path_factory.mktemp("cohort"), n=4)
    small.sequence = small.sequence[:900] + "N" * 300 + small.sequence[1200:]  # one reference chunk of N alone
    small.genotypes = [["0|0", *row[1:]] for row in small.genotypes]
    small.write()
    (small.folder / "windows.bed").write_text("chr1\t200\t1800\tFORWARD\t0\t+\nchr1\t310\t890\tREVERSE\t0\t-\n")
    return small


@pytest.fixture(scope="module")
def cohort(small: SmallCohort) -> Cohort:
    return load_cohort(small.folder / "cohort.yaml")


def test_difference_to_the_reference(small: SmallCohort, cohort: Cohort, tmp_path: Path) -> None:
    gene = GeneSide(chunk_bp=CHUNK, reference_mismatch="report")
    with_delta = GeneSide(chunk_bp=CHUNK, reference_mismatch="report", delta=True)
    workspace = Workspace(cohort, tmp_path, progress=False)
    plain, pairs = workspace.chunks(gene), workspace.chunks(with_delta)
    assert pairs.sequences[: plain.n_unique] == plain.sequences
    workspace.embed(gene)
    again = workspace.embed(with_delta)
    assert again["encoded"] == pairs.n_unique - plain.n_unique  # the vectors themselves are shared
    raw = np.concatenate([workspace.table(gene, "mean"), np.zeros((1, 64), np.float32)])[plain.index]
    delta = np.concatenate([workspace.table(with_delta, "mean"), np.zeros((1, 64), np.float32)])[pairs.index]
    assert not delta[0].any(), "a person without a variant"
    assert np.abs(delta[1:]).max() > 1e-3
    # by hand: FORWARD has chunks 200-300, 300-600, ...; REVERSE is read from its end
    expected = {(0, 1): small.sequence[300:600].encode(), (1, 0): reverse_complement(small.sequence[600:890].encode())}
    for (window, place), letters in expected.items():
        ids = torch.tensor([[BOS, *SixMerTokenizer().encode(SixMerTokenizer.frame(letters.decode())), BOS]])
        reference = encode_batch(gene.backbone(), ids, torch.ones_like(ids))["mean"].numpy()
        np.testing.assert_allclose(delta[:, :, window, place], raw[:, :, window, place] - reference, atol=1e-5)
    # The variants within the N of the reference give chunks, but no difference.
    unknown = (plain.index >= 0) & (pairs.index < 0)
    counts = pairs.report["difference_to_reference"]
    assert counts["chunks_without_reference"] == unknown.sum()
    assert set(zip(*np.nonzero(unknown)[2:], strict=True)) <= {(0, 3)}
    with pytest.raises(ValueError, match="save the set itself"):
        pairs.save(tmp_path / "pairs")


def test_readings_reach_the_store(cohort: Cohort, tmp_path: Path) -> None:
    workspace = Workspace(cohort, tmp_path, progress=False)
    plain = GeneSide(chunk_bp=CHUNK, reference_mismatch="report")
    both = GeneSide(chunk_bp=CHUNK, reference_mismatch="report", strand="both_concat", phases=[0, 3])  # type: ignore[arg-type]
    tokens = []
    for gene in (plain, both):
        done = workspace.embed(gene)
        assert done["encoded"] == done["chunks_unique"] > 0
        tokens.append(gene.cost(workspace.chunks(gene))["encoder_tokens"])
        assert replace(gene, rare_below=0).plan(cohort)["encoder_tokens"] == tokens[-1]
    assert tokens[1] == 4 * tokens[0]
    assert workspace.table(plain, "mean").shape[1] == 64
    assert workspace.table(both, "mean").shape[1] == 128
    assert len(list((tmp_path / "chunks").glob("*/provenance.json"))) == 2


def test_the_plan_of_differences_counts_the_reference_chunks_that_nobody_carries(
    cohort: Cohort, tmp_path: Path
) -> None:
    workspace = Workspace(cohort, tmp_path, progress=False)
    plain = GeneSide(chunk_bp=CHUNK, reference_mismatch="report")
    delta = replace(plain, delta=True)
    plan = replace(delta, rare_below=0).plan(cohort)
    done = workspace.embed(delta)
    assert plan["chunks_unique"] == done["chunks_unique"] == done["encoded"]
    assert plan["encoder_tokens"] == delta.cost(workspace.chunks(delta))["encoder_tokens"]
    assert (
        plan["chunks_unique"] - plan["chunks_reference_only"]
        == replace(plain, rare_below=0).plan(cohort)["chunks_unique"]
    )


def test_wrong_readings_are_refused_before_anything_runs() -> None:
    with pytest.raises(UserError, match="strand='reverse'"):
        GeneSide(strand="reverse")
    with pytest.raises(UserError, match="unknown length rule 'cut'"):
        GeneSide(length_rule="cut")


def test_with_and_without_its_head_it_is_the_same_model() -> None:
    chosen = GeneSide(weights_seed=3, model=ModelOptions(context="yarn", context_tokens=20_000))
    alone, whole = chosen.backbone(), chosen.language_model()
    assert alone.fingerprint == whole.fingerprint != GeneSide().language_model().fingerprint
    for name, values in alone.model.state_dict().items():
        assert torch.equal(values, whole.model.model.state_dict()[name]), name


def test_long_chunks_need_a_long_context_and_have_their_own_table(cohort: Cohort) -> None:
    with pytest.raises(UserError, match=r"98400 makes chunks of 16402 tokens.*takes 16384.*sliding_window"):
        GeneSide(chunk_bp=98_400)
    with pytest.raises(UserError, match=r"context=yarn takes 16400"):
        GeneSide(chunk_bp=98_400, model=ModelOptions(context="yarn", context_tokens=16_400))
    window = GeneSide(chunk_bp=98_400, model=ModelOptions(context="sliding_window", window=32))
    assert GeneSide(chunk_bp=98_400, path="a folder says itself").path
    assert window.options().fingerprint(window.backbone()) != GeneSide().options().fingerprint(GeneSide().backbone())


def test_a_cohort_is_embedded_with_a_sliding_window(cohort: Cohort, tmp_path: Path) -> None:
    window = GeneSide(
        chunk_bp=1800, cut_origin="window", reference_mismatch="report",
        model=ModelOptions(context="sliding_window", window=16, segment_tokens=50),
    )  # fmt: skip
    workspace = Workspace(cohort, tmp_path, progress=False)
    workspace.embed(window)
    chunks = workspace.chunks(window)
    row = max(range(chunks.n_unique), key=lambda i: len(chunks.sequences[i]))
    ids = SixMerTokenizer().encode(SixMerTokenizer.frame(chunks.sequences[row].decode()))
    full = load_generator(device="cpu").model
    tokens = torch.tensor([[BOS, *ids, BOS]])
    distance = torch.arange(tokens.shape[1])[:, None] - torch.arange(tokens.shape[1])
    band = ((distance >= 0) & (distance < 16))[None, None]
    wanted = full(input_ids=tokens, attention_mask=band, use_cache=False).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(workspace.table(window, "mean")[row], wanted.numpy(), atol=1e-5)


def test_shares_of_a_cohort_are_the_whole(cohort: Cohort, tmp_path: Path) -> None:
    gene = GeneSide(chunk_bp=CHUNK, reference_mismatch="report")
    whole, shared = (Workspace(cohort, tmp_path / name, progress=False) for name in ("whole", "shared"))
    n = whole.embed(gene)["encoded"]
    done = [shared.embed(gene, Shard(i, 2))["encoded"] for i in (2, 1)]
    assert sum(done) == n
    merged = shared.embed(gene)
    assert (merged["merged_parts"], merged["encoded"]) == (2, 0)
    for token in ("mean", "last", "max"):
        assert np.array_equal(shared.table(gene, token), whole.table(gene, token))
