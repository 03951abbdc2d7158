"""
Two towers by hand
==================

What a training step is, without cohorts or files: two small networks, one loss, and people whose two vectors belong
together. This is what ``fit alignment=textbook`` does with a genome and a scan.
"""

# %%
# **Data.** 600 people. A hidden trait of 6 numbers shows in 40 gene numbers and in 60 brain numbers, with
# noise.

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional

from genebrain import InfoNCE, LogitScale

torch.manual_seed(0)
n_people, n_training = 600, 400
trait = torch.randn(n_people, 6)
gene = trait @ torch.randn(6, 40) + 2 * torch.randn(n_people, 40)
brain = trait @ torch.randn(6, 60) + 2 * torch.randn(n_people, 60)
genome_id = torch.arange(n_people)  # who shares a genome (identical twins) and
family_id = torch.arange(n_people)  # a family; here nobody does

# %%
# **Towers.** A tower maps one side to vectors of length 1, so that the dot product of two of them is their
# cosine.


class Tower(nn.Module):
    """A hidden layer, then a point on the sphere."""

    def __init__(self, n_in: int, n_out: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, 64), nn.GELU(), nn.Linear(64, n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[people, n_in] -> [people, n_out]``."""
        return functional.normalize(self.layers(x), dim=-1)


gene_tower, brain_tower, scale, loss = Tower(40), Tower(60), LogitScale(), InfoNCE()

# %%
# **The loss in words.** For each genome, the softmax over the scores with all brains of the batch should point
# at its own brain, and the other way round. If nobody is related, ``InfoNCE`` is this dense formula, computed
# in tiles:


def dense_infonce(gene: torch.Tensor, brain: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Loss of CLIP: the mean of both directions."""
    scores = log_scale.exp() * gene @ brain.T
    own = torch.arange(len(scores))
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


g, b = gene_tower(gene[:100]), brain_tower(brain[:100])
tiled = loss(g, b, scale.log_scale, genome_id[:100], family_id[:100])
print(f"tiled {tiled.item():.6f}, dense {dense_infonce(g, b, scale.log_scale).item():.6f}")

# %%
# **Training**, and the number that counts: how often is the own brain first among 50 people who were not
# trained on? Chance is 1 in 50.


def recall_at_1(first: int, size: int = 50) -> float:
    """Share of genomes whose own brain scores highest among ``size`` people, over all whole groups of them."""
    hits = []
    for start in range(first, n_people - size + 1, size):
        rows = slice(start, start + size)
        scores = gene_tower(gene[rows]) @ brain_tower(brain[rows]).T
        hits.append((scores.argmax(1) == torch.arange(size)).float().mean())
    return torch.stack(hits).mean().item()


optimizer = torch.optim.AdamW(
    [*gene_tower.parameters(), *brain_tower.parameters(), *scale.parameters()], lr=2e-3, weight_decay=0.05
)
history = []
for step in range(120):
    rows = torch.randperm(n_training)[:200]
    value = loss(gene_tower(gene[rows]), brain_tower(brain[rows]), scale.log_scale, genome_id[rows], family_id[rows])
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    scale.clamp_()
    if step % 5 == 0:
        with torch.no_grad():
            history.append((step, value.item(), recall_at_1(n_training)))

print(f"recall@1 of 50 new people: {history[0][2]:.2f} before, {history[-1][2]:.2f} after (chance .02)")

# %%
# The loss of training people falls on and on; the recall of new people reaches a peak and then sinks. ``fit`` therefore
# stops early, by validation people.

steps, losses, recalls = zip(*history, strict=True)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
left.plot(steps, losses)
left.set(xlabel="step", ylabel="InfoNCE, training people")
right.plot(steps, recalls)
right.axhline(0.02, color="grey", linestyle=":", label="chance")
right.set(xlabel="step", ylabel="recall@1 of 50, new people", ylim=(0, None))
right.legend()
figure.tight_layout()
