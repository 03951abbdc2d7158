"""Trainable pooling of a person's scan windows: encoder and attention weights.

Row numbers of people in, features of the brain tower out. Windows are averaged per scan, scans per person; attention
starts at exactly these weights and learns others. Scans and their embeddings belong to the store: no state dict
holds them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genebrain.brain.windows.policy import Window
from genebrain.sides.embedding_feature import EmbeddingFeature

ATTENTION_FEATURES = 32


@dataclass(frozen=True)
class WeightedWindow:
    """A window of a person, its number in its scan, and its share of the person's vector before normalisation."""

    key: str
    window: Window
    weight: float
    number: int = 0


class WindowAttention(nn.Module):
    """Gated attention over the windows of a person (Ilse et al. 2018, eq. 9), from prior weights on.

    ``weight_i = prior_i exp(w . (tanh(V x_i) * sigmoid(U x_i)))``, normalised per person; ``w`` starts at zero, so
    that nothing changes before training.

    Parameters
    ----------
    hidden : int
        Columns of a window's vector.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.features = nn.Linear(hidden, ATTENTION_FEATURES)
        self.gate = nn.Linear(hidden, ATTENTION_FEATURES)
        self.score = nn.Linear(ATTENTION_FEATURES, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, x: Tensor, owners: Tensor, prior: Tensor, people: int) -> Tensor:
        """Weights of the windows, float64 ``[windows]``, that sum to one per owner.

        Parameters
        ----------
        x : Tensor
            Standardised vectors ``[windows, hidden]``.
        owners : Tensor
            int64 ``[windows]``: whose window it is, below ``people``.
        prior : Tensor
            float64 ``[windows]``, above zero.
        people : int
        """
        x = x.to(self.gate.weight.dtype)
        score = self.score(torch.tanh(self.features(x)) * torch.sigmoid(self.gate(x)))[:, 0].double()
        # The largest score of each person is taken off: exponentials stay finite.
        largest = torch.full((people,), -torch.inf, dtype=score.dtype, device=score.device)
        largest = largest.scatter_reduce(0, owners, score.detach(), "amax")
        weight = prior * (score - largest[owners]).exp()
        total = torch.zeros(people, dtype=weight.dtype, device=weight.device).index_add(0, owners, weight)
        return weight / total[owners]


class PersonWindows(nn.Module, ABC):
    """Row numbers of people to features of their scans.

    Parameters
    ----------
    people : list of lists of WeightedWindow
        By row number.
    feature : EmbeddingFeature
        From embeddings to what the tower reads, fitted on training people.
    attention : bool
        Whether weights of windows are learned.
    """

    mean: Tensor
    factor: Tensor
    axes: Tensor | None

    def __init__(self, people: list[list[WeightedWindow]], feature: EmbeddingFeature, *, attention: bool) -> None:
        super().__init__()
        self._people = people
        state = {name: torch.from_numpy(np.asarray(values, np.float64)) for name, values in feature.state().items()}
        for name in ("mean", "factor", "axes"):
            self.register_buffer(name, state.get(name))
        self.out_features = len(self.mean) if self.axes is None else self.axes.shape[1]
        self.attention = WindowAttention(len(self.mean)) if attention else None

    @abstractmethod
    def vectors(self, windows: list[WeightedWindow], place: Tensor) -> Tensor:
        """Vectors ``[windows, hidden]`` on the device of ``place``."""

    def chosen(self, row: int) -> list[WeightedWindow]:
        """The windows of a person that count now."""
        return self._people[row]

    def forward(self, rows: Tensor) -> Tensor:
        """``[batch] -> [batch, out_features]``, float32."""
        chosen = [self.chosen(row) for row in rows.tolist()]
        # Windows of one length pass an encoder together.
        flat = sorted(
            ((one, owner) for owner, listed in enumerate(chosen) for one in listed), key=lambda x: x[0].window.frames
        )
        owners = torch.tensor([owner for _, owner in flat], device=rows.device)
        totals = [sum(one.weight for one in listed) for listed in chosen]
        weights = torch.tensor([one.weight / totals[owner] for one, owner in flat], dtype=torch.float64)
        weights = weights.to(rows.device)
        vectors = self.vectors([one for one, _ in flat], rows[:1]).double()
        if self.attention is not None:
            weights = self.attention((vectors - self.mean) * self.factor, owners, weights, len(rows))
        people = torch.zeros(len(rows), vectors.shape[1], dtype=torch.float64, device=rows.device)
        people = (people.index_add(0, owners, vectors * weights[:, None]) - self.mean) * self.factor
        return (people if self.axes is None else people @ self.axes).float()


class StoredScans(PersonWindows):
    """Vectors of a frozen encoder, which were computed once; only the weights of windows are trained.

    Parameters
    ----------
    embeddings : mapping
        Scan key -> float32 ``[windows, hidden]``; never saved.
    """

    table: Tensor

    def __init__(
        self,
        embeddings: Mapping[str, NDArray[np.float32]],
        people: list[list[WeightedWindow]],
        feature: EmbeddingFeature,
    ) -> None:
        super().__init__(people, feature, attention=True)
        lengths = [len(rows) for rows in embeddings.values()]
        self._first = dict(zip(embeddings, np.cumsum([0, *lengths])[:-1].tolist(), strict=True))
        self.register_buffer("table", torch.from_numpy(np.concatenate(list(embeddings.values()))), persistent=False)

    def vectors(self, windows: list[WeightedWindow], place: Tensor) -> Tensor:
        """Rows of the table."""
        found = [self._first[one.key] + one.number for one in windows]
        return self.table[torch.tensor(found, device=self.table.device)]
