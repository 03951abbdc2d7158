"""A decoder with a linear head, and its training for labels: one class, several labels, or numbers.

The vector of a sequence is that of its last *real* token whatever the padding side, the mean over real tokens, or all
chunks of a long input side by side; an empty chunk is zeros. The loss is cross entropy, binary cross entropy or squared
error, as published; regressed columns are standardised with the training rows and predictions come back in their units.
Source: GenerTeam/GENERator, sequence understanding task.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from genebrain.common.types import IntArray
from genebrain.genetics.finetuning.module import FinetuningModule, OptimiserSettings
from genebrain.genetics.finetuning.settings import HeadSettings
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.encode import cut, encode_batch, encode_chunks, final_representation


class SequencePredictor(nn.Module):
    """Tokens to outputs.

    Parameters
    ----------
    backbone : GeneratorBackbone
        Trained, adapted or frozen outside.
    outputs : int
    seed : int
        Of the head: normal with standard deviation 0.02, bias zero.
    """

    def __init__(self, backbone: GeneratorBackbone, settings: HeadSettings, outputs: int, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.decoder = backbone.model
        self._backbone = backbone
        self.head = nn.Linear(settings.width(backbone.hidden_size), outputs, bias=settings.bias)
        generator = torch.Generator().manual_seed(seed)
        self.head.weight.data = torch.randn(self.head.weight.shape, generator=generator) * 0.02
        if settings.bias:
            nn.init.zeros_(self.head.bias)

    def vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """One float32 vector per sequence, ``[batch, width]``, from ids and mask ``[batch, length]``."""
        settings = self.settings
        if settings.pooling != "chunks":
            return encode_batch(self._backbone, ids, mask)[settings.pooling]
        chunks = cut(
            ids,
            mask,
            chunk_size=settings.chunk_tokens,
            max_chunks=settings.max_chunks,
            overlap_fraction=settings.overlap_fraction,
            parity=settings.parity,
        )
        vectors, _ = encode_chunks(self._backbone, chunks)
        return final_representation(vectors["last"], settings.max_chunks)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Outputs ``[batch, outputs]`` of token batches, or of batches of ready ``vectors``."""
        vectors = batch["vectors"] if "vectors" in batch else self.vectors(batch["ids"], batch["mask"])
        return self.head(vectors.to(self.head.weight.dtype)).float()


def task_loss(task: str, outputs: Tensor, target: Tensor) -> Tensor:
    """Loss of outputs ``[batch, outputs]``; targets as encoded (regression: standardised)."""
    if task == "classification":
        return cross_entropy(outputs, target)
    if task == "multilabel":
        return binary_cross_entropy_with_logits(outputs, target)
    return mse_loss(outputs, target)


class PredictionModule(FinetuningModule):
    """Train a :class:`~genebrain.genetics.finetuning.predictor.SequencePredictor`.

    Parameters
    ----------
    predictor : SequencePredictor
    task : {"classification", "multilabel", "regression"}
    targets : Tensor
        Labels of all rows of the table.
    train : int array
        Training rows; centre and spread of regressed columns are theirs.
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self, predictor: SequencePredictor, task: str, targets: Tensor, train: IntArray, optimiser: OptimiserSettings
    ) -> None:
        columns = predictor.head.out_features
        super().__init__(task, targets, columns, optimiser)
        self.predictor = predictor
        regressed = task == "regression"
        values = targets[torch.as_tensor(train)] if regressed else torch.zeros(2, columns)
        self.register_buffer("center", values.mean(0))
        self.register_buffer("spread", values.std(0).clamp(min=1e-12) if regressed else torch.ones(columns))

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss of the task."""
        target = batch["target"]
        if self.task == "regression":
            target = (target - self.center) / self.spread
        return task_loss(self.task, self.predictor(batch), target)

    def predict(self, batch: dict[str, Tensor]) -> Tensor:
        """Probabilities, or numbers in the units of the label."""
        return to_prediction(self.task, self.predictor(batch), self.center, self.spread)


def to_prediction(task: str, outputs: Tensor, center: Tensor, spread: Tensor) -> Tensor:
    """Outputs of the head as probabilities or numbers in units."""
    if task == "classification":
        return outputs.softmax(-1)
    if task == "multilabel":
        return outputs.sigmoid()
    return outputs * spread + center
