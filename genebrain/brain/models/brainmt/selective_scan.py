"""Selective state-space scan in plain PyTorch: parallel within a segment, bounded memory over long sequences.

The recurrence ``h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t``, ``y_t = C_t h_t + D u_t`` of Mamba (Gu and Dao 2023,
arXiv 2312.00752) runs on two levels: about sqrt(L) chunks advance side by side, then their ends are joined. Only
products of factors in (0, 1] occur, never a quotient or the exponential of a cumulative sum, so steep decays do not
overflow. Sequences too long for the memory are cut into segments that hand on the state and are made again in the
backward pass.

Value and gradients are those of the step-by-step recurrence up to rounding, on any device. On CUDA the kernels of
the optional package mamba-ssm are used where importable.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

SEGMENT_NUMBERS = 2**24
"""Numbers of state, ``tokens x batch x channels x state``, that a segment may hold (64 MiB in float32)."""
SHORTEST_SEGMENT = 16


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    start: Tensor | None = None,
    segment: int | None = None,
    backend: Literal["auto", "torch"] = "auto",
) -> tuple[Tensor, Tensor]:
    """Scan of a batch of sequences.

    Parameters
    ----------
    u, delta : Tensor
        Input and step size before ``softplus(delta + delta_bias)``, ``[batch, channels, length]``.
    A : Tensor
        Decay rates, negative, ``[channels, state]``.
    B, C : Tensor
        Input and output maps, ``[batch, state, length]`` or ``[batch, groups, state, length]``; channel d belongs
        to group ``d // (channels / groups)``.
    D, delta_bias : Tensor, optional
        Skip weight and bias of the step, ``[channels]``.
    z : Tensor, optional
        The output is multiplied by ``silu(z)``, ``[batch, channels, length]``.
    start : Tensor, optional
        State before the first token, ``[batch, channels, state]``; zeros if not given.
    segment : int, optional
        Tokens whose states are held at a time; by default as many as ``SEGMENT_NUMBERS`` allows.
    backend : {"auto", "torch"}
        "auto" takes the kernels of mamba-ssm for CUDA tensors without ``start`` where they can be imported.

    Returns
    -------
    y : Tensor
        ``[batch, channels, length]``.
    last : Tensor
        State after the last token, ``[batch, channels, state]``.

    Raises
    ------
    ValueError
        Shapes do not fit, the sequence is empty, or the segment is shorter than one token.
    """
    B, C = (x if x.ndim == 4 else x.unsqueeze(1) for x in (B, C))
    _check(u, delta, A, B, C, z, start)
    if segment is not None and segment < 1:
        raise ValueError(f"a segment must have at least 1 token, not {segment}")
    kernel = _kernel() if backend == "auto" and u.is_cuda and start is None else None
    if kernel is not None:
        y, last = kernel(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True, return_last_state=True)
        return y, last
    batch, _, length = u.shape
    state = u.new_zeros(batch, *A.shape) if start is None else start
    segment = segment or max(SHORTEST_SEGMENT, SEGMENT_NUMBERS // state.numel())
    if length <= segment:
        return _segment(u, delta, A, B, C, D, z, delta_bias, state)
    # split, not slicing: the gradient of a slice is a tensor of full length, once per segment.
    parts = [x.split(segment, dim=-1) for x in (u, delta, B, C)]
    gates = z.split(segment, dim=-1) if z is not None else [None] * len(parts[0])
    outputs = []
    for u_, delta_, B_, C_, z_ in zip(*parts, gates, strict=True):
        arguments = (u_, delta_, A, B_, C_, D, z_, delta_bias, state)
        if torch.is_grad_enabled():
            y, state = checkpoint(_segment, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            y, state = _segment(*arguments)
        outputs.append(y)
    return torch.cat(outputs, dim=-1), state


def _check(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, z: Tensor | None, start: Tensor | None) -> None:
    batch, channels, length = u.shape
    groups, state = B.shape[1], A.shape[-1]
    expected: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        ("delta", delta, (batch, channels, length)),
        ("A", A, (channels, state)),
        ("B", B, (batch, groups, state, length)),
        ("C", C, (batch, groups, state, length)),
        ("z", z, (batch, channels, length)),
        ("start", start, (batch, channels, state)),
    ]
    wrong = [f"{n} is {list(x.shape)}, expected {list(s)}" for n, x, s in expected if x is not None and x.shape != s]
    if length == 0:
        wrong.append("the sequence is empty")
    if channels % groups:
        wrong.append(f"{channels} channels do not divide into {groups} groups")
    if wrong:
        raise ValueError(f"selective scan of u {list(u.shape)}: " + "; ".join(wrong))


@cache
def _kernel() -> Callable[..., Any] | None:
    try:
        return importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    except (ImportError, OSError):  # OSError: built against another CUDA or torch
        return None


def _segment(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    start: Tensor,
) -> tuple[Tensor, Tensor]:
    # Time first: each step of the recurrence then reads and writes contiguous memory.
    step = functional.softplus(delta if delta_bias is None else delta + delta_bias[:, None]).permute(2, 0, 1)
    step = step.contiguous()
    groups = B.shape[1]
    drive = (step * u.permute(2, 0, 1)).unflatten(-1, (groups, -1))[..., None]
    drive = (drive * B.permute(3, 0, 1, 2)[:, :, :, None]).flatten(2, 3)
    states = _Recurrence.apply(torch.exp(step[..., None] * A), drive, start)
    y = (states.unflatten(2, (groups, -1)) @ C.permute(3, 0, 1, 2)[..., None]).flatten(2).permute(1, 2, 0)
    if D is not None:
        y = y + D[:, None] * u
    # A copy: a view of the last state would keep the states of the whole segment in memory.
    return y if z is None else y * functional.silu(z), states[-1].clone()


class _Recurrence(torch.autograd.Function):
    """``h_t = decay_t h_{t-1} + drive_t``, all ``[length, ...]``; the gradient is the same recurrence, backwards."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor, start: Tensor) -> Tensor:
        states = _run(decay, drive, start)
        ctx.save_for_backward(decay, states, start)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, states, start = ctx.saved_tensors
        following = torch.cat([decay[1:], torch.ones_like(decay[:1])])
        drive = _run(following, grad, torch.zeros_like(start), backwards=True)
        before = following  # reuse: it has the size wanted, and is read no more
        torch.mul(drive[1:], states[:-1], out=before[1:])
        torch.mul(drive[0], start, out=before[0])
        return before, drive, decay[0] * drive[0]


