"""Encode a batch in chunks, and encode each chunk again in the backward pass instead of keeping its
activations.

A contrastive batch must be large while an encoder's activations fill the memory with a few rows. Encoding
chunk by chunk under activation checkpointing (Chen et al. 2016, arXiv 1604.06174) keeps the outputs of all
rows but the activations of one chunk only, and gives the gradient of the plain loop over the same chunks:
random states are restored, so dropout draws the same units twice. It is what GradCache (Gao et al. 2021,
arXiv 2101.06983) computes, without a second optimisation loop: mixed precision, a learnable scale and
distributed data parallel just work.

Layers that look across rows (batch normalisation) see one chunk at a time, and update their running
statistics twice. A frozen encoder needs none of this: encode once and store. This module does not know what
it encodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(encoder: Callable[..., Any], *inputs: Tensor) -> Any:
    """Apply an encoder to one chunk whose activations are computed again in the backward pass.

    Inputs must lie on the device of the encoder already: random states are restored of the devices of the inputs
    only. Without gradients enabled nothing is recomputed.
    """
    if not torch.is_grad_enabled():
        return encoder(*inputs)
    return checkpoint(encoder, *inputs, use_reentrant=False, preserve_rng_state=True)


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
