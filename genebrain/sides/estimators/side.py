"""The scans of a cohort through an estimator that is fitted on training scans."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.images.cleaning import Cleaning
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.sides.connectome import ConnectomeSide, person_scans
from genebrain.sides.estimators.registry import SCAN_ESTIMATORS
from genebrain.sides.options import Positives

if TYPE_CHECKING:
    from genebrain.brain.store.store import ScanStore
    from genebrain.cohort.participants import Cohort

UNUSED = ("kind", "components", "shrinkage", "despike")


@dataclass(frozen=True)
class EstimatorSide(ConnectomeSide):
    """Features of an estimator with ``fit`` and ``transform``, averaged over the scans of a person by their frames.

    Parameters
    ----------
    estimator : str
        nilearn_tangent, nilearn_correlation, nilearn_partial_correlation, nilearn_covariance, or one of a plugin
        (:data:`~genebrain.sides.estimators.registry.SCAN_ESTIMATORS`).
    min_frames : int
        Shorter scans are left out and counted.
    cleaning : Cleaning
        What is removed from the series before.
    kind, components, shrinkage, despike, positives
        Of the connectome side; not used here.
    """

    # Named again, so that the types of inherited options can be read in this module.
    cleaning: Cleaning = field(default_factory=Cleaning)
    positives: Positives = "people"
    estimator: str = "nilearn_tangent"

    def __post_init__(self) -> None:
        if self.estimator not in SCAN_ESTIMATORS:
            raise UserError(f"brain.estimator={self.estimator}: {SCAN_ESTIMATORS.unknown(self.estimator)}")
        super().__post_init__()  # YAML gives lists
        usual = {one.name: one.default for one in fields(ConnectomeSide)}
        changed = [name for name in UNUSED if getattr(self, name) != usual[name]]
        if self.positives != "people":
            changed.append("positives")
        if changed:
            words = ", ".join(f"brain.{name}" for name in changed)
            raise UserError(f"brain.estimator={self.estimator}: {words} belong to brain=connectome; leave them out")

    @property
    def source(self) -> Hashable:
        """Sides of equal source share ingest and inputs."""
        return "series", self.min_frames, self.cleaning

    def inputs(  # type: ignore[override]
        self, cohort: Cohort, store: Path, training: IntArray, *, progress: bool = True
    ) -> tuple[PeopleSeries]:
        """The series of everybody's scans, read when they are asked for; ``training`` is not looked at."""
        scans = self.scans(cohort, store)
        return (PeopleSeries(scans, person_scans(cohort, scans)),)

    def fit(self, inputs: tuple[PeopleSeries], rows: IntArray) -> dict[str, EstimatorFeature]:  # type: ignore[override]
        """Fit the estimator on every scan of the given (training) rows."""
        return {self.estimator: EstimatorFeature(self.estimator).fit(inputs[0].of(rows))}

    def restore(self, name: str, state: dict[str, np.ndarray[Any, Any]]) -> EstimatorFeature:  # type: ignore[override]
        """Take the fitted estimator back from a checkpoint."""
        return EstimatorFeature.from_state(self.estimator, state)

    def description(self, cohort: Cohort, store: Path) -> dict[str, Any]:
        """What a run records of its brain side."""
        cleaning = self.cleaning.describe() if self.cleaning.active else None
        return {"encoder": "estimator", "kind": self.estimator, "cleaning": cleaning}


@dataclass(frozen=True)
class PeopleSeries:
    """Series of the scans of some people.

    Attributes
    ----------
    store : ScanStore
    keys : list of list of str
        Scans of every person.
    """

    store: ScanStore
    keys: list[list[str]] = field(default_factory=list)

    def of(self, rows: IntArray) -> PeopleSeries:
        """Some of the people."""
        return PeopleSeries(self.store, [self.keys[row] for row in rows])

    def scans(self) -> list[NDArray[np.float64]]:
        """All series ``[frames, parcels]``, person by person."""
        return [self.store.read(key).astype(np.float64) for keys in self.keys for key in keys]

    @property
    def shape(self) -> tuple[int]:
        """Number of people."""
        return (len(self.keys),)


class EstimatorFeature:
    """An estimator of the registry, fitted or not, as a feature of scans."""

    def __init__(self, name: str) -> None:
        self.name, self.estimator, self.fitted_on = name, SCAN_ESTIMATORS[name](), (0, 0)

    def fit(self, series: PeopleSeries) -> Self:
        """Learn from training people, and make sure that what is learned can be kept.

        Raises
        ------
        UserError
            The estimator fails, gives no finite table, or learns what cannot be kept as numbers.
        """
        scans = series.scans()
        try:
            self.estimator.fit(scans)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise UserError(f"brain.estimator={self.name} cannot be fitted on {len(scans)} scans: {error}") from error
        self.fitted_on, few = (len(scans), scans[0].shape[1]), scans[:3]
        again = EstimatorFeature.from_state(self.name, self.state())
        if not np.allclose(self._table(few), again._table(few), rtol=1e-6, atol=1e-9):
            raise UserError(
                f"brain.estimator={self.name} gives other numbers after it was saved: it keeps what it has learned "
                "elsewhere than in attributes that end with an underscore"
            )
        return self

    def transform(self, series: PeopleSeries) -> NDArray[np.float32]:
        """Features of anybody, float32 ``[people, columns]``."""
        people = [self._of_person(series, keys) for keys in series.keys]
        return np.stack(people).astype(np.float32)

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that was learned, as plain arrays for a checkpoint."""
        from genebrain.sides.estimators.state import learned

        return learned(self.estimator, self.name, self.fitted_on)

    @classmethod
    def from_state(cls, name: str, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        from genebrain.sides.estimators.state import taught

        feature = cls(name)
        feature.fitted_on = int(state["shape"][0]), int(state["shape"][1])
        taught(feature.estimator, state, name)
        return feature

    def _of_person(self, series: PeopleSeries, keys: list[str]) -> FloatArray:
        scans = [series.store.read(key).astype(np.float64) for key in keys]
        return np.average(self._table(scans), axis=0, weights=[len(scan) for scan in scans])

    def _table(self, scans: list[NDArray[np.float64]]) -> FloatArray:
        twice = scans * 2 if len(scans) == 1 else scans  # nilearn's tangent space takes no scan alone
        try:
            found = np.asarray(self.estimator.transform(twice), np.float64)[: len(scans)]
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"brain.estimator={self.name} cannot read a scan: {error}") from error
        if len(found) != len(scans) or not np.isfinite(found).all():
            raise UserError(
                f"brain.estimator={self.name} gave {list(found.shape)} of {len(scans)} scans, "
                f"{int((~np.isfinite(found)).sum())} numbers not finite: a row of numbers per scan is wanted"
            )
        return found.reshape(len(scans), -1)
