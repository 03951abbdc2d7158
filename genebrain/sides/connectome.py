"""The scans of a cohort as connectome features, one vector per person.

Joins the scan room (ingest, store, connectome) with the people of a cohort. What needs statistics of a population
is fitted on the training subjects that the caller names.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from genebrain.brain.connectome.base import FEATURES, ConnectomeFeature, needed
from genebrain.brain.images.cleaning import Cleaning
from genebrain.common.types import IntArray, UserError
from genebrain.sides.options import Positives, component_list, component_problems, count_problems, positives_problems
from genebrain.sides.pooling import KEPT

if TYPE_CHECKING:
    import pandas as pd

    from genebrain.brain.connectome.features import Moments, ScanSummary
    from genebrain.brain.connectome.side_by_side import SideBySide
    from genebrain.brain.connectome.stored_moments import ManyScans
    from genebrain.brain.store.report import IngestReport
    from genebrain.brain.store.store import ScanStore
    from genebrain.cohort.participants import Cohort

log = logging.getLogger(__name__)

Feature: TypeAlias = "ConnectomeFeature | SideBySide"
"""A connectome feature, or several next to each other."""

DEFAULT_KINDS = ("innovation", "lag0", "without_global", "spectrum", "directed", "coherence", "envelopes")
"""No kind is best for every cohort: coupling, covariance, with the global signal and without, local rhythm, who leads,
and how networks change in time."""

COMPONENTS = (15, 25, 40)


@dataclass(frozen=True)
class ConnectomeSide:
    """Functional connectivity of each person, averaged over the person's scans.

    Parameters
    ----------
    kind : str or sequence of str
        One or several of innovation (tangent space of the innovation covariance of a group autoregression), lag0 (of
        the covariance), without_global (the same without the global signal), spectrum (log spectra of the parcels),
        directed (which component runs ahead of which), coherence (how networks of parcels hold together, and how long),
        envelopes (which networks are active at the same moments), correlation and partial_correlation. Cross-validation
        inside training chooses among several, and adds others where that pays. Kinds of a plugin are entered by
        :func:`~genebrain.brain.connectome.features.register_kind`.
    components : sequence, optional
        Leading components to try, chosen by cross-validation inside training; None: 15, 25, 40, and of a single kind
        all as well. ``all`` keeps every parcel (left out above 128 parcels). The two correlations use all parcels.
    shrinkage : float
        Towards the training mean, in the tangent space.
    min_frames : int
        Shorter scans are left out and counted.
    cleaning : Cleaning
        What is removed from the series; each way of cleaning has its own folder in the store.
    positives : {"people", "scans"}
        Rows of contrastive training: one per person, or one per scan (those of a person: positives of one another).
        Everything else reads people.
    despike : bool, optional
        Interpolate motion spikes that the series show by themselves; None: with several kinds yes, with one no.
    unpaired : bool
        Fit features and components, which need no genomes, on scans of people without a genome too (rows of the
        participants table; never test people, nor who shares a family with somebody who has both). Pays where pairs
        are few and the brain signal is weak.
    """

    kind: str | tuple[str, ...] = DEFAULT_KINDS
    components: tuple[int | str, ...] | None = None
    shrinkage: float = 0.05
    min_frames: int = 40
    cleaning: Cleaning = field(default_factory=Cleaning)
    positives: Positives = "people"
    despike: bool | None = None
    unpaired: bool = False

    def __post_init__(self) -> None:
        if self.components is not None:
            object.__setattr__(self, "components", component_list(self.components))
        kinds = (self.kind,) if isinstance(self.kind, str) else tuple(self.kind)
        object.__setattr__(self, "kind", kinds[0] if len(kinds) == 1 else kinds)
        problems = positives_problems(self.positives) + component_problems(self.sizes)
        problems += count_problems(2, min_frames=self.min_frames)  # one frame does not vary
        if unknown := [kind for kind in self.kinds if kind not in FEATURES]:
            problems.append(f"brain.kind={', '.join(map(str, unknown))}: use some of {', '.join(FEATURES)}")
        if len(set(self.kinds)) < max(1, len(self.kinds)):
            problems.append(f"brain.kind={list(self.kinds)}: name each kind once, at least one")
        if not 0 <= self.shrinkage < 1:
            problems.append(f"brain.shrinkage={self.shrinkage} must lie in [0, 1)")
        if problems:
            raise UserError("; ".join(problems))

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds that are tried."""
        return (self.kind,) if isinstance(self.kind, str) else self.kind

    @property
    def sizes(self) -> tuple[int | str, ...]:
        """Numbers of components that are tried."""
        if self.components is not None:
            return self.components
        return COMPONENTS if len(self.kinds) > 1 else (*COMPONENTS, "all")

    @property
    def despikes(self) -> bool:
        """Whether motion spikes are interpolated."""
        return len(self.kinds) > 1 if self.despike is None else self.despike

    @property
    def needs_scans(self) -> bool:
        """Whether moments alone are not enough."""
        return any(FEATURES[kind].powers_needed or FEATURES[kind].series_needed for kind in self.kinds)

    @property
    def source(self) -> Hashable:
        """Sides of equal source share ingest and inputs."""
        return "connectome", self.min_frames, self.cleaning, self.despikes, self.needs_scans

    @property
    def needs_time_step(self) -> bool:
        """Whether the time between two frames must be known: a band-pass needs it, covariances do not."""
        return self.cleaning.filters

    def ingest(self, cohort: Cohort, store: Path, *, progress: bool = True) -> tuple[dict[str, Any], set[int]]:
        """Bring the scans into the store; returns counts, and the people with a usable scan."""
        report = self._filled(cohort.scans, cohort, store, progress)
        keys = self.scans(cohort, store).keys(cohort.scans)
        usable = {person for person, key in zip(cohort.scans["person"], keys, strict=True) if key is not None}
        return report.summary(), usable

    def _filled(self, table: pd.DataFrame, cohort: Cohort, store: Path, progress: bool) -> IngestReport:
        from genebrain.brain.store.fill import fill_store
        from genebrain.brain.store.read_parcels import ReadingOptions

        options = ReadingOptions(atlas=cohort.atlas, cleaning=self.cleaning, min_frames=self.min_frames)
        return fill_store(table, self.folder(store), options, short="skip", progress=progress)

    def inputs(
        self, cohort: Cohort, store: Path, training: IntArray, *, progress: bool = True
    ) -> Moments | ScanSummary | ManyScans:
        """Lag moments, and where a kind needs them band powers, of every person; ``training`` is not looked at.

        Of very many people they are made when features are asked for, some people at a time.
        """
        from genebrain.brain.connectome.stored_moments import ManyScans

        scans = self.scans(cohort, store)
        keys = person_scans(cohort, scans)
        if 8 * len(keys) * scans.shape[-1] ** 2 > KEPT:
            return ManyScans(scans, keys, _steps(scans), self.despikes, progress)
        return self.summaries(scans, keys, progress=progress)

    def summaries(
        self, scans: ScanStore, keys: list[list[str]] | list[str], *, progress: bool = True
    ) -> Moments | ScanSummary:
        """What the features are made of, for people or single scans named by their keys in the store."""
        from genebrain.brain.connectome.features import moments_from_store, summaries_from_store

        if not self.despikes and not self.needs_scans:
            return moments_from_store(scans, keys, progress=progress)
        found = summaries_from_store(scans, keys, _steps(scans), despike=self.despikes, progress=progress)
        return found if self.needs_scans else found.moments

    def unpaired_inputs(self, cohort: Cohort, store: Path, *, progress: bool = True) -> Moments | ScanSummary:
        """What :meth:`inputs` gives, of the people who have scans and no genome.

        Raises
        ------
        UserError
            There is nobody, or nobody with a usable scan.
        """
        table = cohort.unpaired_scans
        if table.empty:
            raise UserError(
                f"brain.unpaired=true: everybody in the participants table of {cohort.name} who has scans has a genome "
                "too, or a relative who has both: leave it out, or list people who have scans alone"
            )
        self._filled(table, cohort, store, progress)
        scans, keys = self.scans(cohort, store), dict[int, list[str]]()
        for person, key in zip(table["person"], scans.keys(table), strict=True):
            if key is not None:
                keys.setdefault(int(person), []).append(key)
        if not keys:
            raise UserError(f"brain.unpaired=true: none of {len(table)} scans of people without a genome can be used")
        return self.summaries(scans, list(keys.values()), progress=progress)

    def scans(self, cohort: Cohort, store: Path) -> ScanStore:
        """The store of the series."""
        from genebrain.brain.store.store import ScanStore

        return ScanStore(self.folder(store))

    def folder(self, store: Path) -> Path:
        """Where the series of the scans lie."""
        return store / parcels_folder(self.cleaning)

    def features(self, n_parcels: int) -> dict[str, ConnectomeFeature]:
        """Unfitted candidates by name, for scans of ``n_parcels``."""
        found: dict[str, ConnectomeFeature] = {}
        for kind in self.kinds:
            found |= FEATURES[kind].candidates(kind, self.sizes, n_parcels, self.shrinkage)
        return found

    def fit(
        self, summary: Moments | ScanSummary | ManyScans, rows: IntArray, unpaired: Moments | ScanSummary | None = None
    ) -> dict[str, ConnectomeFeature]:
        """Fit every candidate on the given (training) rows; one of several that these scans do not allow is left out.

        ``unpaired`` people are learned from as well.

        Raises
        ------
        UserError
            The scans allow none.
        """
        training = list(some_of(summary, rows))
        if unpaired is not None:
            training = [_below(one, more) for one, more in zip(training, unpaired, strict=True)]
        fitted, refused = {}, {}
        for name, feature in self.features(training[0].shape[-1]).items():
            try:
                fitted[name] = feature.fit(*needed(feature, training))
            except UserError as error:
                refused[name] = str(error)
        if not fitted:
            raise UserError("; ".join(dict.fromkeys(refused.values())))
        for name, why in refused.items():
            log.warning(f"left out: the scan features {name} ({why})")
        return fitted

    def restore(self, name: str, state: dict[str, np.ndarray[Any, Any]]) -> Feature:
        """Take a fitted candidate, or the stack of several, back from a checkpoint."""
        from genebrain.brain.connectome.side_by_side import JOINED, SideBySide

        if JOINED in name:
            return SideBySide.from_state(name, state, FEATURES)
        return FEATURES[name.split("-")[0]].from_state(state)

    def description(self, cohort: Cohort, store: Path) -> dict[str, Any]:
        """What a run records of its brain side."""
        cleaning = self.cleaning.describe() if self.cleaning.active else None
        kind = self.kind if isinstance(self.kind, str) else list(self.kind)
        return {"encoder": "connectome", "kind": kind, "despiked": self.despikes, "cleaning": cleaning}


