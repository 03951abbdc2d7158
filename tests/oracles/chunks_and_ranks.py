"""The plain loop over chunks and the mean over ranks, against which recomputation and gathering are tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from genebrain.training.collectives import world_size
from genebrain.training.recompute import recomputed


def encode_in_chunks(encoder: Callable[..., Any], *inputs: Tensor, chunk: int) -> Any:
    """Apply an encoder to at most ``chunk`` rows at a time, trading one more forward pass for memory.

    Parameters
    ----------
    encoder : callable
        Takes the inputs and returns a tensor, or a tuple or dictionary of tensors, with the rows first.
    *inputs : Tensor
        ``[rows, ...]`` each, equally many rows.
    chunk : int
        Rows whose activations fit into memory.

    Returns
    -------
    Tensor or tuple or dict
        As the encoder returns it, for all rows. Without gradients enabled nothing is recomputed.

    Raises
    ------
    ValueError
        If there is no row, the numbers of rows differ, or ``chunk`` is below 1.
    """
    rows = [len(tensor) for tensor in inputs]
    if chunk < 1 or not rows or len(set(rows)) > 1 or rows[0] == 0:
        raise ValueError(
            f"inputs must have equally many rows, at least 1, and chunk be at least 1: {rows}, chunk {chunk}"
        )
    parts = []
    for start in range(0, rows[0], chunk):
        parts.append(recomputed(encoder, *[tensor[start : start + chunk] for tensor in inputs]))
    return _concatenate(parts)


def _concatenate(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {key: _concatenate([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(_concatenate(list(column)) for column in zip(*parts, strict=True))
    return torch.cat(parts)


def mean_over_ranks(x: Tensor) -> Tensor:
    """Mean over processes, detached, for logging: a rank's own loss is only its own part of the batch."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x)
        x /= world_size()
    return x
