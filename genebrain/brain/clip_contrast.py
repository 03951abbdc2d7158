"""Contrastive losses between clips of scans, as used to pretrain SwiFT (Kim et al., NeurIPS 2023).

Contract: embeddings in, a scalar out, in float32 or better. What it does NOT know: encoders, scans, processes
(negatives are those of the local batch). NT-Xent is that of SimCLR (Chen et al. 2020, arXiv 2002.05709).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def nt_xent(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.1,
    *,
    similarity: Literal["cosine", "dot"] = "cosine",
    subjects: Tensor | None = None,
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

    Returns
    -------
    Tensor
        Mean over the 2 x batch anchors.

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
    pairs = len(first)
    clips = torch.cat([first, second])
    clips = clips.to(torch.promote_types(clips.dtype, torch.float32))
    if similarity == "cosine":
        clips = functional.normalize(clips, dim=1)
    anchor = torch.arange(2 * pairs, device=clips.device)
    positive = anchor.roll(pairs)
    ignored = torch.eye(2 * pairs, dtype=torch.bool, device=clips.device)
    if subjects is not None:
        both = subjects.repeat(2)
        ignored = (both[:, None] == both).index_put((anchor, positive), torch.tensor(False, device=clips.device))
    logits = (clips @ clips.T / temperature).masked_fill(ignored, -math.inf)
    return functional.cross_entropy(logits, positive)


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


def global_local_temporal(local: Tensor, slices: Tensor, temperature: float = 0.1) -> Tensor:
    """Each short clip finds its own time slice of the long clip's features, and the other way round.

    Part of the published loss file, never called by its trainer; after TCLR (Dave et al. 2022, arXiv 2101.07974).

    Parameters
    ----------
    local, slices : Tensor
        ``[batch, times, features]``; similarities are plain dot products within each scan.
    temperature : float

    Returns
    -------
    Tensor
        Cross entropy summed over the times, mean over both directions and the batch.
    """
    if local.shape != slices.shape or local.ndim != 3:
        raise ValueError(f"both must be [batch, times, features], got {list(local.shape)} and {list(slices.shape)}")
    scores = local @ slices.mT / temperature
    logits = torch.cat([scores, scores.mT]).flatten(0, 1)
    time = torch.arange(local.shape[1], device=local.device).repeat(2 * len(local))
    return functional.cross_entropy(logits, time, reduction="sum") / (2 * len(local))
