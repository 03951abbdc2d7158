"""Activation checkpointing of an encoder: one chunk of a batch is encoded again in the backward pass.

A contrastive batch must be large while an encoder's activations fill the memory with a few rows. Encoding chunk by
chunk under activation checkpointing (Chen et al. 2016, arXiv 1604.06174) keeps the outputs of all rows but the
activations of one chunk only, and gives the gradient of the plain loop over the same chunks: random states are
restored, so dropout draws the same units twice. It is what GradCache (Gao et al. 2021, arXiv 2101.06983) computes,
without a second optimisation loop: mixed precision, a learnable scale and distributed data parallel just work.

Layers that look across rows (batch normalisation) see one chunk at a time, and update their running statistics twice.
A frozen encoder needs none of this: encode once and store.
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
