"""Chunks to vectors: padding, holes, empty chunks and tails do not change or lose a number."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.encode import (
    POOLINGS,
    align_left,
    cut,
    encode_batch,
    encode_chunks,
    final_representation,
)


def ragged(lengths: list[int], width: int, side: str = "right") -> tuple[Tensor, Tensor]:
    """Random tokens; what lies under the padding is random too, so that reading it would show."""
    ids = torch.randint(32, 4128, (len(lengths), width), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    return (ids, mask) if side == "right" else (ids.roll(width, 1), mask.flip(1))


@pytest.mark.parametrize("side", ["right", "left"])
def test_batch_equals_one_chunk_at_a_time(backbone: GeneratorBackbone, side: str) -> None:
    ids, mask = ragged([9, 1, 0, 5, 12], 12, side)
    together = encode_batch(backbone, ids, mask)
    assert set(together) == set(POOLINGS)
    for i in range(len(ids)):
        tokens = ids[i][mask[i]]
        if not len(tokens):
            assert all(not values[i].any() for values in together.values())
            continue
        hidden = backbone.model(input_ids=tokens[None]).last_hidden_state[0]
        expected = {"last": hidden[-1], "mean": hidden.mean(0), "max": hidden.amax(0)}
        for name in POOLINGS:
            torch.testing.assert_close(together[name][i], expected[name], atol=1e-5, rtol=0)


def test_padding_side_changes_nothing(backbone: GeneratorBackbone) -> None:
    ids, mask = ragged([4, 7, 2], 7)
    left = torch.zeros_like(ids)
    left_mask = mask.flip(1)
    left[left_mask] = ids[mask]
    for name, values in encode_batch(backbone, ids, mask).items():
        assert torch.equal(values, encode_batch(backbone, left, left_mask.long())[name])


def test_all_empty_batch_gives_zeros(backbone: GeneratorBackbone) -> None:
    for width in (0, 3):
        vectors = encode_batch(backbone, *ragged([0, 0], width))
        assert all(v.shape == (2, 64) and not v.any() for v in vectors.values())


def test_mean_can_leave_out_the_opening_mark(backbone: GeneratorBackbone) -> None:
    ids, mask = ragged([6, 1], 6)
    hidden = backbone.model(input_ids=ids[:1]).last_hidden_state[0]
    mean = encode_batch(backbone, ids, mask, mean_from=1)["mean"]
    torch.testing.assert_close(mean[0], hidden[1:].mean(0), atol=1e-5, rtol=0)
    assert not mean[1].any()


def test_gradients_reach_the_weights() -> None:
    backbone = load_generator(device="cpu")
    weight = backbone.model.layers[0].self_attn.q_proj.weight.requires_grad_(True)
    sum(v.square().sum() for v in encode_batch(backbone, *ragged([5, 0, 3], 6)).values()).backward()
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()
    assert weight.grad.abs().sum() > 0


def test_wrong_batches_are_refused(backbone: GeneratorBackbone) -> None:
    ids, mask = ragged([4, 4], 5)
    mask[1, 1] = False
    with pytest.raises(ValueError, match=r"not one run in 1 rows of the mask, the first: \[1\]"):
        encode_batch(backbone, ids, mask)
    with pytest.raises(ValueError, match=r"\(2, 5\) and mask \(2, 4\)"):
        encode_batch(backbone, ids, mask[:, :4])
    with pytest.raises(UserError, match="16385 tokens is longer than the 16384 positions of generator_tiny"):
        encode_batch(backbone, *ragged([16385], 16385))


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.integers(1, 9),
    st.sampled_from(["left", "right"]),
)
def test_cut_keeps_every_token(lengths: list[int], chunk_size: int, side: str) -> None:
    ids, mask = ragged(lengths, max(lengths), side)
    chunks = cut(ids, mask, chunk_size=chunk_size, max_chunks=40)
    assert chunks.tokens_never_read == 0
    for row, real, source, source_real in zip(chunks.ids, chunks.mask, ids, mask, strict=True):
        assert torch.equal(row[real], source[source_real])
        assert torch.equal(real.flatten(), torch.arange(real.numel()) < source_real.sum())


def test_cut_overlaps_and_keeps_the_tail_unless_parity_is_asked_for() -> None:
    ids, mask = ragged([13], 13)
    options = {"chunk_size": 6, "max_chunks": 3, "overlap_fraction": 0.5}
    kept = cut(ids, mask, **{**options, "max_chunks": 4})
    assert kept.starts == [0, 3, 6, 9]
    assert kept.mask.sum(-1).tolist() == [[6, 6, 6, 4]]
    dropped = cut(ids, mask, **options, parity=True)
    assert dropped.starts == [0, 3, 6]
    assert dropped.tokens_never_read == 1
    with pytest.raises(UserError, match=r"13 tokens need 4 chunks of 6 \(overlap 3\), but max_chunks is 3"):
        cut(ids, mask, **options)


@pytest.mark.parametrize(("chunk_size", "max_chunks", "overlap"), [(0, 1, 0.0), (4, 0, 0.0), (4, 1, 1.0), (4, 1, -0.5)])
def test_cut_refuses_options_out_of_range(chunk_size: int, max_chunks: int, overlap: float) -> None:
    with pytest.raises(UserError, match="at least 1"):
        cut(*ragged([8], 8), chunk_size=chunk_size, max_chunks=max_chunks, overlap_fraction=overlap)


def test_short_input_is_padded_and_represented(backbone: GeneratorBackbone) -> None:
    chunks = cut(*ragged([3, 10], 10), chunk_size=8, max_chunks=4)
    vectors, defined = encode_chunks(backbone, chunks)
    assert defined.tolist() == [[True, False], [True, True]]
    final = final_representation(vectors["last"], 4)
    assert final.shape == (2, 4 * 64)
    assert torch.equal(final[1, :128], vectors["last"][1].flatten())
    assert not final[0, 64:].any()
    with pytest.raises(ValueError, match="2 chunks given, but max_chunks is 1"):
        final_representation(vectors["last"], 1)


def test_align_left_cuts_common_padding() -> None:
    ids, mask = ragged([2, 3], 6, "left")
    aligned, real = align_left(ids, mask)
    assert aligned.shape == (2, 3)
    assert torch.equal(aligned[real], ids[mask])
