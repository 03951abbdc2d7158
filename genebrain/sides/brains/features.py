"""Features of the scans of a workspace: fitted on training people, with values for everybody."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.choice import MANY
from genebrain.alignment.closed_form.latents import kind_of
from genebrain.brain.connectome.base import needed
from genebrain.brain.connectome.stored_moments import ManyScans, values_of
from genebrain.brain.encoders.preflight import refuse_other_parcels
from genebrain.brain.store.report import worth_telling
from genebrain.cohort.participants import Cohort
from genebrain.cohort.restrict import restrict
from genebrain.common.types import FloatArray, IntArray
from genebrain.common.words import counted, told
from genebrain.sides.connectome import ConnectomeSide, some_of
from genebrain.sides.estimators.side import EstimatorSide
from genebrain.sides.kept import KeptWork
from genebrain.sides.pooling import KEPT
from genebrain.sides.scans import AnyFeature, BrainSide, EncoderSide
from genebrain.sides.single_scans import SingleScans, single_scans
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.vectors.cohorts import check_sides

log = logging.getLogger(__name__)

SOME = 4000
"""Training people whom features of connectomes are fitted on where there are more than MANY, at most."""


class BrainFeatures(KeptWork):
    """Side of the scans; everything is fitted on training people and computed once."""

    def ingest(self, brain: BrainSide) -> dict[str, Any]:
        """Bring the scans into the store and leave out people without a usable one; returns the counts.

        Comes before everything else: row numbers mean the people that are left.
        """
        check_sides(self.cohort, brain=brain)

        def work() -> dict[str, Any]:
            if isinstance(brain, ConnectomeSide):  # encoders compare them with their weights too
                refuse_other_parcels(self.cohort.scans, self.cohort.parcel_coordinates, self.cohort.atlas)
            with self._filling():
                report, usable = brain.ingest(self.cohort, self.store, progress=self.progress)
            for words in worth_telling(report):
                log.warning(words)
            if lost := len(self.cohort) - len(usable):
                self.keep_people(np.array(sorted(usable), dtype=np.int64), "no usable scan")
                windows = report.get("windows", {}).get("why_without", {})
                why = told(report["quarantine"]["reasons"] | report["short"]["reasons"] | windows)
                log.warning(f"left out: {counted(lost, 'person')} without a usable scan ({why})")
            return {**report, "people_without_usable_scan": lost}

        return self._once(("ingest", brain.source), work)

    def keep_people(self, rows: IntArray, reason: str, cohort: Cohort | None = None) -> None:
        """Go on with these rows of the cohort, the others counted under a reason; what was computed is forgotten."""
        self.cohort = restrict(cohort or self.cohort, rows, reason)
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] == "ingest"}  # type: ignore[index]

    def brain_inputs(self, brain: BrainSide, training: IntArray) -> Any:
        """Numbers of everybody's scans before anything is fitted: a tuple of moments or embeddings, or ``ManyScans``.

        ``training`` people give the statistics of what is scaled by the cohort.
        """
        self.ingest(brain)

        def work() -> Any:
            # A frozen encoder must not run twice on the same scans.
            with nullcontext() if isinstance(brain, ConnectomeSide) else self._filling():
                return brain.inputs(self.cohort, self.store, training, progress=self.progress)

        rows = training.tobytes() if isinstance(brain, EncoderSide) and brain.scaling == "cohort" else b""
        return self._once(("inputs", brain.source, rows), work)

    def embed_scans(self, brain: EncoderSide) -> dict[str, Any]:
        """Run a frozen encoder over all scans that are not stored yet; nothing where it must wait for a split."""
        if brain.scaling == "cohort":
            return {"waits_for": "a split: brain.scaling=cohort takes statistics of training scans"}
        (embeddings,) = self.brain_inputs(brain, np.empty(0, np.int64))
        return {"people": len(embeddings), "hidden_size": embeddings.shape[1], **self.brain_description(brain)}

    def unpaired_inputs(self, brain: BrainSide) -> tuple[Any, ...] | None:
        """As :meth:`brain_inputs`, of the people who have scans and no genome; None where they are not wanted."""
        if not isinstance(brain, ConnectomeSide | VectorBrain) or not brain.unpaired:
            return None

        def work() -> tuple[Any, ...]:
            with self._filling():
                found = brain.unpaired_inputs(self.cohort, self.store, progress=self.progress)
            listed = len(self.cohort.alone)
            log.info(f"scan features are fitted on {len(found[0]):,} of {listed:,} people without a genome too")
            return found

        return self._once(("unpaired", brain.source), work)

    def unpaired_features(self, brain: BrainSide, rows: IntArray) -> dict[str, FloatArray]:
        """Values of the people without a genome, by the features fitted on ``rows`` and them; empty without."""
        inputs = self.unpaired_inputs(brain)
        return {} if inputs is None else values_of(self._fitted(brain, rows), inputs)

    def learners(self, brain: BrainSide, rows: IntArray) -> IntArray:
        """Those of ``rows`` (training people) whom features of connectomes are fitted on.

        All of them; of more than :data:`~genebrain.alignment.closed_form.choice.MANY` some families, drawn by lot.
        """
        if len(rows) <= MANY or not isinstance(brain, ConnectomeSide) or isinstance(brain, EstimatorSide):
            return rows
        return some_families(rows, np.asarray(self.cohort.table["family"]))

    def learners_features(self, brain: BrainSide, rows: IntArray) -> dict[str, FloatArray]:
        """As the values of :meth:`brain_features`, of the :meth:`learners` alone."""
        fitted = self._fitted(brain, rows)
        some = some_of(self.brain_inputs(brain, rows), self.learners(brain, rows))
        return {name: feature.transform(*needed(feature, some)) for name, feature in fitted.items()}

    def go_on(self, brain: BrainSide, rows: IntArray, kinds: Sequence[str]) -> None:
        """Let only these kinds be made of everybody where features are fitted on ``rows``."""
        self._kept["kinds", brain, rows.tobytes()] = tuple(kinds)

    def fitted_features(self, brain: BrainSide, rows: IntArray) -> dict[str, AnyFeature]:
        """Features fitted on ``rows`` (training people), of the kinds that go on."""
        return dict(self._fitted(brain, rows))

    def brain_features(
        self, brain: BrainSide, rows: IntArray, people: IntArray | None = None
    ) -> tuple[dict[str, AnyFeature], dict[str, FloatArray]]:
        """Features fitted on ``rows`` (training people), and their values for everybody.

        Of a large cohort only those of ``people`` where these are named; the values of the others are NaN.
        """
        fitted = self._fitted(brain, rows)

        def work() -> dict[str, FloatArray]:
            inputs = self.brain_inputs(brain, rows)
            values = values_of(fitted, inputs, people)
            parts = () if isinstance(inputs, ManyScans) else inputs
            if sum(getattr(part, "nbytes", 0) for part in parts) > KEPT:  # of a large cohort more than all features
                self._forget("inputs")
            return values

        whose = b"" if people is None else people.tobytes()
        values = self._once(("features", brain, rows.tobytes(), tuple(fitted), whose), work)
        # Copies of the dictionaries: what a caller puts into its own is never found by the next one.
        return dict(fitted), dict(values)

    def _fitted(self, brain: BrainSide, rows: IntArray) -> dict[str, AnyFeature]:
        def work() -> dict[str, AnyFeature]:
            inputs, unpaired = self.brain_inputs(brain, rows), self.unpaired_inputs(brain)
            more = () if unpaired is None else (unpaired,)
            named = {"columns": brain.read(self.cohort).columns} if isinstance(brain, VectorBrain) else {}
            return dict(brain.fit(inputs, self.learners(brain, rows), *more, **named))  # type: ignore[arg-type]

        fitted = self._once(("fitted", brain, rows.tobytes()), work)
        kinds = self._kept.get(("kinds", brain, rows.tobytes()))
        return {name: one for name, one in fitted.items() if kinds is None or kind_of(name) in kinds}

    def single_scans(self, brain: BrainSide, rows: IntArray) -> SingleScans:
        """Scans of those of ``rows`` (training people) who have several, by the features fitted on these people."""
        key, fitted = ("single scans", brain, rows.tobytes()), self._fitted(brain, rows)
        asked = brain, self.cohort, self.store, rows, fitted
        return self._once(key, lambda: single_scans(*asked, progress=self.progress))

    def brain_description(self, brain: BrainSide) -> dict[str, Any]:
        """What a run records of its brain side."""
        return self._once(("description", brain), lambda: brain.description(self.cohort, self.store))


def some_families(rows: IntArray, family: IntArray) -> IntArray:
    """At most :data:`SOME` of ``rows``, whole families drawn by lot; all of them where the families are too large."""
    labels, member, sizes = np.unique(family[rows], return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[np.argsort(sizes[order] > SOME // 10, kind="stable")]  # one large family does not crowd out others
    drawn = order[np.cumsum(sizes[order]) <= SOME]
    return rows[np.isin(member, drawn)] if len(drawn) > 1 else rows
