"""Batches of sequences for fine-tuning: short ones together, the same order for the same seed and epoch.

Little padding without losing the shuffle, and equal shares for every rank. The batches of an epoch depend on seed
and epoch alone; in training each rank gets an equal slice of every batch; in evaluation every row is met at least
once by some rank, and all ranks take the same number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from genebrain.common.types import IntArray, UserError
from genebrain.genetics.finetuning.settings import TokenSettings
from genebrain.genetics.finetuning.splits import Fold
from genebrain.genetics.finetuning.tokens import TokenRow, collate

Batch = dict[str, Tensor]
SORTED_BATCHES = 32
"""Batches whose rows are sorted by length together."""


class TokenDataset(Dataset[Batch]):
    """Token rows with their targets; an item is a whole batch.

    Parameters
    ----------
    rows : list of int64 [tokens]
    targets : Tensor [rows, ...], optional
    vectors : float32 [rows, width], optional
        Ready vectors of a frozen decoder; tokens are then left out of the batches.
    """

    def __init__(
        self, rows: Sequence[TokenRow], settings: TokenSettings, targets: Tensor | None, vectors: Tensor | None = None
    ) -> None:
        self.rows, self.settings, self.targets, self.vectors = rows, settings, targets, vectors
        self.lengths = np.array([len(row) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, numbers: list[int]) -> Batch:
        picked = torch.as_tensor(numbers)
        batch = {"row": picked}
        if self.targets is not None:
            batch["target"] = self.targets[picked]
        if self.vectors is not None:
            return batch | {"vectors": self.vectors[picked]}
        ids, mask = collate([self.rows[i] for i in numbers], self.settings)
        return batch | {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}


class ShuffledBatches(Sampler[list[int]]):
    """Training batches of one rank, new every epoch; the few rows that fill no batch wait for another epoch."""

    def __init__(
        self, rows: IntArray, lengths: IntArray, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.rows, self.lengths, self.seed = rows, lengths, seed
        self.rank, self.world_size, self.epoch = rank, world_size, 0
        self.batch_size = min(batch_size, len(rows)) // world_size * world_size
        if not self.batch_size:
            raise UserError(
                f"{len(rows)} training rows in batches of {batch_size} do not fill {world_size} devices; use fewer "
                "devices or a larger training.batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; called by the trainer at the start of every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        # A generator: the epoch that counts is the one set when the first batch is drawn.
        rng = np.random.default_rng([self.seed, 2, self.epoch])
        order = rng.permutation(self.rows)[: len(self) * self.batch_size]
        span = self.batch_size * SORTED_BATCHES
        batches: list[IntArray] = []
        for begin in range(0, len(order), span):
            pool = order[begin : begin + span]
            batches += list(pool[np.argsort(self.lengths[pool], kind="stable")].reshape(-1, self.batch_size))
        for i in rng.permutation(len(batches)):
            # Strided, so that no rank gets all the long ones.
            yield batches[i][self.rank :: self.world_size].tolist()


def evaluation_batches(
    rows: IntArray, lengths: IntArray, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[list[int]]:
    """Batches sorted by length, every ``world_size``-th for this rank, the last ones repeated to even the count."""
    order = np.asarray(rows)[np.argsort(lengths[rows], kind="stable")]
    batches = [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
    batches += batches[-1:] * (-len(batches) % world_size)
    return batches[rank::world_size]


class FinetuningData(lightning.LightningDataModule):
    """The batches of one fold.

    Parameters
    ----------
    dataset : TokenDataset
        All rows of the table.
    fold : Fold
    batch_size : int
        Sequences per step over all devices.
    seed : int
    """

    def __init__(self, dataset: TokenDataset, fold: Fold, batch_size: int, seed: int) -> None:
        super().__init__()
        self.dataset, self.fold, self.batch_size, self.seed = dataset, fold, batch_size, seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches; one rank's share under distributed training."""
        sampler = ShuffledBatches(
            self.fold.train, self.dataset.lengths, self.batch_size, self.seed, *self._place()
        )  # fmt: skip
        return DataLoader(self.dataset, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation rows."""
        return self._evaluation(self.fold.validation)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test rows."""
        return self._evaluation(self.fold.test)

    def _evaluation(self, rows: IntArray) -> DataLoader[Batch]:
        rank, world_size = self._place()
        each = max(1, self.batch_size // world_size)
        batches = evaluation_batches(rows, self.dataset.lengths, each, rank, world_size)
        return DataLoader(self.dataset, sampler=batches, batch_size=None)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
