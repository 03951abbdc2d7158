"""Output heads of SwiFT: mean over all space-time tokens, then linear layers.

Feature map ``[batch, hidden, x, y, z, frames]`` in; parameters bear the names of the published checkpoints, without
``output_head.``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class LinearHead(nn.Module):
    """Classification (version 1) and regression: one linear layer, ``[batch, outputs]``."""

    def __init__(self, hidden: int, outputs: int = 1) -> None:
        super().__init__()
        self.head = nn.Linear(hidden, outputs)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Logits or standardised targets."""
        return self.head(feature_map.flatten(2).mean(dim=2))


class EmbeddingHead(nn.Module):
    """Pretraining: linear, batch norm, unit length: ``[batch, features]``."""

    def __init__(self, hidden: int, features: int = 128) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden, features, bias=False)
        self.bn1 = nn.BatchNorm1d(features)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Vectors of unit length; batch statistics in training mode."""
        return functional.normalize(self.bn1(self.fc1(feature_map.flatten(2).mean(dim=2))), dim=1)
