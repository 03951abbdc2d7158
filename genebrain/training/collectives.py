"""Collectives for losses that contrast across processes: exact gradients, and no option that can spoil them.

A plain ``all_gather`` has no gradient, and gathering without one gives tower gradients that are wrong in
size or in direction while the loss looks right. Here gathering always carries the gradient: forward
all-gather, backward reduce-scatter (the sum over processes). A loss that is the mean over *local* rows is
then exact under the mean that distributed data parallel takes over processes: no factor of the world size
anywhere.

Every process must bring the same number of rows (``drop_last=True`` in training): :func:`check_equal_batch`. With one
process every function returns its input.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

# torch 2.13 gave both a new name and warns of the old one, in every process.
_all_gather: Any = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or getattr(dist, "reduce_scatter_tensor", None)


def world_size() -> int:
    """Number of processes (1 when no process group is initialised)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Rank of this process (0 when no process group is initialised)."""
    return dist.get_rank() if world_size() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """Rows of all processes in rank order, without gradient.

    Parameters
    ----------
    x : Tensor
        ``[rows, ...]``, the same shape on every process.

    Returns
    -------
    Tensor
        ``[world * rows, ...]``.
    """
    world = world_size()
    if world == 1:
        return x
    out = x.new_empty((world * x.shape[0], *x.shape[1:]))
    _all_gather(out, x.detach().contiguous())
    return out


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[0]
        return gather(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        if dist.get_backend() == "nccl":
            out = grad.new_empty((ctx.rows, *grad.shape[1:]))
            _reduce_scatter(out, grad)
            return out
        # gloo has no reduce-scatter everywhere; the clone keeps the gradient that autograd still owns.
        grad = grad.clone()
        dist.all_reduce(grad)
        return grad[rank() * ctx.rows :][: ctx.rows]


def gather_with_gradient(x: Tensor) -> Tensor:
    """Rows of all processes in rank order; the gradient of a row is the sum over the processes that used it.

    Parameters
    ----------
    x : Tensor
        ``[rows, ...]``, the same shape on every process.

    Returns
    -------
    Tensor
        ``[world * rows, ...]``.
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _GatherWithGradient.apply(x)
    return gathered


def logsumexp_over_ranks(partial: Tensor) -> Tensor:
    """Combine the log-sum-exp over each process's rows into that over all rows, for this rank's columns.

    Parameters
    ----------
    partial : Tensor
        ``[world * rows]``: for every global column, the log-sum-exp over this process's rows.

    Returns
    -------
    Tensor
        ``[rows]``: for this process's own columns, the log-sum-exp over the rows of all processes.
    """
    world = world_size()
    if world == 1:
        return partial
    rows = partial.shape[0] // world
    mine = slice(rank() * rows, (rank() + 1) * rows)
    return gather_with_gradient(partial[None])[:, mine].logsumexp(dim=0)


def check_equal_batch(rows: int, device: torch.device) -> None:
    """Raise on every process if the processes brought different numbers of rows.

    Unequal rows make collectives hang or pair the wrong people, most often in the last batch of an epoch,
    so this runs at every step: one integer per process, and one wait for the device.

    Raises
    ------
    ValueError
        With the number of rows of each rank.
    """
    if world_size() == 1:
        return
    sizes = gather(torch.tensor([rows], device=device)).tolist()
    if len(set(sizes)) > 1:
        raise ValueError(
            f"every process must bring the same number of rows to the loss, got {sizes} (in rank order); "
            "use drop_last=True and a sampler that gives each rank equally many items"
        )
