"""Base of connectome features: common parcels, batches of subjects, report, state.

``fit`` on training subjects, ``transform`` on any, in float64 over batches of bounded memory; ``report`` counts the
parcels dropped and the subjects filled, ``state`` holds plain arrays for a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from genebrain.brain.connectome.missing_parcels import Float64, SharedParcels
from genebrain.brain.connectome.moments import Float32, Moments
from genebrain.common.registry import Registry
from genebrain.common.types import FloatArray, IntArray, UserError

BATCH_ENTRIES = 2**17  # numbers per stacked matrix: 1 MB in float64, which stays near the processor


class ConnectomeFeature:
    """What all features share: the common parcels, batching, and the report of what was dropped or filled.

    Attributes
    ----------
    words : str
        What the feature is, for reports.
    powers_needed : bool
        Whether it is made of band powers: ``fit`` and ``transform`` then get these and the seconds of a person's scans
        behind the four moments.
    series_needed : bool
        Whether it reads the series themselves
        (:class:`~genebrain.brain.connectome.dynamics.series.PeopleSeries`, the last argument).
    learned : tuple of str
        Attributes that ``fit`` sets, all of them arrays: what a checkpoint keeps.
    """

    words: ClassVar[str] = ""
    powers_needed: ClassVar[bool] = False
    series_needed: ClassVar[bool] = False
    learned: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def candidates(
        cls, kind: str, components: Sequence[int | str], n_parcels: int, shrinkage: float
    ) -> dict[str, Self]:
        """Unfitted features to try, by name; one called like its kind unless the class has sizes to choose from."""
        return {kind: cls()}

    def __init__(self) -> None:
        self.shared: SharedParcels | None = None
        self.report: dict[str, int] = {}

    def fit_parcels(self, C0: FloatArray, C1: FloatArray) -> SharedParcels:
        """Learn which parcels the training subjects share."""
        if C0.ndim != 3 or C0.shape != C1.shape or C0.shape[1] != C0.shape[2]:
            raise ValueError(f"C0 and C1 must both be [n, P, P], got {C0.shape} and {C1.shape}")
        return self.use_parcels(SharedParcels.fit(C0, C1), len(C0))

    def use_parcels(self, shared: SharedParcels, n_training: int) -> SharedParcels:
        """Take what was learned of the parcels of so many training subjects."""
        self.shared = shared
        self.report = {
            "training_subjects": n_training,
            "parcels_used": int(shared.used.sum()),
            "parcels_dropped": int((~shared.used).sum()),
        }
        return shared

    def fitted(self, width: int) -> SharedParcels:
        """The shared parcels, once fitted and only for scans of the right width."""
        if self.shared is None:
            raise ValueError(f"{type(self).__name__} must be fitted before transform")
        if width != len(self.shared.used):
            raise UserError(
                f"the features were fitted on {len(self.shared.used)} parcels, these scans have {width}: "
                "use scans made with the same atlas"
            )
        return self.shared

    def batches(
        self, C0: FloatArray, C1: FloatArray, edges: FloatArray | None, basis: Float64 | None = None
    ) -> Iterator[tuple[slice, Float64, Float64, Float64 | None]]:
        """Rows, C0, C1, edges of one batch after another, on the shared parcels and the ``basis``."""
        shared = self.fitted(C0.shape[-1])
        step = max(1, BATCH_ENTRIES // C0.shape[-1] ** 2)
        filled = 0
        for start in range(0, len(C0), step):
            rows = slice(start, min(start + step, len(C0)))
            c0, c1, e, gaps = shared.apply(C0[rows], C1[rows], None if edges is None else edges[rows])
            filled += gaps
            if basis is not None:
                c0, c1 = basis.T @ c0 @ basis, basis.T @ c1 @ basis
                e = None if e is None else e @ basis
            yield rows, c0, c1, e
        self.report["subjects_filled"] = filled

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that was learned, as plain arrays for a checkpoint."""
        if self.shared is None:
            raise ValueError(f"{type(self).__name__} has nothing to save before fit")
        own = {name: getattr(self, name) for name in self.learned}
        found = {"used": self.shared.used.astype(np.uint8), "mean_C0": self.shared.C0, "mean_C1": self.shared.C1, **own}
        # Tensor files keep the order of the memory: a transposed view would come back as another matrix.
        return {name: np.ascontiguousarray(values) for name, values in found.items()}

    def fit(
        self, C0: FloatArray, C1: FloatArray, edges: FloatArray | None = None, frames: IntArray | None = None
    ) -> Self:
        """Learn from TRAINING people: :class:`~genebrain.brain.connectome.moments.Moments`, unpacked."""
        raise NotImplementedError

    def transform(
        self, C0: FloatArray, C1: FloatArray, edges: FloatArray | None = None, frames: IntArray | None = None
    ) -> Float32:
        """Features of any people, float32 ``[people, columns]``."""
        raise NotImplementedError

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        return cls().restore(state)

    def restore(self, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Take the arrays of :meth:`state` back."""
        used = np.asarray(state["used"]).astype(bool)
        self.shared = SharedParcels(used, np.asarray(state["mean_C0"]), np.asarray(state["mean_C1"]))
        for name in self.learned:
            setattr(self, name, np.asarray(state[name]))
        return self


class BeyondMoments(ConnectomeFeature):
    """Base of features made of what stands behind the moments: band powers and seconds, or the series.

    A subclass has :meth:`learn` and :meth:`features`, which get that alone.
    """

    def fit(self, C0: FloatArray, C1: FloatArray, *more: Any) -> Self:
        """Learn from TRAINING people: shared parcels from the moments, the rest from what follows them."""
        self.fit_parcels(C0, C1)
        self.learn(*more[2:])
        return self

    def transform(self, C0: FloatArray, C1: FloatArray, *more: Any) -> Float32:
        """Features of any people, float32 ``[people, columns]``."""
        self.fitted(C0.shape[-1])
        return self.features(*more[2:])

    def learn(self, *more: Any) -> None:
        """Learn from TRAINING people; :attr:`shared` is known."""
        raise NotImplementedError

    def features(self, *more: Any) -> Float32:
        """Features of any people."""
        raise NotImplementedError


def needed(feature: Any, summary: Iterable[Any]) -> tuple[Any, ...]:
    """What of a summary of scans a feature is given: the four moments, and the rest where it asks for it."""
    values = tuple(summary)
    if not hasattr(feature, "powers_needed"):
        return values
    moments, series = len(Moments._fields), values[-1:] if feature.series_needed else ()
    return values[:moments] + (values[moments : moments + 2] if feature.powers_needed else ()) + series


KINDS = (
    "innovation", "lag0", "without_global", "spectrum", "directed", "coherence", "envelopes",
    "correlation", "partial_correlation",
)  # fmt: skip
_HOME = "genebrain.brain.connectome.features"
FEATURES: Registry[type[ConnectomeFeature]] = Registry(
    "kind of scan features",
    dict.fromkeys(KINDS, _HOME),
)
"""All kinds of features by the name that configurations and checkpoints use; see
:func:`~genebrain.brain.connectome.features.register_kind`."""
