"""The scans of a cohort as connectome features, one vector per person.

Joins the scan room (ingest, store, connectome) with the people of a cohort. What needs statistics of a population
is fitted on the training subjects that the caller names.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from genebrain.brain.images.cleaning import Cleaning
from genebrain.common.types import IntArray, UserError
from genebrain.sides.options import Positives, component_list, component_problems, count_problems, positives_problems

if TYPE_CHECKING:
    from genebrain.brain.connectome.features import Correlation, InnovationTangent, Moments
    from genebrain.brain.store.store import ScanStore
    from genebrain.cohort.participants import Cohort

Feature: TypeAlias = "InnovationTangent | Correlation"
"""A connectome feature; the other two are kinds of these."""
Kind = Literal["innovation", "lag0", "correlation", "partial_correlation"]

WIDEST = 128  # parcels; "all" components above it would give more features than any cohort can carry


@dataclass(frozen=True)
class ConnectomeSide:
    """Functional connectivity of each person, averaged over the person's scans.

    Parameters
    ----------
    kind : {"innovation", "lag0", "correlation", "partial_correlation"}
        Tangent space of the innovation covariance of a group autoregression, or of the ordinary covariance; Fisher-z
        correlations, plain or partial.
    components : sequence
        Numbers of leading components to try, or all; chosen by cross-validation inside training. ``all`` keeps every
        parcel (left out above 128 parcels). The two correlations use all parcels.
    shrinkage : float
        Towards the training mean, in the tangent space.
    min_frames : int
        Shorter scans are left out and counted.
    cleaning : Cleaning
        What is removed from the series; each way of cleaning has its own folder in the store.
    positives : {"people", "scans"}
        Rows of contrastive training: one per person, or one per scan (those of a person: positives of one another).
        Everything else reads people.
    """

    kind: Kind = "innovation"
    components: tuple[int | str, ...] = (15, 25, 40, "all")
    shrinkage: float = 0.05
    min_frames: int = 40
    cleaning: Cleaning = field(default_factory=Cleaning)
    positives: Positives = "people"

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", component_list(self.components))
        problems = positives_problems(self.positives) + component_problems(self.components)
        problems += count_problems(2, min_frames=self.min_frames)  # one frame does not vary
        if self.kind not in get_args(Kind):
            problems.append(f"brain.kind={self.kind}: use one of {', '.join(get_args(Kind))}")
        if not 0 <= self.shrinkage < 1:
            problems.append(f"brain.shrinkage={self.shrinkage} must lie in [0, 1)")
        if problems:
            raise UserError("; ".join(problems))

    @property
    def source(self) -> Hashable:
        """Sides of equal source share ingest and inputs."""
        return "connectome", self.min_frames, self.cleaning

    @property
    def needs_time_step(self) -> bool:
        """Whether the time between two frames must be known: a band-pass needs it, covariances do not."""
        return self.cleaning.filters

    def ingest(self, cohort: Cohort, store: Path, *, progress: bool = True) -> tuple[dict[str, Any], set[int]]:
        """Bring the scans into the store; returns counts, and the people with a usable scan."""
        from genebrain.brain.store.fill import ingest_scans
        from genebrain.brain.store.store import ScanStore

        report = ingest_scans(
            cohort.scans,
            self.folder(store),
            atlas=cohort.atlas,
            cleaning=self.cleaning,
            min_frames=self.min_frames,
            short="skip",
            progress=progress,
        )
        keys = ScanStore(self.folder(store)).keys(cohort.scans)
        usable = {person for person, key in zip(cohort.scans["person"], keys, strict=True) if key is not None}
        return report.summary(), usable

    def inputs(self, cohort: Cohort, store: Path, training: IntArray, *, progress: bool = True) -> Moments:
        """Lag moments of every person; ``training`` rows are not looked at."""
        from genebrain.brain.store.store import ScanStore

        return stored_moments(cohort, ScanStore(self.folder(store)), progress=progress)

    def folder(self, store: Path) -> Path:
        """Where the series of the scans lie."""
        return store / parcels_folder(self.cleaning)

    def features(self, n_parcels: int) -> dict[str, Feature]:
        """Unfitted candidates by name, for scans of ``n_parcels``."""
        from genebrain.brain.connectome.features import FEATURES, InnovationTangent

        kind = FEATURES[self.kind]
        if not issubclass(kind, InnovationTangent):
            return {self.kind: kind()}
        sizes = tangent_sizes(self.components, n_parcels)
        return {f"{self.kind}-{q}": kind(None if q == n_parcels else q, self.shrinkage) for q in sizes}

    def fit(self, moments: Moments, rows: IntArray) -> dict[str, Feature]:
        """Fit every candidate on the given (training) rows."""
        from genebrain.brain.connectome.features import Moments

        training = Moments(moments.C0[rows], moments.C1[rows], moments.edges[rows], moments.frames[rows])
        return {name: f.fit(*training) for name, f in self.features(moments.C0.shape[-1]).items()}

    def restore(self, name: str, state: dict[str, np.ndarray[Any, Any]]) -> Feature:
        """Take a fitted candidate back from a checkpoint."""
        from genebrain.brain.connectome.features import FEATURES

        restored: Feature = FEATURES[name.split("-")[0]].from_state(state)
        return restored

    def description(self, cohort: Cohort, store: Path) -> dict[str, Any]:
        """What a run records of its brain side."""
        cleaning = self.cleaning.describe() if self.cleaning.active else None
        return {"encoder": "connectome", "kind": self.kind, "cleaning": cleaning}


def parcels_folder(cleaning: Cleaning) -> str:
    """Folder of parcel series in the store of a cohort: one for each way of cleaning, whoever reads it."""
    return f"scans-{cleaning.name}" if cleaning.active else "scans"


def tangent_sizes(components: Sequence[int | str], places: int) -> list[int]:
    """Numbers of components to try in a tangent space of so many parcels (or places of an encoder).

    Raises
    ------
    UserError
        None is left.
    """
    sizes = [places if wanted == "all" else min(int(wanted), places) for wanted in components]
    sizes = [q for q, wanted in zip(sizes, components, strict=True) if wanted != "all" or places <= WIDEST]
    if not sizes:
        raise UserError(
            f"brain.components={list(components)} leaves nothing to try for {places} parcels: "
            f"'all' is only used up to {WIDEST} parcels; add a number such as 40"
        )
    return list(dict.fromkeys(sizes))


def stored_moments(cohort: Cohort, store: ScanStore, *, progress: bool = True) -> Moments:
    """Lag moments of every person of the cohort, in the order of its table, averaged over the person's scans.

    Raises
    ------
    UserError
        If a person has no scan in the store: the cohort must be restricted to people with usable scans first.
    """
    from genebrain.brain.connectome.features import moments_from_store

    return moments_from_store(store, person_scans(cohort, store), progress=progress)


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
    empty = sum(not one for one in scans)
    if empty:
        raise UserError(f"{empty} of {len(cohort)} people have no usable scan in the store")
    return scans
