"""The fitted closed form as differentiable modules: the start of trainable towers.

A head maps features to the latent; a score form maps the latent to the vectors whose dot product is the score.
Together they equal the closed form's own vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.common.types import FloatArray


class LinearHead(nn.Module):
    """``(features - mean) @ weight``, ``[batch, features] -> [batch, latent]``."""

    mean: Tensor

    def __init__(self, mean: FloatArray, weight: FloatArray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(np.ascontiguousarray(mean)).float())
        self.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weight)).float())

    def forward(self, features: Tensor) -> Tensor:
        """Map features to the latent."""
        return (features - self.mean) @ self.weight


class LikelihoodRatioForm(nn.Module):
    """Gene or brain side of the calibrated log-likelihood ratio, ``[batch, latent] -> [batch, latent + 2]``.

    Same form as :func:`genebrain.alignment.closed_form.score.llr_vectors`.
    """

    multiplier: Tensor
    weight: Tensor
    height: Tensor

    def __init__(self, closed: ClosedForm, side: str) -> None:
        super().__init__()
        calibration = closed.calibration
        noise = torch.from_numpy(calibration.inflation * closed.predictive)
        self.side = side
        slope = calibration.slope if side == "gene" else 1.0
        curvature = (1.0 / noise - 1.0 / calibration.variance) * float(calibration.slope > 0)
        self.register_buffer("multiplier", (slope / noise.sqrt()).float())
        self.register_buffer("weight", curvature.float())
        height = torch.log(calibration.variance / noise).sum() * float(calibration.slope > 0)
        self.register_buffer("height", height.float(), persistent=False)  # older checkpoints do not hold it

    def forward(self, latent: Tensor) -> Tensor:
        """Vectors whose dot product with the other side's is the score."""
        scaled = latent * self.multiplier
        if self.side == "gene":
            norm = 0.5 * (self.height - scaled.square().sum(dim=1, keepdim=True))
            return torch.cat([scaled, norm, torch.ones_like(norm)], dim=1)
        norm = -0.5 * (latent.square() @ self.weight)[:, None]
        return torch.cat([scaled, torch.ones_like(norm), norm], dim=1)


class CosineForm(nn.Module):
    """Latents scaled by their predictive precision, unit length."""

    multiplier: Tensor

    def __init__(self, closed: ClosedForm) -> None:
        super().__init__()
        self.register_buffer("multiplier", torch.from_numpy(closed.predictive**-0.5).float())

    def forward(self, latent: Tensor) -> Tensor:
        """``[batch, latent] -> [batch, latent]``."""
        return functional.normalize(latent * self.multiplier, dim=1)


@dataclass(frozen=True)
class TorchHeads:
    """Heads and score forms of both sides, and the size of the latent."""

    gene_head: LinearHead
    gene_score: nn.Module
    brain_head: LinearHead
    brain_score: nn.Module
    latent: int


def torch_heads(closed: ClosedForm) -> TorchHeads:
    """Give the closed form as modules, in the score that it was fitted for."""
    genes, dims = closed.coefficients.shape
    forms: tuple[nn.Module, nn.Module]
    if closed.score == "llr":
        forms = LikelihoodRatioForm(closed, "gene"), LikelihoodRatioForm(closed, "brain")
    else:
        forms = CosineForm(closed), CosineForm(closed)
    return TorchHeads(
        LinearHead(np.zeros(genes), closed.coefficients),
        forms[0],
        LinearHead(closed.brain_mean, closed.brain_map),
        forms[1],
        dims,
    )
