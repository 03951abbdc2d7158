"""Contrastive losses between clips of scans, as used to pretrain SwiFT (Kim et al., NeurIPS 2023).

Embeddings in, a scalar out, in float32 or better. Negatives are those of the local batch, or of all processes where
the caller says how to gather rows. NT-Xent is that of SimCLR (Chen et al. 2020, arXiv 2002.05709).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def _alone(rows: Tensor) -> Tensor:
    return rows


@dataclass(frozen=True)
class Ranks:
    """How rows come together over processes; the default is a process on its own.

    Attributes
    ----------
    gather
        Rows of this process in, rows of all processes in rank order out, with the gradient that sums over the
        processes which used a row. Every process must bring equally many rows.
    rank
        Number of this process.
    """

    gather: Callable[[Tensor], Tensor] = _alone
    rank: int = 0


ALONE = Ranks()


def nt_xent(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.1,
    *,
    similarity: Literal["cosine", "dot"] = "cosine",
    subjects: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Normalised temperature cross entropy over pairs of clips.

    Parameters
    ----------
    first, second : Tensor
        ``[batch, features]``; row i of both is a positive pair (two clips of one scan).
    temperature : float
        Divides the similarities.
    similarity : {"cosine", "dot"}
    subjects : Tensor, optional
        ``[batch]`` integer ids: further clips of the same subject are then no negatives, they are left out.
    ranks : Ranks
        Where the negatives come from.

    Returns
    -------
    Tensor
        Mean over the 2 x batch anchors of this process; the mean over processes is the loss of the whole batch.

    Raises
    ------
    ValueError
        Shapes do not fit, or the temperature is not positive.
    """
    if first.shape != second.shape or first.ndim != 2 or len(first) == 0:
        raise ValueError(f"pairs must be [batch, features] both, got {list(first.shape)} and {list(second.shape)}")
    if temperature <= 0 or similarity not in ("cosine", "dot"):
        raise ValueError(f"temperature must be positive and similarity cosine or dot: {temperature}, {similarity!r}")
    if subjects is not None and subjects.shape != first.shape[:1]:
        raise ValueError(f"{len(first)} pairs need as many subjects, got {list(subjects.shape)}")
    logits, positive = pair_logits(first, second, temperature, similarity, subjects, ranks)
    return functional.cross_entropy(logits, positive)


def pair_logits(
    first: Tensor,
    second: Tensor,
    temperature: float,
    similarity: Literal["cosine", "dot"] = "cosine",
    subjects: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, Tensor]:
    """Scores of the 2 x batch anchors of this process against all clips, and the column of each one's partner.

    The anchor itself, and with ``subjects`` all clips of its subject but the partner, score minus infinity.
    """
    pairs = len(first)
    clips = torch.cat([first, second])
    clips = clips.to(torch.promote_types(clips.dtype, torch.float32))
    if similarity == "cosine":
        clips = functional.normalize(clips, dim=1)
    candidates = ranks.gather(clips)
    anchor = torch.arange(2 * pairs, device=clips.device)
    own = anchor + 2 * pairs * ranks.rank
    positive = own.roll(pairs)
    ignored = own[:, None] == torch.arange(len(candidates), device=clips.device)
    if subjects is not None:
        both = subjects.repeat(2)
        ignored = both[:, None] == ranks.gather(both)
        ignored = ignored.index_put((anchor, positive), torch.tensor(False, device=clips.device))
    return (clips @ candidates.T / temperature).masked_fill(ignored, -math.inf), positive


def local_local(
    views: tuple[Tensor, Tensor],
    partner_views: tuple[Tensor, Tensor],
    temperature: float = 0.1,
    *,
    reduction: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """Within each scan: two views of a clip attract, the other clip of the scan is the only negative.

    Parameters
    ----------
    views, partner_views : pair of Tensor
        ``[batch, features]`` each: two augmentations of one clip, and of another clip of the same scan.
    temperature : float
    reduction : {"sum", "mean"}
        Over the batch; the published sum grows with the batch size.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be sum or mean, got {reduction!r}")
    losses = torch.stack(
        [
            nt_xent(torch.stack([a, c]), torch.stack([b, d]), temperature)
            for a, b, c, d in zip(*views, *partner_views, strict=True)
        ]
    )
    return losses.sum() if reduction == "sum" else losses.mean()
