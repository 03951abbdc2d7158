"""AlignmentModule: two towers, one loss. The step reads like the paper's pseudo-code."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn

from genebrain.alignment.losses.temperature import LogitScale
from genebrain.alignment.towers.towers import tower_vectors
from genebrain.common.types import FloatArray
from genebrain.evaluation.rank_metrics import expected_recall_at_1
from genebrain.training.adapters import ParameterReport, count_parameters
from genebrain.training.tuned_encoder import tuned_encoders
from genebrain.training.weight_decay import decay_groups

Batch = dict[str, Tensor]


class AlignmentModule(lightning.LightningModule):
    """Two towers with the scale of their score, and their contrastive training.

    Parameters
    ----------
    gene_tower, brain_tower : nn.Module
        Batch of one side in, ``[batch, columns]`` out.
    loss : nn.Module
        Called as ``loss(gene, brain, log_scale, genome_id, family_id)``, e.g.
        :class:`~genebrain.alignment.losses.infonce.InfoNCE`.
    logit_scale : LogitScale
        Learnable multiplier of the score (its logarithm is the parameter).
    learning_rate, weight_decay : float
        AdamW; scales, biases and norms are not decayed.
    encoder_learning_rate : float, optional
        Of encoders in training inside the towers; None: as the rest.
    validation_gallery : int
        Size of the galleries of the validation recall@1 (exact expectation).
    """

    def __init__(
        self,
        gene_tower: nn.Module,
        brain_tower: nn.Module,
        loss: nn.Module,
        logit_scale: LogitScale,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        encoder_learning_rate: float | None = None,
        validation_gallery: int = 32,
    ) -> None:
        super().__init__()
        self.gene_tower = gene_tower
        self.brain_tower = brain_tower
        self.loss = loss
        self.logit_scale = logit_scale
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.encoder_learning_rate = encoder_learning_rate
        self.validation_gallery = validation_gallery
        self._validation: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return both towers' float32 vectors, ``[batch, columns]`` each."""
        return self.gene_tower(batch["gene"]).float(), self.brain_tower(batch["brain"]).float()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One step: embed, embed, loss."""
        gene, brain = self(batch)
        loss: Tensor = self.loss(gene, brain, self.logit_scale.log_scale, batch["genome_id"], batch["family_id"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(gene))
        self.log("logit_scale", self.logit_scale.log_scale.exp().mean(), on_step=False, on_epoch=True)
        return loss

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep the scale below its cap."""
        self.logit_scale.clamp_()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect vectors: retrieval needs the whole gallery."""
        self._validation.append((*self(batch), batch["genome_id"], batch["family_id"]))

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the expected recall@1 (mean of both directions) over all validation subjects."""
        gene, brain, genome, family = (torch.cat(parts) for parts in zip(*self._validation, strict=True))
        self._validation.clear()
        gallery = min(self.validation_gallery, len(gene))
        scores = (gene @ brain.T).cpu().numpy()
        recall = expected_recall_at_1(scores, genome.cpu().numpy(), relatives="rivals", gallery=gallery)
        self.log("validation_recall", recall, prog_bar=True)
        if self.trainer.world_size == 1:
            # Every rank holds all validation subjects; gathered, each would meet itself as a second positive.
            self.log("validation_loss", self.loss(gene, brain, self.logit_scale.log_scale, genome, family))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW on what is trainable; one-dimensional parameters are not decayed."""
        inside = {id(p) for encoder in tuned_encoders(self).values() for p in encoder.parameters()}
        encoder_rate = self.learning_rate if self.encoder_learning_rate is None else self.encoder_learning_rate
        parts = [p for p in self.parameters() if id(p) not in inside], [p for p in self.parameters() if id(p) in inside]
        groups = [
            group
            for part, rate in zip(parts, (self.learning_rate, encoder_rate), strict=True)
            for group in decay_groups(part, self.weight_decay, lr=rate)
        ]
        return torch.optim.AdamW(groups, lr=self.learning_rate)

    def vectors(self, gene: Tensor, brain: Tensor) -> tuple[FloatArray, FloatArray]:
        """Vectors of people outside training, ``[people, columns]`` float32 of each side."""
        return tower_vectors(self.gene_tower, gene), tower_vectors(self.brain_tower, brain)

    def parameter_counts(self) -> dict[str, ParameterReport]:
        """How many numbers training moves, for each tower and for each encoder inside one."""
        counted = {"gene tower": self.gene_tower, "brain tower": self.brain_tower}
        for side in tuple(counted):
            for encoder in tuned_encoders(counted[side]).values():
                counted[side.replace("tower", "encoder")] = encoder
        return {name: count_parameters(part) for name, part in counted.items()}
