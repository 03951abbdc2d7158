"""The two towers: features of one side in, float32 vectors whose dot product is the score out.

A tower starts from the closed form (:class:`ResidualTower`: the closed form plus a correction that begins at
zero) or at random (:class:`ProjectorTower`: the projector of the published recipe, behind a trainable pooling
where one is asked for). Which features, and where they come from, is decided outside.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.alignment.towers.pooling import DiploidPooling, build
from genebrain.alignment.towers.projector import Projector
from genebrain.alignment.towers.standardiser import Standardiser
from genebrain.common.types import FloatArray
from genebrain.training.tuned_encoder import tuned_encoders


def tower_vectors(tower: nn.Module, features: Tensor, batch: int = 1024) -> FloatArray:
    """Vectors of people, outside training: ``[people, features] -> [people, columns]`` float32."""
    tower.eval()
    if tuned_encoders(tower):
        # What people share is encoded once for all of them; the encoder cuts its work up by itself.
        batch = max(1, len(features))
        if torch.cuda.is_available():
            tower.cuda()
    device = next(tower.parameters()).device
    with torch.inference_mode():
        parts = [tower(features[i : i + batch].to(device)).float().cpu() for i in range(0, len(features), batch)]
    out: FloatArray = torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)
    return out


class ResidualTower(nn.Module):
    """``to_score(start(x) + correction(x))``: equals the closed form exactly until training moves it.

    Parameters
    ----------
    start : nn.Module
        Head of the closed form, ``[batch, features] -> [batch, latent]``.
    to_score : nn.Module
        Puts a latent into the form whose dot product is the score, ``[batch, latent] -> [batch, columns]``.
    standardiser : Standardiser
        Of the input of the correction; the start carries its own statistics.
    projector : Projector
        Body of the correction; a zero-initialised linear map brings it to the latent.
    latent : int
    train_start : bool
        Whether the start itself moves as well (``train: full``).
    """

    def __init__(
        self,
        start: nn.Module,
        to_score: nn.Module,
        standardiser: Standardiser,
        projector: Projector,
        latent: int,
        *,
        train_start: bool = False,
    ) -> None:
        super().__init__()
        self.start = start.requires_grad_(train_start)
        self.to_score = to_score.requires_grad_(False)
        self.standardiser = standardiser
        self.projector = projector
        self.correction = nn.Linear(projector.out_features, latent, bias=False)
        nn.init.zeros_(self.correction.weight)

    def forward(self, features: Tensor) -> Tensor:
        """``[batch, features] -> [batch, columns]``."""
        latent = self.start(features) + self.correction(self.projector(self.standardiser(features)))
        out: Tensor = self.to_score(latent)
        return out


class ProjectorTower(nn.Module):
    """Project to the shared space, unit length: the tower of the textbook recipe.

    Parameters
    ----------
    front : nn.Module
        A :class:`~genebrain.alignment.towers.standardiser.Standardiser`, or a trainable pooling.
    projector : Projector
    """

    def __init__(self, front: nn.Module, projector: Projector) -> None:
        super().__init__()
        self.front = front
        self.projector = projector

    def forward(self, features: Tensor) -> Tensor:
        """``[batch, features]`` (or what the pooling takes) ``-> [batch, width]``, unit length."""
        return functional.normalize(self.projector(self.front(features)), dim=-1)


class EncodedTower(nn.Module):
    """A tower behind an encoder that is trained with it: ``tower(encoder(items))``.

    Parameters
    ----------
    encoder : nn.Module
        What a batch names (rows of a chunk index, row numbers of people) to the tower's features,
        ``[batch, ...] -> [batch, features]``.
    tower : nn.Module
        :class:`ResidualTower` or :class:`ProjectorTower`.
    """

    def __init__(self, encoder: nn.Module, tower: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.tower = tower

    def forward(self, items: Tensor) -> Tensor:
        """``[batch, ...] -> [batch, columns]``."""
        out: Tensor = self.tower(self.encoder(items))
        return out


class ProjectorBody(nn.Module):
    """A trained tower up to the output of its projector, before anything is made of it for the score.

    Parameters
    ----------
    tower : ResidualTower
    encoder : nn.Module, optional
        Encoder that was trained in front of it.
    """

    def __init__(self, tower: ResidualTower, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.tower = tower

    @classmethod
    def of(cls, tower: nn.Module) -> ProjectorBody | None:
        """Body of a tower; None for a tower whose score vectors are the projector's output already."""
        encoder = tower.encoder if isinstance(tower, EncodedTower) else None
        inner = tower.tower if isinstance(tower, EncodedTower) else tower
        return cls(inner, encoder) if isinstance(inner, ResidualTower) else None

    def forward(self, items: Tensor) -> Tensor:
        """``[batch, ...] -> [batch, width]``."""
        features = items if self.encoder is None else self.encoder(items)
        out: Tensor = self.tower.projector(self.tower.standardiser(features))
        return out


class PooledChunks(nn.Module):
    """Chunk embeddings of each subject, pooled with trainable weights: chunk -> diploid -> window -> subject.

    The table of unique chunks is a buffer that is never saved: it is individual-level data and lives in the
    store. Subjects are rows of the chunk index.

    Parameters
    ----------
    table : Tensor
        ``[unique, hidden]``, standardised.
    levels : mapping
        Pooling names of the levels ``chunk``, ``diploid`` and ``window``.
    n_chunks, n_windows : int
        Sizes that ``flatten`` needs.
    """

    table: Tensor

    def __init__(self, table: Tensor, levels: Mapping[str, str], n_chunks: int, n_windows: int) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)
        self.chunk = build(levels["chunk"], table.shape[1], n_chunks)
        self.diploid = DiploidPooling(levels["diploid"], self.chunk.out_features)
        self.window = build(levels["window"], self.diploid.out_features, n_windows)
        self.out_features: int = self.window.out_features

    def forward(self, index: Tensor) -> Tensor:
        """``[batch, haplotypes, windows, chunks] -> [batch, out_features]``; -1 does not exist."""
        return self.pool(self.table, index)

    def pool(self, table: Tensor, index: Tensor) -> Tensor:
        """As :meth:`forward`, from another table ``[rows, hidden]``: one that an encoder in training just made."""
        chunks = index.permute(0, 2, 1, 3)
        exists = chunks >= 0
        haplotypes = exists.any(dim=-1)
        present = haplotypes.any(dim=-1)
        embedded = table[chunks.clamp_min(0)] * exists.unsqueeze(-1)
        # What does not exist at all must only not be empty here; the next level masks it.
        copies = self.chunk(embedded, exists | ~haplotypes.unsqueeze(-1))
        windows = self.diploid(copies, haplotypes | ~present.unsqueeze(-1))
        out: Tensor = self.window(windows, present)
        return out