def some_of(inputs: Any, rows: IntArray) -> tuple[Any, ...]:
    """What was read of the scans of some people."""
    from genebrain.brain.connectome.stored_moments import ManyScans

    return inputs.summary(rows) if isinstance(inputs, ManyScans) else tuple(values[rows] for values in inputs)


def _steps(scans: ScanStore) -> dict[str, float]:
    """Seconds between two frames by scan."""
    return {str(key): float(tr) for key, tr in scans.index["tr"].items()}


def _below(one: Any, other: Any) -> Any:
    """Rows of two sets of people; frames at the ends of runs are padded to as many as the other has."""
    if not isinstance(one, np.ndarray):
        return one.joined(other)
    if one.ndim == 4:  # [people, 2, runs, parcels]
        runs = max(one.shape[2], other.shape[2])
        one, other = (np.pad(x, ((0, 0), (0, 0), (0, runs - x.shape[2]), (0, 0))) for x in (one, other))
    return np.concatenate([one, other])


def parcels_folder(cleaning: Cleaning) -> str:
    """Folder of parcel series in the store of a cohort: one for each way of cleaning, whoever reads it."""
    return f"scans-{cleaning.name}" if cleaning.active else "scans"


def person_scans(cohort: Cohort, store: ScanStore) -> list[list[str]]:
    """Keys of the scans of every person, in the order of the cohort's table.

    Raises
    ------
    UserError
        If a person has no scan in the store.
    """
    keys = store.keys(cohort.scans)
    scans: list[list[str]] = [[] for _ in range(len(cohort))]
    for person, key in zip(cohort.scans["person"], keys, strict=True):
        if key is not None:
            scans[person].append(key)
    if empty := sum(not one for one in scans):
        raise UserError(f"{empty} of {len(cohort)} people have no usable scan in the store")
    return scans
