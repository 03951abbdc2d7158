"""Brain vectors as features: as they are, standardised, or their leading components, by the training people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.sides.embedding_feature import EmbeddingFeature


class VectorFeature:
    """Vectors as they are, or standardised; refuses another number of columns.

    Parameters
    ----------
    inner : EmbeddingFeature, optional
        What is made of them; None leaves them as they are.
    columns : int array, optional
        Which of the columns; None: all.
    """

    def __init__(self, inner: EmbeddingFeature | None = None, columns: IntArray | None = None) -> None:
        self.inner, self.columns = inner, columns
        self.width = 0

    def fit(self, values: FloatArray) -> Self:
        """Learn from training people, ``[people, columns]``."""
        self.width = values.shape[1]
        if self.inner is not None:
            self.inner.fit(values)
        elif not np.ptp(values, axis=0).any():
            raise UserError("the brain vectors of all training people are the same: they tell nobody apart")
        return self

    def transform(self, values: FloatArray) -> NDArray[np.float32]:
        """Features of anybody, float32 ``[people, features]``."""
        if values.shape[1] != self.width:
            raise UserError(
                f"brain vectors of {values.shape[1]:,} columns were given, and the model was fitted on {self.width:,}"
            )
        values = values if self.columns is None else values[:, self.columns]
        return np.ascontiguousarray(values, np.float32) if self.inner is None else self.inner.transform(values)

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that was learned, as plain arrays for a checkpoint."""
        own = {"width": np.array([self.width])} | ({} if self.columns is None else {"columns": self.columns})
        return own | ({} if self.inner is None else self.inner.state())

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        feature = cls(EmbeddingFeature.from_state(state) if "mean" in state else None, state.get("columns"))
        feature.width = int(state["width"][0])
        return feature


def vector_features(components: Sequence[int | str], width: int, *, scaled: bool) -> dict[str, VectorFeature]:
    """Unfitted candidates by name for vectors of ``width`` columns; ``all`` keeps every column."""
    made = {}
    for wanted in components:
        n = None if wanted == "all" or int(wanted) >= width else int(wanted)
        if n is not None:
            made[f"vectors-{n}"] = VectorFeature(EmbeddingFeature(n))
        elif scaled:
            made["vectors-scaled"] = VectorFeature(EmbeddingFeature())
        else:
            made["vectors"] = VectorFeature()
    return made
