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

from genebrain.alignment.model import AlignmentModel
from genebrain.cohort.participants import Cohort
from genebrain.cohort.splits.splits import PARTS, Split
from genebrain.common.run_folder import read_json
from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.common.vectors import VectorInput
from genebrain.evaluation.result_files import result_path
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.runs.contents import own_split
from genebrain.runs.fit import Experiment, load_fit
from genebrain.runs.new_people.search import own_ranks, ranked, row_of
from genebrain.runs.places import kept_store, open_stored
from genebrain.sides.people import Subjects
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
        if (self.path / "config.yaml").exists() and not (self.path / "provenance.json").exists():
            raise UserError(f"the fit in {self.path} is not finished: call 'genebrain fit' with this run folder again")
        self.opened = open_stored(self.path)
        self.moved = cohort is not None or store is not None
        self.progress = progress
        self._named = None if cohort is None else Path(cohort), store

    @property
    def experiment(self) -> Experiment:
        """Settings of the fit."""
        return self.opened.experiment

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
        return self.fitted

    @cached_property
    def workspace(self) -> Workspace:
        """The cohort with what was computed from it."""
        return self.opened.workspace(*self._named, progress=self.progress)

    @property
    def cohort(self) -> Cohort:
        """People of the run: those with a genome and a usable scan."""
        self._loaded  # noqa: B018 - people without a usable scan are left out while features are read
        return self.workspace.cohort

    @property
    def fitted(self) -> AlignmentModel:
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
    def _loaded(self) -> tuple[AlignmentModel, Subjects, Split]:
        if self.moved:  # the store may be new: what is missing is computed
            self.workspace.ingest(self.experiment.brain)
            split = own_split(self.path, self.experiment, self.workspace)
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

    def embed_genomes(
        self,
        source: VectorInput | GenotypeSource,
        ids: Sequence[str] | None = None,
        *,
        reference: Path | str | None = None,
    ) -> pd.DataFrame:
        """Score vectors of new people's genomes, ids as index; each is the same whoever is beside.

        Parameters
        ----------
        source : path, array or DataFrame
            A genotype file (``.vcf.gz``, ``.bcf``, ``.pgen``; everybody in it), a ``cohort.yaml`` (its people; windows
            and build are compared with the run's), or vectors where the run was fitted on vectors.
        ids : sequence of str, optional
            Names of the rows of an array; of a genotype file those who are wanted.
        reference : path, optional
            FASTA, for runs of older versions, which kept no letters of theirs.

        Raises
        ------
        UserError
            Another genome build, other windows or columns, unknown ids.
        """
        from genebrain.runs.new_people.given import embedded_genomes

        return embedded_genomes(self, source, ids, None if reference is None else Path(reference))

    def embed_scans(
        self,
        source: VectorInput,
        ids: Sequence[str] | None = None,
        *,
        atlas: Path | str | None = None,
        store: Path | str | None = None,
    ) -> pd.DataFrame:
        """Score vectors of new people's scans, ids as index; the dot product with a genome's vector is the score.

        Parameters
        ----------
        source : path, array or DataFrame
            A scan table, a derivatives folder or a ``cohort.yaml``; vectors where the run was fitted on vectors.
        ids : sequence of str, optional
            Names of the rows of an array of vectors.
        atlas : path, optional
            Label image, where the scans are 4D images (a cohort names its own).
        store : path, optional
            Folder to keep the series in; they are deleted otherwise.

        Raises
        ------
        UserError
            Another atlas, number of parcels or columns, or time step; no usable scan.
        """
        from genebrain.runs.new_people.given import embedded_scans

        places = (None if one is None else Path(one) for one in (atlas, store))
        return embedded_scans(self, source, ids, *places)

    @staticmethod
    def scores(genomes: pd.DataFrame, scans: pd.DataFrame) -> pd.DataFrame:
        """Scores of all pairs of vectors of :meth:`embed_genomes` and :meth:`embed_scans`, genomes in rows."""
        return genomes @ scans.T

    def vectors_of(self, cohort: Path | str, store: Path | str | None = None) -> PeopleVectors:
        """Score vectors of everybody of a second cohort, of which nothing is learned; people it knows are refused."""
        from genebrain.runs.new_people.given import second_cohort

        return PeopleVectors(*second_cohort(self, Path(cohort), store))

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per test person: score of the own scan, and its rank among all test people in both directions.

        A rank of 1 is the best; ties count half. People of one genome (twins) are never one another's rivals.
        """
        found, rows = self.vectors("test"), self.rows("test")
        genome = self.cohort.table["genome"].to_numpy(np.int64)[rows]
        return own_ranks(found.ids, found.genome, found.brain, genome)

    def search(
        self,
        *,
        genome: str | pd.DataFrame | None = None,
        scan: str | pd.DataFrame | None = None,
        gallery: pd.DataFrame | None = None,
        k: int = 10,
        split: str = "test",
    ) -> pd.DataFrame:
        """The ``k`` scans that fit a genome best, or the ``k`` genomes that fit a scan best.

        Parameters
        ----------
        genome, scan : str or DataFrame
            Who is looked for, one of the two: ``participant_id`` of anybody of the cohort, or vectors of new people
            (:meth:`embed_genomes`, :meth:`embed_scans`).
        gallery : DataFrame, optional
            Vectors of the other side that are looked through; by default those of the people of ``split``.
        split : str
            Whose scans (or genomes) are looked through.

        Returns
        -------
        DataFrame
            ``rank``, ``participant_id``, ``score`` (under ``score=llr`` the log-likelihood ratio of same against other
            person: 0 speaks for neither), ``own``: whether it is the one who was looked for, left out where that is
            nobody of the gallery. With vectors of new people ``query`` in front.
        """
        if (genome is None) == (scan is None):
            raise UserError("give genome=ID to look for scans, or scan=ID to look for genomes")
        if k < 1:
            raise UserError(f"k={k}: at least 1 is wanted")
        side: Literal["genome", "brain"] = "genome" if genome is not None else "brain"
        wanted = genome if genome is not None else scan
        called: dict[str, str] | None = None
        if gallery is None:
            found = self.vectors(split)
            gallery = pd.DataFrame(found.brain if side == "genome" else found.genome, index=found.ids)
            if side == "genome":
                called = dict(self.cohort.table[["participant_id", "genotype_id"]].astype(str).itertuples(index=False))
        if isinstance(wanted, pd.DataFrame):
            return ranked(wanted, gallery, k, called)
        row = row_of(str(wanted), self.ids("all"))
        query = getattr(PeopleVectors([], *self.fitted.vectors(self.subjects, np.array([row]))), side)
        return ranked(pd.DataFrame(query, index=self.ids("all")[row : row + 1]), gallery, k).drop(columns="query")

    @property
    def store(self) -> Path | None:
        """Folder of the store, where it still exists."""
        return kept_store(self.path, self.opened.stored, self._named[1])


def load_run(path: Path | str, **where: Any) -> Run:
    """Open a finished run; see :class:`Run`.

    Examples
    --------
    >>> import genebrain
    >>> run = genebrain.load_run("runs/first")                     # doctest: +SKIP
    >>> run.metrics["verdict"], run.vectors("test").genome.shape   # doctest: +SKIP
    """
    return Run(path, **where)
