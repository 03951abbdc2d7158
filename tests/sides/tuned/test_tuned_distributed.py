"""Two real processes with an encoder in training give the loss and the gradients of one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings
from tests.oracles.chunks_and_ranks import mean_over_ranks
from tests.ranks import run_ranks
from tests.sides.tuned.tuned_cohort import N, TunedCohort, make

SETTINGS = AlignmentSettings(projector=ProjectorSettings(hidden=16, width=8, dropout=0.0))


class Alignment(nn.Module):
    """Towers, scale and loss as the training module holds them, away from the start."""

    def __init__(self, cohort: TunedCohort) -> None:
        super().__init__()
        torch.manual_seed(0)
        towers = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N))
        self.gene, self.brain, self.logit_scale = towers.gene_tower, towers.brain_tower, towers.logit_scale
        self.loss = SETTINGS.build_loss()
        torch.manual_seed(1)
        for parameter in self.parameters():
            if parameter.requires_grad:
                parameter.data += 0.02 * torch.randn_like(parameter)

    def forward(self, gene: Tensor, brain: Tensor, ids: Tensor) -> Tensor:
        return self.loss(self.gene(gene), self.brain(brain), self.logit_scale.log_scale, ids, ids)


def one_step(module: nn.Module, cohort: TunedCohort, rows: slice) -> dict[str, Tensor]:
    gene, brain = cohort.subjects.gene_input(cohort.closed), cohort.subjects.brain_input(cohort.closed)
    loss = module(gene[rows], brain[rows], torch.arange(N)[rows])
    loss.backward()
    found = {n.removeprefix("module."): p.grad for n, p in module.named_parameters() if p.requires_grad}
    return {"loss": mean_over_ranks(loss).detach(), **found}


def step_of_rank(rank: int, world: int) -> dict[str, Tensor]:
    cohort, rows = make(), slice(rank * N // world, (rank + 1) * N // world)
    return one_step(DistributedDataParallel(Alignment(cohort)), cohort, rows)


def test_two_processes_equal_one(tmp_path):
    cohort = make()
    one = one_step(Alignment(cohort), cohort, slice(0, N))
    assert sum("lora_" in name for name in one) == 16
    for two in run_ranks(step_of_rank, 2, tmp_path):
        assert two.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
