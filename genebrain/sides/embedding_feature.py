"""Standardised principal components of embeddings, fitted on training people.

``fit`` on training rows ``[people, hidden]``, ``transform`` any, ``state`` for a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.connectome.tangent import tangent_sizes
from genebrain.brain.connectome.token_connectivity import TokenTangent, places_of
from genebrain.common.types import FloatArray, UserError

ALIVE = 1e-6
"""A column that varies less than this, relative to its size, is constant up to rounding and becomes zero."""


class EmbeddingFeature:
    """Standardised embeddings, or whitened leading components of them.

    Parameters
    ----------
    n_components : int, optional
        None keeps all columns as they are.
    """

    def __init__(self, n_components: int | None = None) -> None:
        self.n_components = n_components
        self.mean: FloatArray | None = None
        self.axes: FloatArray | None = None
        self.factor: FloatArray | None = None

    def fit(self, embeddings: FloatArray) -> Self:
        """Learn mean, spread and axes of training people, ``[people, hidden]``.

        Raises
        ------
        UserError
            Nothing varies between people.
        """
        rows = np.asarray(embeddings, np.float64)
        self.mean = rows.mean(axis=0)
        spread = rows.std(axis=0)
        alive = spread > ALIVE * np.maximum(np.abs(rows).max(axis=0), 1e-30)
        if not alive.any():
            raise UserError("the embeddings of all training people are the same: the encoder tells nobody apart")
        self.factor = np.where(alive, 1 / np.where(alive, spread, 1), 0)
        if self.n_components is not None:
            _, size, axes = np.linalg.svd((rows - self.mean) * self.factor, full_matrices=False)
            size = size[: self.n_components] / np.sqrt(len(rows))
            kept = size > ALIVE * size[0]
            self.axes = axes[: self.n_components][kept].T / size[kept]
        return self

    def transform(self, embeddings: FloatArray) -> NDArray[np.float32]:
        """Features of anybody, float32 ``[people, features]``."""
        if self.mean is None or self.factor is None:
            raise ValueError("fit the feature before transform")
        x = (np.asarray(embeddings, np.float64) - self.mean) * self.factor
        return np.asarray(x if self.axes is None else x @ self.axes, np.float32)

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that was learned, as plain arrays for a checkpoint."""
        if self.mean is None or self.factor is None:
            raise ValueError("nothing to save before fit")
        arrays = {"mean": np.asarray(self.mean), "factor": np.asarray(self.factor)}
        return arrays if self.axes is None else arrays | {"axes": np.ascontiguousarray(self.axes)}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        axes = state.get("axes")
        feature = cls(None if axes is None else axes.shape[1])
        feature.mean, feature.factor, feature.axes = np.asarray(state["mean"]), np.asarray(state["factor"]), axes
        return feature


WindowFeature = EmbeddingFeature | TokenTangent
"""What is made of the averaged vectors of a person's windows."""


def window_features(components: Sequence[int | str], width: int, *, tangent: bool) -> dict[str, WindowFeature]:
    """Unfitted candidates by name for vectors of ``width`` columns; ``all`` keeps every column.

    With ``tangent`` the vectors are upper triangles of covariances, and components are those of their places.
    """
    if tangent:
        places = places_of(width)
        sizes = tangent_sizes(components, places)
        return {f"connectivity-{q}": TokenTangent(None if q == places else q) for q in sizes}
    made: dict[str, WindowFeature] = {}
    for wanted in components:
        n = None if wanted == "all" or int(wanted) >= width else int(wanted)
        made["embedding" if n is None else f"embedding-{n}"] = EmbeddingFeature(n)
    return made


def restored_feature(name: str, state: dict[str, np.ndarray[Any, Any]]) -> WindowFeature:
    """A fitted candidate out of a checkpoint."""
    kind = TokenTangent if name.startswith("connectivity") else EmbeddingFeature
    return kind.from_state(state)
