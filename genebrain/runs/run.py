"""A finished run as an object: its metrics, model, people, vectors and nearest neighbours.

Everything is read when it is first asked for. The features of people are those that the run was fitted on, so its
cohort and store must still be there; metrics and the model need the run folder alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from genebrain import stored_settings
from genebrain.alignment.model import AlignmentModel
from genebrain.cohort.participants import Cohort
from genebrain.cohort.splits.splits import PARTS, Split, load_split
from genebrain.cohort.tables.names import match_names
from genebrain.common.run_folder import read_json
from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.common.vectors import VectorInput, table_of
from genebrain.evaluation.ranks import rank_counts
from genebrain.evaluation.result_files import result_path
from genebrain.runs.fit import Experiment, load_fit
from genebrain.runs.places import found_places
from genebrain.runs.recipe import FittedAlignment
from genebrain.sides.people import Subjects
from genebrain.sides.vectors.cohorts import open_cohort
from genebrain.sides.workspace import Workspace

SPLITS = (*PARTS, "left_out", "all")


@dataclass(frozen=True)
class PeopleVectors:
    """Score vectors of some people, row by row.

    Attributes
    ----------
    ids : list of str
        ``participant_id``.
    genome, brain : float32 arrays
        ``[people, columns]``; the dot product of a row of each is the score of that pair.
    """

    ids: list[str]
    genome: FloatArray
    brain: FloatArray

    @property
    def scores(self) -> pd.DataFrame:
        """Scores of all pairs, genomes in rows, scans in columns."""
        return pd.DataFrame(self.genome @ self.brain.T, index=self.ids, columns=self.ids)


class Run:
    """A finished fit.

    Parameters
    ----------
    path : path
        The run folder.
    cohort, store : path, optional
        Where the cohort and its store lie now, if not where they were.
    progress : bool
        Show bars while features are read.

    Raises
    ------
    UserError
        The folder is not a finished run.
    """

    def __init__(
        self, path: Path | str, *, cohort: Path | str | None = None, store: Path | str | None = None,
        progress: bool = False,
    ) -> None:  # fmt: skip
        self.path = Path(path)
        stored = stored_settings.load(self.path / "config.yaml")
        if not (self.path / "provenance.json").exists():
            raise UserError(f"the fit in {self.path} is not finished: call 'genebrain fit' with this run folder again")
        self.experiment: Experiment = stored["experiment"]
        self.moved = cohort is not None or store is not None
        self.progress = progress
        self._stored, self._named = stored, (None if cohort is None else Path(cohort), store)

    def __repr__(self) -> str:
        return f"Run('{self.path}')"

    @cached_property
    def metrics(self) -> Metrics:
        """What ``evaluate`` wrote about the test people."""
        place = result_path(self.path, "metrics.json", "test")
        if not place.exists():
            raise UserError(f"{self.path} is not judged yet: call 'genebrain evaluate run={self.path}' first")
        return dict(read_json(place))

    @cached_property
    def model(self) -> AlignmentModel:
        """Closed form and towers. Where an encoder was trained, the cohort is needed too."""
        if not self.experiment.tuned_sides and not self.experiment.pooling.trainable:
            return AlignmentModel.load(self.path / "checkpoints")
        return self.fitted.model

    @cached_property
    def workspace(self) -> Workspace:
        """The cohort with what was computed from it."""
        path, store = found_places(self.path, self._stored, *self._named)
        cohort = open_cohort(path, self.experiment.genetics, self.experiment.brain)
        return Workspace(cohort, store, progress=self.progress)

    @property
    def cohort(self) -> Cohort:
        """People of the run: those with a genome and a usable scan."""
        self._loaded  # noqa: B018 - people without a usable scan are left out while features are read
        return self.workspace.cohort

    @property
    def fitted(self) -> FittedAlignment:
        """The model with its history."""
        return self._loaded[0]

    @property
    def subjects(self) -> Subjects:
        """Features of everybody, as the model takes them."""
        return self._loaded[1]

    @property
    def split(self) -> Split:
        """Row numbers of the people of each part."""
        return self._loaded[2]

    @cached_property
    def _loaded(self) -> tuple[FittedAlignment, Subjects, Split]:
        if self.moved:  # the store may be new: what is missing is computed
            self.workspace.ingest(self.experiment.brain)
            split = load_split(self.path / "split.json", self.workspace.cohort)
            self.workspace.embed(self.experiment.genetics, training=split.training)
        return load_fit(self.path, self.experiment, self.workspace)

    def rows(self, split: str = "test") -> IntArray:
        """Row numbers of a part: train, validation, test, left_out or all."""
        if split not in SPLITS:
            raise UserError(f"split={split}: use one of {', '.join(SPLITS)}")
        return np.arange(len(self.cohort)) if split == "all" else np.asarray(getattr(self.split, split), np.int64)

    def ids(self, split: str = "test") -> list[str]:
        """``participant_id`` of the people of a part."""
        return [str(one) for one in self.cohort.table["participant_id"].iloc[self.rows(split)]]

    def vectors(self, split: str = "test") -> PeopleVectors:
        """Score vectors of the people of a part."""
        return PeopleVectors(self.ids(split), *self.fitted.vectors(self.subjects, self.rows(split)))

    def embed_genomes(self, vectors: VectorInput, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Score vectors of new people, of a run that was fitted on vectors (``genetics=vectors``); ids as index.

        Nothing is fitted: each row comes out the same whoever is beside it. People of a cohort with genotypes and scans
        are judged by ``evaluate(run, cohort=..., out=...)``.
        """
        from genebrain.runs.embed_vectors import genome_vectors

        return genome_vectors(self.path, self.experiment, self.model, table_of(vectors, ids, "genome vectors"))

    def embed_scans(self, vectors: VectorInput, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Score vectors of new people's scans, of a run that was fitted on vectors (``brain=vectors``); ids as index.

        The dot product with a row of :meth:`embed_genomes` is the score of the pair.
        """
        from genebrain.runs.embed_vectors import scan_vectors

        return scan_vectors(self.path, self.experiment, self.model, table_of(vectors, ids, "brain vectors"))

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per test person: score of the own scan, and its rank among all test people in both directions.

        A rank of 1 is the best; ties count half. People of one genome (twins) are never one another's rivals.
        """
        found = self.vectors("test")
        genome = self.cohort.table["genome"].to_numpy(np.int64)[self.rows("test")]
        table: dict[str, Any] = {
            "participant_id": found.ids,
            "score": (found.genome * found.brain).sum(axis=1),
            "candidates": 0,
        }
        for name, query, gallery in (
            ("gene_to_brain", found.genome, found.brain),
            ("brain_to_gene", found.brain, found.genome),
        ):
            counts = rank_counts(query, gallery, genome)
            table[f"rank_{name}"] = 1 + counts.better + 0.5 * counts.ties
            table["candidates"] = counts.negatives + 1
        return pd.DataFrame(table)

    def search(
        self, *, genome: str | None = None, scan: str | None = None, k: int = 10, split: str = "test"
    ) -> pd.DataFrame:
        """The ``k`` scans that fit a genome best, or the ``k`` genomes that fit a scan best.

        Parameters
        ----------
        genome, scan : str
            ``participant_id`` of the person who is looked for; one of the two. Anybody of the cohort.
        split : str
            Whose scans (or genomes) are looked through.

        Returns
        -------
        DataFrame
            ``rank``, ``participant_id``, ``score`` (under ``score=llr`` the log-likelihood ratio of same against other
            person), ``own``: whether it is the one who was looked for.
        """
        if (genome is None) == (scan is None):
            raise UserError("search: give genome=ID to look for scans, or scan=ID to look for genomes")
        if k < 1:
            raise UserError(f"k={k}: at least 1 is wanted")
        side: Literal["genome", "brain"] = "genome" if genome is not None else "brain"
        wanted = str(genome if genome is not None else scan)
        everybody = self.ids("all")
        row = int(match_names([wanted], everybody).rows[0])
        if row < 0:
            raise UserError(
                f"search: nobody of the {len(everybody)} people of this run is called '{wanted}'; ids are written like "
                f"{', '.join(everybody[:2])}"
            )
        gallery = self.vectors(split)
        query = getattr(PeopleVectors([], *self.fitted.vectors(self.subjects, np.array([row]))), side)[0]
        scores = (gallery.brain if side == "genome" else gallery.genome) @ query
        order = np.argsort(-scores, kind="stable")[:k]
        return pd.DataFrame(
            {
                "rank": np.arange(1, len(order) + 1),
                "participant_id": [gallery.ids[i] for i in order],
                "score": scores[order],
                "own": [gallery.ids[i] == everybody[row] for i in order],
            }
        )


def load_run(path: Path | str, **where: Any) -> Run:
    """Open a finished run; see :class:`Run`.

    Examples
    --------
    >>> import genebrain
    >>> run = genebrain.load_run("runs/first")                     # doctest: +SKIP
    >>> run.metrics["verdict"], run.vectors("test").genome.shape   # doctest: +SKIP
    """
    return Run(path, **where)
