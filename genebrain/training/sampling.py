"""Batches of an epoch: who meets whom, and in which order.

The order of an epoch depends on the seed and the epoch number alone, never on what ran before, so an interrupted
run that resumes at an epoch meets the same batches as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from genebrain.common.types import IntArray, UserError


class EpochBatches(Sampler[list[int]]):
    """Batches of row numbers, reshuffled every epoch from ``(seed, epoch)``.

    Parameters
    ----------
    rows : int array
        Training rows.
    batch_size : int
        Rows of a batch over all ranks; capped at the number of rows (full batch).
    seed : int
    strata : int array, optional
        ``[rows]``. When given, every batch holds subjects of one stratum only, so that site, sex or ancestry
        cannot tell a pair from its negatives (``sampler: within_stratum``). Subjects in strata of one are left
        out and counted in :attr:`n_left_out`.
    person : int array, optional
        ``[rows]``, where a person may have several rows: only other people are negatives.
    rank, world_size : int
        Each rank gets an equal slice of every batch.
    """

    def __init__(
        self,
        rows: IntArray,
        batch_size: int,
        seed: int,
        strata: IntArray | None = None,
        rank: int = 0,
        world_size: int = 1,
        person: IntArray | None = None,
    ) -> None:
        self.rows, self.seed, self.strata = np.asarray(rows), seed, strata
        self.rank, self.world_size, self.epoch = rank, world_size, 0
        self.person = self.rows if person is None else person
        people, repeats = np.unique(self.person, return_counts=True)
        self.batch_size = min(batch_size, len(self.rows))
        if min(self.batch_size, len(people)) < 2 * world_size:
            raise UserError(
                f"a batch of {min(self.batch_size, len(people))} subjects over {world_size} device(s) holds no "
                "negatives; it needs at least 2 per device"
            )
        if self.batch_size < repeats.max() + world_size:
            raise UserError(
                f"trainer.batch_size={self.batch_size}: one person has {repeats.max()} scans, so a batch could hold "
                f"nobody else; over {world_size} device(s) it needs at least {repeats.max() + world_size}"
            )
        pools = [np.unique(self.person[pool]) for pool in self._pools()]
        self.n_left_out = sum(len(pool) for pool in pools if len(pool) < 2 * world_size)
        if self.n_left_out == len(people):
            raise UserError(f"no stratum holds {2 * world_size} training subjects; use sampler: random")

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; called by the trainer at the start of every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, so that the epoch counts that is set when the first batch is drawn: Lightning makes the
        # iterator of a resumed run before it tells the epoch.
        yield from self._batches(np.random.default_rng([self.seed, self.epoch]))

    def __len__(self) -> int:
        return len(self._batches(np.random.default_rng([self.seed, 0])))

    def _batches(self, rng: np.random.Generator) -> list[list[int]]:
        batches = []
        for places in self._pools():
            # Drawn for pools that are left out, too: the order must not depend on the number of devices.
            pool = rng.permutation(self.rows[places])
            if len(np.unique(self.person[places])) < 2 * self.world_size:
                continue
            n_batches = max(1, len(pool) // self.batch_size)
            for part in np.array_split(pool, n_batches) if self.strata is not None else _equal(pool, n_batches):
                size = len(part) // self.world_size
                batches.append(part[self.rank * size : (self.rank + 1) * size].tolist())
        order = rng.permutation(len(batches))
        return [batches[i] for i in order]

    def _pools(self) -> list[IntArray]:
        """Places in the rows whose subjects may meet."""
        if self.strata is None:
            return [np.arange(len(self.rows))]
        return [np.flatnonzero(self.strata == s) for s in np.unique(self.strata)]


def _equal(pool: IntArray, n_batches: int) -> list[IntArray]:
    """Equal batches; the few subjects that do not fill one meet the model in another epoch."""
    size = len(pool) // n_batches
    return [pool[i * size : (i + 1) * size] for i in range(n_batches)]
