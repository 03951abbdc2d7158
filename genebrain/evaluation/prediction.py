"""Scores of predicted values of held-out people, with interval and permutation p.

Values and predictions of test people and their families in; balanced accuracy for classes, Pearson's r for numbers,
with bootstrap intervals over whole families and a permutation p that deals values to other families. The model is not
refitted, so the p tests these predictions, not the way they were made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import FloatArray, IntArray, Metrics
from genebrain.evaluation.intervals import FamilyBootstrap, interval
from genebrain.evaluation.nulls import deal, p_value


@dataclass(frozen=True)
class Judge:
    """Scores predictions of the same people, so that competitors can be compared on the same draws.

    Parameters
    ----------
    truth
        ``[people]``: numbers, or class codes from 0.
    families
        int ``[people]``.
    n_classes : int, optional
        None: numbers.
    n_bootstrap, n_permutations, seed : int
    """

    truth: FloatArray | IntArray
    families: IntArray
    n_classes: int | None = None
    n_bootstrap: int = 1000
    n_permutations: int = 1000
    seed: int = 0

    @property
    def name(self) -> str:
        """What the score is."""
        return "pearson_r" if self.n_classes is None else "balanced_accuracy"

    @property
    def chance(self) -> float:
        """Score of predictions that know nothing."""
        return 0.0 if self.n_classes is None else 1 / self.n_classes

    def score(self, predicted: FloatArray | IntArray) -> Metrics:
        """Value, interval, chance and p of predictions ``[people]``."""
        value, draws = self.draws(predicted)
        result: Metrics = {"value": value, "ci": interval(draws[np.isfinite(draws)]), "chance": self.chance}
        result["p"] = p_value(value, self._null(predicted))
        if self.n_classes is None:
            error = np.asarray(predicted, np.float64) - self.truth
            result["mean_absolute_error"] = float(np.abs(error).mean())
            result["r2"] = float(1 - (error**2).mean() / max(float(np.var(self.truth)), 1e-300))
        return result

    def difference(self, predicted: FloatArray | IntArray, other: FloatArray | IntArray) -> Metrics:
        """Score of one prediction less that of another, with its interval."""
        (a, draws_a), (b, draws_b) = self.draws(predicted), self.draws(other)
        draws = draws_a - draws_b
        return {"value": a - b, "ci": interval(draws[np.isfinite(draws)])}

    def draws(self, predicted: FloatArray | IntArray) -> tuple[float, NDArray[np.float64]]:
        """The score and its bootstrap draws ``[n_bootstrap]`` (NaN where a draw holds a single value)."""
        bootstrap = FamilyBootstrap(self.families, self.n_bootstrap, self.seed)
        mean, resampled = bootstrap.means(bootstrap.sums(self._columns(self.truth, predicted)))
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self._combine(mean[None])[0]), self._combine(resampled)

    def _null(self, predicted: FloatArray | IntArray) -> NDArray[np.float64]:
        rng = np.random.default_rng(self.seed)
        dealt = deal(np.asarray(self.families), np.zeros(len(self.truth), np.int64), self.n_permutations, rng)
        means = np.stack([self._columns(self.truth[one], predicted).mean(axis=1) for one in dealt])
        return self._combine(means)

    def _columns(self, truth: FloatArray | IntArray, predicted: FloatArray | IntArray) -> NDArray[np.float64]:
        """Per-person numbers ``[statistics, people]`` whose means make the score."""
        if self.n_classes is None:
            # Centred on fixed numbers: sums of squares of large values would lose their differences.
            x, y = np.asarray(truth, np.float64) - self.truth.mean(), predicted - np.mean(predicted)
            return np.stack([x, y, x * x, y * y, x * y])
        here = np.asarray(truth)[None] == np.arange(self.n_classes)[:, None]
        return np.concatenate([here, here & (np.asarray(predicted) == np.asarray(truth))]).astype(np.float64)

    def _combine(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score of means ``[draws, statistics]``."""
        if self.n_classes is None:
            x, y, xx, yy, xy = means.T
            spread = np.sqrt(np.clip(xx - x * x, 0, None) * np.clip(yy - y * y, 0, None))
            return np.asarray(np.where(spread > 0, (xy - x * y) / np.where(spread > 0, spread, 1), 0.0))
        count, hit = means[:, : self.n_classes], means[:, self.n_classes :]
        rate = np.divide(hit, count, out=np.zeros_like(hit), where=count > 0)
        return np.asarray(rate.sum(axis=1) / np.maximum((count > 0).sum(axis=1), 1))
