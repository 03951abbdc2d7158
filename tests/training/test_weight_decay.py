"""Groups of AdamW: matrices decay, the rest does not, frozen weights are in none."""

from __future__ import annotations

from torch import nn

from genebrain.training.weight_decay import decay_groups


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    decayed, rest = decay_groups(model.parameters(), 0.1, lr=0.5)
    assert [id(p) for p in decayed["params"]] == [id(model[0].weight)]
    assert len(rest["params"]) == 4
    assert (decayed["weight_decay"], rest["weight_decay"], rest["lr"]) == (0.1, 0.0, 0.5)


def test_groups_without_a_weight_are_left_out() -> None:
    assert [group["weight_decay"] for group in decay_groups(nn.LayerNorm(3).parameters(), 0.1)] == [0.0]
