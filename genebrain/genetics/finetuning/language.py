"""Fine-tuning of the language model with the base-pair marginal loss.

The loss of a step is the mean over all targets of all ranks; per sequence the sums of nats are kept, so that long
sequences count for what they are; the chance level is the base composition of the training sequences. Source:
GenerTeam/GENERator, fine-tuning task.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genebrain.common.types import FloatArray
from genebrain.genetics.finetuning.module import FinetuningModule, OptimiserSettings
from genebrain.genetics.finetuning.tokens import TokenRow
from genebrain.genetics.model.base_pair_loss import IGNORED, BasePairLoss, base_pair_loss
from genebrain.genetics.model.language_model import GeneratorLanguageModel
from genebrain.genetics.model.tokenizer import CONTROL_TOKENS, K


class LanguageModule(FinetuningModule):
    """Train a language model on sequences.

    Parameters
    ----------
    language_model : GeneratorLanguageModel
        Trainable in full, or with adapters on its decoder.
    targets : int64 [rows]
        6-mer targets of each row, from :func:`count_targets`.
    parity : bool
        Control tokens count as base A, as published.
    """

    def __init__(
        self, language_model: GeneratorLanguageModel, targets: Tensor, optimiser: OptimiserSettings, parity: bool
    ) -> None:
        super().__init__("causal_lm", targets, 2, optimiser)
        self.model = language_model.model
        self.parity = parity

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Nats per target over all ranks."""
        part = self._judge(self._hidden(batch), batch)
        count = (part.base_targets + part.control_targets).float()
        if self.trainer.world_size > 1:
            # Gradients are averaged over ranks, whose sequences differ in length.
            count = self.trainer.strategy.reduce(count, reduce_op="mean")
        return (part.base_sum + part.control_sum) / count.clamp(min=1)

    def predict(self, batch: dict[str, Tensor]) -> Tensor:
        """Sums of nats per sequence: of bases, of whole tokens."""
        hidden = self._hidden(batch)
        sums = []
        for i in range(len(hidden)):
            row = self._judge(hidden[i : i + 1], {key: value[i : i + 1] for key, value in batch.items()})
            sums.append(torch.stack([row.base_sum, row.token_sum]))
        return torch.stack(sums)

    def _hidden(self, batch: dict[str, Tensor]) -> Tensor:
        # With the padding on the left its mask is needed; behind the last real token causal attention needs none.
        mask = None if bool(batch["mask"][:, 0].all()) else batch["mask"].long()
        hidden: Tensor = self.model.model(
            input_ids=batch["ids"], attention_mask=mask, use_cache=False
        ).last_hidden_state  # fmt: skip
        return hidden

    def _judge(self, hidden: Tensor, batch: dict[str, Tensor]) -> BasePairLoss:
        labels = batch["ids"].masked_fill(~batch["mask"], IGNORED)
        return base_pair_loss(hidden, labels, self.model.lm_head.weight, parity=self.parity)


def count_targets(rows: Sequence[TokenRow]) -> Tensor:
    """6-mer targets of each row, int64 [rows]: all 6-mers but one that stands first."""
    return torch.tensor([int((row[1:] >= len(CONTROL_TOKENS)).sum()) for row in rows])


def base_counts(rows: Sequence[TokenRow]) -> FloatArray:
    """How often each base (A, T, C, G) stands in the 6-mer targets of each row, float64 [rows, 4]."""
    counts = np.zeros((len(rows), 4))
    for i, row in enumerate(rows):
        kmers = row[1:][row[1:] >= len(CONTROL_TOKENS)] - len(CONTROL_TOKENS)
        for place in range(K):
            counts[i] += np.bincount(kmers // 4**place % 4, minlength=4)
    return counts


def composition_prediction(counts: FloatArray, train_counts: FloatArray) -> Tensor:
    """The sums of :meth:`LanguageModule.predict` for a model that knows the base composition alone: [rows, 2]."""
    share = (train_counts.sum(0) + 1) / (train_counts.sum() + 4)
    nats = torch.from_numpy(-(counts * np.log(share)).sum(1))
    return torch.stack([nats / K, nats], 1)
