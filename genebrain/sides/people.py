"""Features of all people of a cohort, and what the two towers read of them.

A tower reads features that were computed once; where a pooling or an encoder is trained with it, it reads rows of
the chunk index, or row numbers of people, and makes the features itself. Nothing here is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from genebrain.alignment.closed_form.column_sets import Blocks
from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.alignment.model import build_towers, untrained_towers
from genebrain.alignment.settings import AlignmentSettings
from genebrain.alignment.towers.standardiser import Standardiser
from genebrain.alignment.towers.towers import PooledChunks
from genebrain.common.types import FloatArray, IntArray
from genebrain.sides.pooling import GenePooling
from genebrain.sides.readings import Readings
from genebrain.sides.single_scans import SingleScans

if TYPE_CHECKING:
    from genebrain.alignment.module import AlignmentModule
    from genebrain.sides.pairs import PairDataset

EncoderMaker = Callable[[ClosedForm, IntArray], nn.Module]
"""From a fitted closed form and the rows of the training people to an encoder that starts at its own base."""


@dataclass(frozen=True)
class Subjects:
    """Features of all people of a cohort, row by row.

    Attributes
    ----------
    blocks : list of float arrays, or GeneBlocks
        Pooled genomes, ``[people, features]`` per window; in several readings, with the sets of columns made of them.
    brain : dict
        Features of the scans by candidate name, ``[people, features]``, fitted on the training people
        (:class:`~genebrain.sides.readings.Readings`).
    genome, family : int arrays
        ``[people]``.
    item_width : int or None
        Length of one chunk's vector where a block is a row of chunks (``pooling.chunk=flatten``).
    strata : int array or None
        ``[people]``, for the sampler ``within_stratum``.
    pooling, table, index
        For a trainable pooling: its names, the table of unique chunks ``[unique, hidden]`` and the chunk index.
    tuned : mapping
        Encoders that are trained with the towers, by side (``gene``, ``brain``); ``gene`` needs ``index``.
    scans : SingleScans or None
        Scans of training people who have several, which training reads instead of the people.
    unpaired : dict
        Features of people without a genome, by candidate, from whom components are learned too.
    race : mapping or None
        Of very many people: what kinds of scan features reached on some of them, and which went on to all
        (:func:`~genebrain.alignment.closed_form.fit.race`).
    """

    blocks: Blocks
    brain: dict[str, FloatArray]
    genome: IntArray
    family: IntArray
    item_width: int | None = None
    strata: IntArray | None = None
    pooling: GenePooling | None = None
    table: FloatArray | None = None
    index: IntArray | None = None
    tuned: Mapping[str, EncoderMaker] = field(default_factory=dict)
    scans: SingleScans | None = None
    unpaired: Mapping[str, FloatArray] = field(default_factory=dict)
    race: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.brain, Readings):  # a stack of candidates is found by its joined name
            object.__setattr__(self, "brain", Readings(self.brain))

    @property
    def candidates(self) -> Readings:
        """Features of the scans by every candidate, made where they were not asked for before."""
        return (self.brain if isinstance(self.brain, Readings) else Readings(self.brain)).complete()

    @property
    def trains_pooling(self) -> bool:
        """Whether the pooling of the genomes has weights."""
        return self.pooling is not None and self.pooling.trainable

    def frozen(self) -> Subjects:
        """The same people with encoders as they are."""
        return replace(self, tuned={})

    def gene_input(self, closed: ClosedForm) -> Tensor:
        """What the gene tower reads: standardised columns, or the chunk index."""
        if (self.trains_pooling or "gene" in self.tuned) and self.index is not None:
            return torch.from_numpy(self.index.astype(np.int64))
        return self.gene_features(closed)

    def brain_input(self, closed: ClosedForm) -> Tensor:
        """What the brain tower reads: features of the chosen candidate, or row numbers."""
        return torch.arange(len(self.genome)) if "brain" in self.tuned else self.brain_features(closed)

    def gene_features(self, closed: ClosedForm) -> Tensor:
        """Standardised columns of the frozen encoder, ``[people, columns]``."""
        return torch.from_numpy(closed.gene_columns(self.blocks).astype(np.float32))

    def brain_features(self, closed: ClosedForm) -> Tensor:
        """Features of the chosen candidate, ``[people, features]``."""
        return torch.from_numpy(self.brain[closed.chosen["brain"]])

    def pairs(self, closed: ClosedForm) -> PairDataset:
        """Rows of training and validation: all people, and behind them single scans, with the genome of the person."""
        from genebrain.sides.pairs import PairDataset

        brain, person = self.brain_input(closed), torch.arange(len(self.genome))
        if self.scans is not None and len(self.scans.person):
            brain = torch.cat([brain, torch.from_numpy(self.scans.brain[closed.chosen["brain"]])])
            person = torch.cat([person, torch.from_numpy(self.scans.person)])
        ids = torch.from_numpy(self.genome), torch.from_numpy(self.family)
        return PairDataset(self.gene_input(closed), brain, *ids, person)

    def training_rows(self, people: IntArray) -> IntArray:
        """Rows of :meth:`pairs` that training reads for these people."""
        return people if self.scans is None else self.scans.rows(people, len(self.genome))

    def start_towers(self, settings: AlignmentSettings, closed: ClosedForm, rows: IntArray) -> AlignmentModule:
        """Towers at their start, with the statistics of the given (training) rows."""
        seen = torch.from_numpy(rows)
        gene = self.gene_input(closed) if self.trains_pooling else self.gene_features(closed)
        return build_towers(
            settings, closed, gene[seen], self.brain_features(closed)[seen], *self._parts(closed, rows)
        )  # fmt: skip

    def empty_towers(self, rows: IntArray) -> Callable[[AlignmentSettings, ClosedForm], AlignmentModule]:
        """Maker of towers whose weights are loaded afterwards."""
        return lambda settings, closed: untrained_towers(settings, closed, *self._parts(closed, rows))

    def _parts(self, closed: ClosedForm, rows: IntArray) -> tuple[nn.Module | None, dict[str, nn.Module]]:
        with torch.random.fork_rng(devices=[]):
            # Towers of one seed start alike, with and without an encoder in training.
            encoders = {side: make(closed, rows) for side, make in self.tuned.items()}
        if not self.trains_pooling:
            return None, encoders
        return encoders.pop("gene", None) or self.pooled_chunks(rows), encoders

    def pooled_chunks(self, rows: IntArray) -> PooledChunks:
        """The trainable pooling over stored embeddings, standardised on ``rows``."""
        if self.pooling is None or self.table is None or self.index is None:
            raise ValueError("a trainable pooling needs the chunk table and the chunk index")
        vectors = torch.from_numpy(self.table)
        table = chunk_standardiser(self.table, self.index, rows)(vectors)
        return PooledChunks(table, self.pooling.levels, self.index.shape[3], self.index.shape[2])


def chunk_standardiser(table: FloatArray, index: IntArray, rows: IntArray) -> Standardiser:
    """Standardiser of chunk vectors, fitted on the chunks that some people have."""
    seen = np.unique(index[rows])
    return Standardiser(table.shape[1]).fit_(torch.from_numpy(table[seen[seen >= 0]]))