def _run(decay: Tensor, drive: Tensor, start: Tensor, backwards: bool = False) -> Tensor:
    """All states ``[length, ...]`` of the recurrence from ``start [...]``, from the first token or from the last."""
    length = decay.shape[0]
    steps = math.isqrt(length)
    body = length // steps * steps
    states = torch.empty_like(decay)
    a, b, h = (x[:body].unflatten(0, (-1, steps)) for x in (decay, drive, states))
    turn = -1 if backwards else 1
    order = range(steps)[::turn]
    product, end = a[:, order[0]].clone(), b[:, order[0]].clone()
    for i in order[1:]:
        product *= a[:, i]
        torch.addcmul(b[:, i], a[:, i], end, out=end)
    entry = torch.empty_like(end)
    carry = start
    if backwards:
        carry = _walk(decay, drive, states, carry, range(body, length)[::-1])
    for chunk in range(len(entry))[::turn]:
        entry[chunk] = carry
        carry = torch.addcmul(end[chunk], product[chunk], carry)
    for i in order:
        torch.addcmul(b[:, i], a[:, i], entry, out=entry)
        h[:, i] = entry
    if not backwards:
        _walk(decay, drive, states, carry, range(body, length))
    return states


def _walk(decay: Tensor, drive: Tensor, states: Tensor, carry: Tensor, tokens: range) -> Tensor:
    """Fill the states of the few tokens that make no whole chunk; the last of them."""
    for t in tokens:
        carry = torch.addcmul(drive[t], decay[t], carry)
        states[t] = carry
    return carry
