"""The sliding window: a band of keys, whatever the segments; poolings and memory that do not depend on length."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.sliding_window import TokenPools, pool_stream, stream_hidden
from genebrain.genetics.model.views import HiddenLayers

FULL = load_generator(device="cpu")
LENGTH = 70
TOKENS = torch.randint(32, 4128, (2, LENGTH), generator=torch.Generator().manual_seed(0))


def _windowed(window: int, segment_tokens: int = 1024) -> GeneratorBackbone:
    options = ModelOptions(context="sliding_window", window=window, segment_tokens=segment_tokens)
    return load_generator(device="cpu", options=options)


def _band(window: int, tokens: Tensor = TOKENS) -> Tensor:
    """Full attention of the stock Llama under an explicit band mask."""
    position = torch.arange(tokens.shape[1])
    distance = position[:, None] - position
    mask = ((distance >= 0) & (distance < window)).expand(len(tokens), 1, -1, -1)
    return FULL.model(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state


def _stream(backbone: GeneratorBackbone, pieces: list[Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.cat(list(stream_hidden(backbone, pieces)), 1)


@pytest.mark.parametrize("window", [1, 2, 3, 12, 64, LENGTH, 16384])
@pytest.mark.parametrize("segment_tokens", [1, 7, 12, 13, 1024])
def test_equals_full_attention_under_an_explicit_band(window: int, segment_tokens: int) -> None:
    got = _stream(_windowed(window, segment_tokens), [TOKENS])
    torch.testing.assert_close(got, _band(window), atol=1e-5, rtol=0)


def test_the_window_counts_the_own_key() -> None:
    changed = TOKENS[:1].clone()
    changed[0, 20] = 40
    before, after = (_stream(_windowed(5), [ids])[0] for ids in (TOKENS[:1], changed))
    moved = (before - after).abs().amax(1) > 1e-6
    layers = FULL.model.config.num_hidden_layers
    assert moved.nonzero().flatten().tolist() == list(range(20, 20 + layers * 4 + 1))


@settings(max_examples=25, deadline=None)
@given(window=st.integers(1, 40), cuts=st.sets(st.integers(1, LENGTH - 1), max_size=8), segment=st.integers(1, 40))
def test_the_cuts_of_the_stream_change_nothing(window: int, cuts: set[int], segment: int) -> None:
    pieces = list(torch.tensor_split(TOKENS, sorted(cuts), dim=1))
    got = _stream(_windowed(window, segment), pieces)
    torch.testing.assert_close(got, _band(window), atol=1e-5, rtol=0)


@pytest.mark.parametrize("every", [None, 1, 9, LENGTH, 1000])
@pytest.mark.parametrize("mean_from", [0, 1])
def test_pools_equal_those_of_the_whole_table(every: int | None, mean_from: int) -> None:
    lengths, window = torch.tensor([LENGTH, 31]), 6
    vectors, defined = pool_stream(_windowed(window, 8), TOKENS, lengths, mean_from=mean_from, pool_every=every)
    hidden = _band(window)
    size = every or LENGTH
    for row, length in enumerate(lengths.tolist()):
        for segment, start in enumerate(range(0, LENGTH, size)):
            real = hidden[row, start : min(start + size, length)]
            assert bool(defined[row, segment]) == (len(real) > 0)
            counted = hidden[row, max(start, mean_from) : min(start + size, length)]
            wanted = {
                "last": real[-1] if len(real) else torch.zeros(64),
                "max": real.amax(0) if len(real) else torch.zeros(64),
                "mean": counted.mean(0) if len(counted) else torch.zeros(64),
            }
            for name, value in wanted.items():
                torch.testing.assert_close(vectors[name][row, segment], value, atol=1e-5, rtol=0, msg=name)


def test_chunk_batches_stream_when_the_model_has_a_window() -> None:
    backbone = _windowed(6, 8)
    mask = torch.ones_like(TOKENS)
    mask[1, :40] = 0  # padding on the left
    vectors = encode_batch(backbone, TOKENS, mask, mean_from=1)
    for row, tokens in enumerate((TOKENS[:1], TOKENS[1:, 40:])):
        hidden = _band(6, tokens)[0]
        torch.testing.assert_close(vectors["last"][row], hidden[-1], atol=1e-5, rtol=0)
        torch.testing.assert_close(vectors["mean"][row], hidden[1:].mean(0), atol=1e-5, rtol=0)
        torch.testing.assert_close(vectors["max"][row], hidden.amax(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layers", [HiddenLayers(layer=-2), HiddenLayers(last_layers=2)])
def test_other_layers_stream_too(layers: HiddenLayers) -> None:
    pieces = stream_hidden(_windowed(6, 8), [TOKENS], layers)
    whole = stream_hidden(_windowed(6, LENGTH), [TOKENS], layers)
    torch.testing.assert_close(torch.cat(list(pieces), 1), torch.cat(list(whole), 1), atol=1e-4, rtol=1e-5)


def test_far_from_the_start_only_distances_count() -> None:
    """Every layer looks a window further back; what lies beyond is out of sight, wherever the piece begins."""
    tokens = torch.randint(32, 4128, (1, 40_000), generator=torch.Generator().manual_seed(1))
    backbone = _windowed(16, 512)
    reach = FULL.model.config.num_hidden_layers * 15
    whole = _stream(backbone, [tokens])[:, -20:]
    alone = _stream(backbone, [tokens[:, -20 - reach :]])[:, -20:]
    torch.testing.assert_close(whole, alone, atol=2e-3, rtol=0)  # float32 angles at position 40,000


def test_gradients_reach_back_through_the_segments() -> None:
    grads = []
    for size in (7, 1024):
        backbone = _windowed(12, size)
        embedding = backbone.model.embed_tokens.weight.requires_grad_()
        torch.cat(list(stream_hidden(backbone, [TOKENS])), 1).square().sum().backward()
        grads.append(embedding.grad)
    torch.testing.assert_close(grads[0], grads[1], atol=2e-3, rtol=1e-4)
    assert grads[0].abs().sum() > 0


def test_a_flash_kernel_is_given_the_window_and_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """What such a kernel computes (causal from the last key, window - 1 keys to the left) equals the band."""
    window, seen = 6, []

    def kernel(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, None]:
        seen.append((attention_mask, options["sliding_window"]))
        last = torch.arange(query.shape[2])[:, None] + key.shape[2] - query.shape[2]
        distance = last - torch.arange(key.shape[2])
        mask = (distance >= 0) & (distance <= options["sliding_window"] - 1)
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=options["scaling"], enable_gqa=True
        )
        return out.transpose(1, 2), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flash_attention_2", kernel)
    backbone = _windowed(window, 9)
    backbone.model.config._attn_implementation_internal = "flash_attention_2"
    torch.testing.assert_close(_stream(backbone, [TOKENS]), _band(window), atol=1e-5, rtol=0)
    assert set(seen) == {(None, window)}


def test_what_can_not_stream_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs a model with a sliding window.*context=chunks"):
        next(stream_hidden(FULL, [TOKENS]))
    with pytest.raises(UserError, match="pool_every=0"):
        TokenPools(torch.tensor([3]), every=0)
    with pytest.raises(UserError, match="without a single token"):
        pool_stream(_windowed(3), TOKENS[:, :0])


MEASURE = """
import torch
from genebrain.genetics.model.views import HiddenLayers
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.sliding_window import pool_stream

torch.set_num_threads(1)
backbone = load_generator(device="cpu", options=ModelOptions(context="sliding_window", window=128, segment_tokens=512))

def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

print(status("VmRSS"))
for tokens in (16_667, 166_667):
    with torch.inference_mode():
        pool_stream(backbone, torch.randint(32, 4128, (1, tokens)))
    print(status("VmHWM"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_megabase_needs_no_more_memory_than_a_tenth_of_it() -> None:
    run = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=300)
    loaded, tenth, megabase = map(int, run.stdout.split())
    assert megabase <= 1.3 * tenth
    # Most of a process is libraries, so look above them too: [length, hidden] of the megabase alone is 43 MB.
    assert megabase - tenth < 10_000
    assert tenth > loaded
