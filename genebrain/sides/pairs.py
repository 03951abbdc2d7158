"""Pairs of genomes and scans as batches of a Lightning data module."""

from __future__ import annotations

import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from genebrain.common.types import IntArray
from genebrain.training.sampling import EpochBatches

Batch = dict[str, Tensor]


class PairDataset(Dataset[Batch]):
    """Rows of aligned arrays; an item is a whole batch of rows, so nothing is collated one by one.

    Parameters
    ----------
    gene, genome_id, family_id : Tensor
        One row per person.
    brain : Tensor
        One row per item.
    person : Tensor, optional
        ``[items]``, row of the person of each item, where a person has several; None: items are people.
    """

    def __init__(
        self, gene: Tensor, brain: Tensor, genome_id: Tensor, family_id: Tensor, person: Tensor | None = None
    ) -> None:
        self.people = {"gene": gene, "genome_id": genome_id, "family_id": family_id}
        self.brain, self.person = brain, torch.arange(len(gene)) if person is None else person
        lengths = {name: len(t) for name, t in self.people.items()}
        if len(set(lengths.values())) != 1 or len(brain) != len(self.person):
            lengths["brain"] = len(brain)
            raise ValueError(f"both sides and their ids must have one row per subject, got {lengths}")

    def __len__(self) -> int:
        return len(self.brain)

    def __getitem__(self, rows: list[int]) -> Batch:
        picked = torch.as_tensor(rows)
        person = self.person[picked]
        return {name: tensor[person] for name, tensor in self.people.items()} | {"brain": self.brain[picked]}


class PairedDataModule(lightning.LightningDataModule):
    """Training and validation batches of one split.

    Parameters
    ----------
    dataset : PairDataset
        All subjects.
    train, validation : int array
        Row numbers (of items). An empty validation set gives no validation loader.
    batch_size : int
    seed : int
    strata : int array, optional
        One code per person of the dataset, for ``sampler: within_stratum``.
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
        person = self.dataset.person.numpy()[self.train_rows]
        sampler = EpochBatches(
            self.train_rows,
            self.batch_size,
            self.seed,
            None if self.strata is None else self.strata[person],
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            person=person,
        )
        return DataLoader(self.dataset, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """All validation subjects in one batch, on every rank."""
        if len(self.validation_rows) == 0:
            return []
        return DataLoader(self.dataset, sampler=[self.validation_rows.tolist()], batch_size=None)
