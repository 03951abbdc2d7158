"""Who is whose positive, relative and negative."""

from __future__ import annotations

import pytest
import torch

from genebrain.alignment.losses.relations import Relations, check_relatives, tiles

# Person 7 scanned twice, her identical twin under the same genome, a brother 8, a stranger 9.
GENOME = torch.tensor([7, 9, 7, 8])
FAMILY = torch.tensor([1, 2, 1, 1])


def test_positive_relative_negative():
    relations = Relations(GENOME, FAMILY, GENOME, FAMILY)
    assert relations.positive(slice(0, 2)).int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0]]
    assert relations.ignored(slice(0, 4)).int().tolist() == [
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 1],
        [1, 0, 1, 0],
    ]
    assert Relations(GENOME, FAMILY, GENOME, FAMILY, "negative").ignored(slice(0, 4)) is None


def test_positive_mean_is_the_mean_over_the_genome():
    columns = torch.tensor([[1.0, 0], [5, 5], [3, 4], [9, 9]], requires_grad=True)
    rows = torch.tensor([8, 7])
    means = Relations(rows, rows, GENOME, FAMILY).positive_mean(columns)
    assert means.tolist() == [[9, 9], [2, 2]]
    (gradient,) = torch.autograd.grad(means.sum(), columns)
    assert gradient.tolist() == [[0.5, 0.5], [0, 0], [0.5, 0.5], [1, 1]]


@pytest.mark.parametrize(("rows", "tile"), [(7, 3), (6, 3), (1, 10), (5, 1)])
def test_tiles_cover_every_row_once(rows, tile):
    covered = [row for piece in tiles(rows, tile) for row in range(rows)[piece]]
    assert covered == list(range(rows))
    assert all(piece.stop - piece.start <= tile for piece in tiles(rows, tile))


def test_relatives_rule():
    assert check_relatives("negative") == "negative"
    with pytest.raises(ValueError, match="ignore, negative"):
        check_relatives("positive")
