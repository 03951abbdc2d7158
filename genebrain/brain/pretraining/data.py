"""Scans of people as batches of random windows for pretraining.

A person comes once per pass over the training people (but for the few who fill no batch), with one look at one of the
person's scans. What is drawn
depends on the seed, the pass and the person alone: not on the batch, the number of processes or what ran before.
Validation looks are the same in every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from genebrain.brain.windows.random_windows import RandomWindows
from genebrain.common.types import IntArray
from genebrain.training.sampling import EpochBatches

Batch = dict[str, Tensor]
Look = tuple[int, int, list[int]]
"""Kind (0 training, 1 validation), number of the pass, rows of people."""
TRAINING, VALIDATION = 0, 1


class LookDataset(Dataset[Batch]):
    """Looks at people's scans; an item is a whole batch.

    Parameters
    ----------
    windows : RandomWindows
    scans : sequence
        Per person, the keys of the scans that are long enough.
    seed : int
    """

    def __init__(self, windows: RandomWindows, scans: Sequence[Sequence[str]], seed: int) -> None:
        self.windows, self.scans, self.seed = windows, scans, seed

    def __getitem__(self, look: Look) -> Batch:
        kind, number, rows = look
        drawn = []
        for row in rows:
            rng = np.random.default_rng([self.seed, kind, number, row])
            keys = self.scans[row]
            drawn.append(self.windows.draw(keys[int(rng.integers(len(keys)))], rng))
        return {"clips": torch.from_numpy(np.stack(drawn)), "subject": torch.tensor(rows)}


class PassBatches(Sampler[Look]):
    """Batches of several passes over the training people, one pass after the other.

    Parameters
    ----------
    batches : EpochBatches
        Of one pass.
    passes : int
        Per epoch.
    """

    def __init__(self, batches: EpochBatches, passes: int) -> None:
        self.batches, self.passes, self.epoch = batches, passes, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffles; called by the trainer at the start of every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Look]:
        # A generator, as in EpochBatches: the epoch that is set when the first batch is drawn counts.
        for i in range(self.passes):
            number = self.epoch * self.passes + i
            self.batches.set_epoch(number)
            for rows in self.batches:
                yield TRAINING, number, rows

    def __len__(self) -> int:
        return self.passes * len(self.batches)


class LookModule(lightning.LightningDataModule):
    """Training and validation batches.

    Parameters
    ----------
    dataset : LookDataset
    train, validation : int array
        Rows of people.
    batch_size : int
        People per batch over all devices.
    passes, validation_passes : int
        Looks at every person per epoch, and at every validation person.
    workers : int
        Processes that read ahead; 0 is best for parcel series.
    """

    def __init__(
        self,
        dataset: LookDataset,
        train: IntArray,
        validation: IntArray,
        *,
        batch_size: int,
        passes: int = 1,
        validation_passes: int = 1,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.dataset, self.train_rows, self.validation_rows = dataset, train, validation
        self.batch_size, self.passes, self.validation_passes = batch_size, passes, validation_passes
        self.workers = workers

    def sampler(self, rank: int = 0, world_size: int = 1) -> PassBatches:
        """Training batches of one rank."""
        batches = EpochBatches(self.train_rows, self.batch_size, self.dataset.seed, rank=rank, world_size=world_size)
        return PassBatches(batches, self.passes)

    def train_dataloader(self) -> DataLoader[Batch]:
        """One rank's share of the batches."""
        trainer = self.trainer
        sampler = self.sampler(trainer.global_rank, trainer.world_size) if trainer else self.sampler()
        return DataLoader(self.dataset, sampler=sampler, batch_size=None, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """All validation people, on every rank."""
        return self.validation_loader(self.batch_size)

    def validation_loader(self, batch_size: int) -> DataLoader[Batch]:
        """Validation looks in batches of nearly equal size, at most ``batch_size`` people each."""
        parts = np.array_split(self.validation_rows, -(-len(self.validation_rows) // batch_size))
        looks = [(VALIDATION, i, part.tolist()) for i in range(self.validation_passes) for part in parts]
        return DataLoader(self.dataset, sampler=looks, batch_size=None, num_workers=self.workers)
