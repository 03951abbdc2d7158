"""Recomputed chunks equal kept chunks, with dropout on, and hold less."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.oracles.chunks_and_ranks import encode_in_chunks


def encoder() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Dropout(0.4), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 3))


@pytest.mark.parametrize("chunk", [1, 4, 11, 50])
@pytest.mark.parametrize("factor", [1.0, 1000.0])  # 1000: as a gradient scaler would multiply the loss
def test_equals_the_plain_loop_with_dropout(chunk, factor):
    model, x = encoder(), torch.randn(11, 6, generator=torch.Generator().manual_seed(0))

    def gradients(encode) -> tuple[Tensor, tuple[Tensor, ...]]:
        torch.manual_seed(9)
        out = encode()
        return out, torch.autograd.grad(factor * out.square().sum(), tuple(model.parameters()))

    plain, plain_gradients = gradients(lambda: torch.cat([model(piece) for piece in x.split(chunk)]))
    chunked, chunked_gradients = gradients(lambda: encode_in_chunks(model, x, chunk=chunk))
    assert torch.equal(chunked, plain)
    assert all(map(torch.equal, chunked_gradients, plain_gradients))


def test_under_autocast_the_second_pass_computes_as_the_first():
    model, x = encoder(), torch.randn(8, 6, generator=torch.Generator().manual_seed(0))

    def gradients(encode) -> tuple[Tensor, ...]:
        torch.manual_seed(9)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = encode()
        return torch.autograd.grad(out.float().square().sum(), tuple(model.parameters()))

    plain = gradients(lambda: torch.cat([model(piece) for piece in x.split(3)]))
    assert all(map(torch.equal, gradients(lambda: encode_in_chunks(model, x, chunk=3)), plain))


def test_keeps_no_activations():
    model, x = encoder(), torch.ones(64, 6)

    def saved_bytes(encode) -> int:
        storages: dict[int, Tensor] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: storages.setdefault(t.untyped_storage().data_ptr(), t), lambda t: t
        ):
            out = encode()
        out.sum().backward()
        return sum(t.untyped_storage().nbytes() for t in storages.values())

    plain = saved_bytes(lambda: model(x))
    assert saved_bytes(lambda: encode_in_chunks(model, x, chunk=8)) < plain / 4


def test_several_inputs_and_nested_outputs():
    def several(tokens: Tensor, mask: Tensor) -> dict[str, object]:
        return {"mean": tokens * mask, "both": (tokens, mask)}

    tokens, mask = torch.arange(10.0).reshape(5, 2), torch.ones(5, 2)
    out = encode_in_chunks(several, tokens, mask, chunk=2)
    assert torch.equal(out["mean"], tokens)
    assert torch.equal(out["both"][1], mask)


def test_no_gradient_no_second_pass():
    calls = []
    with torch.no_grad():
        encode_in_chunks(lambda piece: calls.append(len(piece)) or piece, torch.ones(5, 1), chunk=2)
    assert calls == [2, 2, 1]


@pytest.mark.parametrize(
    ("inputs", "chunk"),
    [((), 2), ((torch.ones(3), torch.ones(4)), 2), ((torch.ones(3),), 0), ((torch.ones(0),), 1)],
)
def test_wrong_input(inputs, chunk):
    with pytest.raises(ValueError, match="equally many rows"):
        encode_in_chunks(lambda *pieces: pieces[0], *inputs, chunk=chunk)
