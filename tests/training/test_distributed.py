"""One, two and three real processes give the same loss and the same gradients, and say so when they cannot.

Every process is a real one with gloo; the towers are under real distributed data parallel. The batch mixes
repeat scans and relatives that sit on different ranks, since that is where a gather without ids would go
wrong.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from genebrain.alignment.losses.infonce import InfoNCE
from genebrain.alignment.losses.siglip import SigLIP
from genebrain.alignment.losses.temperature import LogitScale
from genebrain.alignment.towers.projector import Projector
from genebrain.brain.pretraining.contrast import Ranks, nt_xent
from genebrain.training import collectives as distributed
from genebrain.training.collectives import (
    gather,
    gather_with_gradient,
    logsumexp_over_ranks,
    world_size,
)
from tests.oracles.chunks_and_ranks import encode_in_chunks, mean_over_ranks
from tests.ranks import run_ranks

N, WIDTH = 12, 6
GENOME = torch.tensor([0, 1, 2, 3, 0, 4, 5, 3, 6, 0, 7, 8])
FAMILY = torch.tensor([0, 1, 0, 3, 0, 1, 5, 3, 0, 0, 7, 3])


class ClipPairs(nn.Module):
    """NT-Xent with negatives from all processes; further clips of a subject lie on other ranks too."""

    def forward(self, first: Tensor, second: Tensor, scale: Tensor, subject: Tensor, family: Tensor) -> Tensor:
        loss = nt_xent(first, second, 0.5, subjects=subject, ranks=Ranks(gather_with_gradient, distributed.rank()))
        return loss * scale.exp().mean()


LOSSES = {
    "infonce_ignore": lambda: InfoNCE("ignore", tile=3),
    "infonce_negative": lambda: InfoNCE("negative", tile=5),
    "siglip": lambda: SigLIP("ignore", tile=3, bias=-2.0),
    "clip_pairs": ClipPairs,
}


class Alignment(nn.Module):
    """Two small towers, the scale and the loss, as the training module holds them."""

    def __init__(self, loss: nn.Module, dropout: float = 0.0, recompute: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.gene = Projector(WIDTH, hidden=16, out_features=8, dropout=dropout)
        self.brain = Projector(WIDTH, hidden=16, out_features=8, dropout=dropout)
        self.logit_scale = LogitScale(init=math.log(3.0))
        self.loss, self.recompute = loss, recompute

    def encode(self, tower: nn.Module, x: Tensor) -> Tensor:
        if self.recompute:
            return encode_in_chunks(tower, x, chunk=2)
        return torch.cat([tower(piece) for piece in x.split(2)])

    def forward(self, gene: Tensor, brain: Tensor, genome: Tensor, family: Tensor) -> Tensor:
        return self.loss(
            self.encode(self.gene, gene), self.encode(self.brain, brain), self.logit_scale(), genome, family
        )


def one_step(module: nn.Module, rows: slice) -> dict[str, Tensor]:
    """Loss (mean over ranks) and gradients of every parameter and of the inputs of the rows."""
    generator = torch.Generator().manual_seed(0)
    gene, brain = (torch.randn(N, WIDTH, generator=generator)[rows].requires_grad_() for _ in range(2))
    # Dropout must differ between ranks, as it does in training, and be the same for the two ways to encode.
    torch.manual_seed(100 + rows.start)
    loss = module(gene, brain, GENOME[rows], FAMILY[rows])
    loss.backward()
    parameters = {name.removeprefix("module."): p.grad for name, p in module.named_parameters()}
    return {"loss": mean_over_ranks(loss), "gene": gene.grad, "brain": brain.grad, **parameters}


def error_of_unequal_batches(rank: int) -> str:
    n = 2 + rank
    x, ids = torch.ones(n, WIDTH), torch.arange(n)
    try:
        InfoNCE()(x, x, torch.zeros(1), ids, ids)
    except ValueError as error:
        return str(error)
    return ""


def every_result(rank: int, world: int) -> dict[str, object]:
    rows = slice(rank * N // world, (rank + 1) * N // world)
    results: dict[str, object] = {
        name: one_step(DistributedDataParallel(Alignment(make())), rows) for name, make in LOSSES.items()
    }
    for name, recompute in (("kept", False), ("recomputed", True)):
        module = DistributedDataParallel(Alignment(InfoNCE(tile=3), dropout=0.5, recompute=recompute))
        results[name] = one_step(module, rows)
    return {**results, "unequal": error_of_unequal_batches(rank)}


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 3])
def ranks(request, tmp_path_factory) -> list[dict]:
    return run_ranks(every_result, request.param, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_do_not_depend_on_the_number_of_processes(ranks, name):
    one = one_step(Alignment(LOSSES[name]()), slice(0, N))
    assert all(value.abs().max() > 1e-4 for value in one.values())
    for rank, results in enumerate(ranks):
        mine = slice(rank * N // len(ranks), (rank + 1) * N // len(ranks))
        for key, got in results[name].items():
            # An input belongs to one rank: its gradient is that of the sum over ranks, not of their mean.
            want = one[key][mine] * len(ranks) if key in ("gene", "brain") else one[key]
            torch.testing.assert_close(got, want, rtol=0, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_recomputed_chunks_equal_kept_chunks_with_dropout(ranks):
    for results in ranks:
        for key, kept in results["kept"].items():
            assert torch.equal(results["recomputed"][key], kept), key


def test_unequal_batches_are_named_on_every_rank(ranks):
    sizes = [2 + rank for rank in range(len(ranks))]
    for results in ranks:
        assert f"got {sizes}" in results["unequal"]
        assert "drop_last=True" in results["unequal"]


def test_one_process_is_left_alone():
    x = torch.ones(3, requires_grad=True)
    assert world_size() == 1
    assert gather(x) is x
    assert gather_with_gradient(x) is x
    assert logsumexp_over_ranks(x) is x
    assert torch.equal(mean_over_ranks(x), x)
    assert not mean_over_ranks(x).requires_grad
