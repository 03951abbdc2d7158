"""Pairs of genomes and scans as batches: who meets whom in a batch, and in which order.

The order of an epoch depends on the seed and the epoch number alone, never on what ran before, so an interrupted
run that resumes at an epoch meets the same batches as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from genebrain.types import IntArray, UserError

Batch = dict[str, Tensor]


class PairDataset(Dataset[Batch]):
    """Rows of aligned arrays; an item is a whole batch of rows, so nothing is collated one by one."""

    def __init__(self, gene: Tensor, brain: Tensor, genome_id: Tensor, family_id: Tensor) -> None:
        self.tensors = {"gene": gene, "brain": brain, "genome_id": genome_id, "family_id": family_id}
        lengths = {name: len(t) for name, t in self.tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"both sides and their ids must have one row per subject, got {lengths}")

    def __len__(self) -> int:
        return len(self.tensors["gene"])

    def __getitem__(self, rows: list[int]) -> Batch:
        picked = torch.as_tensor(rows)
        return {name: tensor[picked] for name, tensor in self.tensors.items()}


class EpochBatches(Sampler[list[int]]):
    """Batches of row numbers, reshuffled every epoch from ``(seed, epoch)``.

    Parameters
    ----------
    rows : int array
        Training rows.
    batch_size : int
        Global batch size over all ranks; capped at the number of rows (full batch).
    seed : int
    strata : int array, optional
        ``[rows]``. When given, every batch holds subjects of one stratum only, so that site, sex or ancestry
        cannot tell a pair from its negatives (``sampler: within_stratum``). Subjects in strata of one are left
        out and counted in :attr:`n_left_out`.
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
    ) -> None:
        self.rows, self.seed, self.strata = np.asarray(rows), seed, strata
        self.rank, self.world_size, self.epoch = rank, world_size, 0
        self.batch_size = min(batch_size, len(self.rows))
        if self.batch_size < 2 * world_size:
            raise UserError(
                f"a batch of {self.batch_size} subjects over {world_size} device(s) holds no negatives; "
                "it needs at least 2 per device"
            )
        sizes = np.unique(strata, return_counts=True)[1] if strata is not None else np.array([len(self.rows)])
        self.n_left_out = int(sizes[sizes < 2 * world_size].sum())
        if self.n_left_out == len(self.rows):
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
        if self.strata is None:
            pools = [rng.permutation(self.rows)]
        else:
            pools = [rng.permutation(self.rows[self.strata == s]) for s in np.unique(self.strata)]
        batches = []
        for pool in pools:
            if len(pool) < 2 * self.world_size:
                continue
            n_batches = max(1, len(pool) // self.batch_size)
            for part in np.array_split(pool, n_batches) if self.strata is not None else _equal(pool, n_batches):
                size = len(part) // self.world_size
                batches.append(part[self.rank * size : (self.rank + 1) * size].tolist())
        order = rng.permutation(len(batches))
        return [batches[i] for i in order]


def _equal(pool: IntArray, n_batches: int) -> list[IntArray]:
    """Equal batches; the few subjects that do not fill one meet the model in another epoch."""
    size = len(pool) // n_batches
    return [pool[i * size : (i + 1) * size] for i in range(n_batches)]


class PairedDataModule(lightning.LightningDataModule):
    """Training and validation batches of one split.

    Parameters
    ----------
    dataset : PairDataset
        All subjects.
    train, validation : int array
        Row numbers. An empty validation set gives no validation loader.
    batch_size : int
    seed : int
    strata : int array, optional
        One code per subject of the dataset, for ``sampler: within_stratum``.
    """

    def __init__(
        self,
        dataset: PairDataset,
        train: IntArray,
        validation: IntArray,
        *,
        batch_size: int = 1024,
        seed: int = 0,
        strata: IntArray | None = None,
    ) -> None:
        super().__init__()
        self.dataset, self.train_rows, self.validation_rows = dataset, train, validation
        self.batch_size, self.seed, self.strata = batch_size, seed, strata

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches; one rank's share under distributed training."""
        trainer = self.trainer
        sampler = EpochBatches(
            self.train_rows,
            self.batch_size,
            self.seed,
            None if self.strata is None else self.strata[self.train_rows],
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )
        return DataLoader(self.dataset, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """All validation subjects in one batch, on every rank."""
        if len(self.validation_rows) == 0:
            return []
        return DataLoader(self.dataset, sampler=[self.validation_rows.tolist()], batch_size=None)
