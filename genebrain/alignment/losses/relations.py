"""Relations between people in a batch: positives, negatives and pairs that are ignored.

One contrast item is a pair (genome, scan). Two integer ids per item decide everything:

* same ``genome_id`` (repeat scans of one person, identical twins): **positive**;
* same ``family_id``, other genome (siblings, parents): **relative**, who shares about half of the segregating
  DNA, so calling them a negative teaches the wrong thing: ignored by default;
* everybody else: **negative**.

Masks are made for a tile of rows at a time and never kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Relatives = Literal["ignore", "negative"]


@dataclass(frozen=True)
class Relations:
    """The ids of the row items and of the column items of a score matrix.

    Attributes
    ----------
    row_genome, row_family : Tensor
        Integer ids of the rows, ``[rows]``.
    column_genome, column_family : Tensor
        Integer ids of the columns, ``[columns]``.
    relatives : {"ignore", "negative"}
        What a pair of the same family but of different genomes is.
    """

    row_genome: Tensor
    row_family: Tensor
    column_genome: Tensor
    column_family: Tensor
    relatives: Relatives = "ignore"

    def positive(self, rows: slice) -> Tensor:
        """Pairs of the same genome, bool ``[rows of the slice, columns]``."""
        return self.row_genome[rows, None] == self.column_genome

    def ignored(self, rows: slice) -> Tensor | None:
        """Pairs that are neither, bool ``[rows of the slice, columns]``; None where no pair can be."""
        if self.relatives == "negative":
            return None
        same_family = self.row_family[rows, None] == self.column_family
        return same_family.logical_and_(self.row_genome[rows, None] != self.column_genome)

    def positive_mean(self, columns: Tensor) -> Tensor:
        """Mean of the columns' vectors over the positives of each row.

        The mean of a row's positive scores is the score of this mean vector, which costs a sum over genomes
        instead of a pass over the score matrix.

        Parameters
        ----------
        columns : Tensor
            Vectors of the column items, ``[columns, features]``.

        Returns
        -------
        Tensor
            ``[rows, features]``. A row without a positive column is a precondition failure (not checked: it
            would make the host wait for the device at every step).
        """
        ordered = self.column_genome.sort().values
        # The place of an id in the sorted ids names its genome without a count of genomes, which would have
        # to travel from the device to the host.
        column_slot = torch.searchsorted(ordered, self.column_genome.contiguous())
        row_slot = torch.searchsorted(ordered, self.row_genome.contiguous())
        sums = torch.zeros_like(columns).index_add(0, column_slot, columns)
        counts = torch.zeros_like(ordered).index_add_(0, column_slot, torch.ones_like(ordered))
        return sums[row_slot].div_(counts[row_slot, None])


def check_relatives(relatives: str) -> Relatives:
    """Return ``relatives`` if it is a known rule.

    Raises
    ------
    ValueError
        Naming the value and the rules there are.
    """
    for known in get_args(Relatives):
        if relatives == known:
            return known
    raise ValueError(f"relatives={relatives!r} is unknown; choose one of {', '.join(get_args(Relatives))}")


def check_batch(gene: Tensor, brain: Tensor, log_scale: Tensor, genome_id: Tensor, family_id: Tensor) -> None:
    """Raise unless the arguments of a contrastive loss fit each other.

    Parameters
    ----------
    gene, brain : Tensor
        Tower vectors, ``[batch, features]`` each; row i of both is the same person.
    log_scale : Tensor
        ``[1]``, natural logarithm of the scale of the scores.
    genome_id, family_id : Tensor
        Integer ids, ``[batch]`` each.

    Raises
    ------
    ValueError
        With every problem found.
    """
    problems = []
    if gene.ndim != 2 or gene.shape != brain.shape:
        problems.append(
            f"gene {list(gene.shape)} and brain {list(brain.shape)} must be [batch, features] of equal sizes"
        )
    elif gene.shape[0] == 0:
        problems.append("the batch is empty: gene and brain have 0 rows")
    if log_scale.shape != (1,):
        problems.append(f"log_scale must have shape [1], not {list(log_scale.shape)}")
    for name, ids in (("genome_id", genome_id), ("family_id", family_id)):
        if ids.shape != gene.shape[:1]:
            problems.append(f"{name} must have one id per row: {list(gene.shape[:1])}, not {list(ids.shape)}")
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            problems.append(f"{name} must hold integers, not {ids.dtype}")
    if problems:
        raise ValueError("; ".join(problems))


def tiles(rows: int, tile: int) -> Iterator[slice]:
    """Slices of at most ``tile`` rows that cover ``range(rows)``."""
    for start in range(0, rows, tile):
        yield slice(start, min(start + tile, rows))
