"""Pretraining objectives of scan encoders, behind one interface: clips in, a loss out.

* :class:`MaskedSeries` and :class:`MaskedPicture`: both BrainLM families reconstruct hidden pieces of parcel series.
* :class:`ClipContrast`: two clips of one scan find each other among the clips of others (SwiFT).
* :class:`MaskedFrames`: BrainMT reconstructs frames that it does not see, through a light decoder.

``objective(batch, generator)`` gives an :class:`Outcome`; all that is random comes from the generator, so equal
generators give equal losses. Inputs are scaled by the caller as the encoder asks for. ``batch["clips"]`` is
``[batch, clips, ...]``, ``batch["subject"]`` int ``[batch]``; ``batch["noise"]`` may fix the masks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.brain.models.base import Reconstruction, masked_mean
from genebrain.brain.models.brainlm.canvas import Mode
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.masking import TokenOrder
from genebrain.brain.models.swift.model import SwiFT
from genebrain.brain.pretraining.contrast import ALONE, Ranks, local_local, pair_logits
from genebrain.brain.pretraining.settings import VolumeAugmentation
from genebrain.brain.pretraining.trivial_predictors import trivial_predictions

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """Loss of one batch.

    Attributes
    ----------
    loss
        Scalar, with gradient.
    trivial
        The same loss for predictors without a model; filled when asked for.
    figures
        Further numbers about the batch, e.g. how often a clip found its partner.
    """

    loss: Tensor
    trivial: dict[str, Tensor] = field(default_factory=dict)
    figures: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """An encoder with what its pretraining adds to it.

    Attributes
    ----------
    encoder : nn.Module
        What is kept afterwards.
    clips : int
        Clips of a scan that a batch must hold.
    alone : bool
        Whether a batch of one person has a loss.
    ranks : Ranks
        Where a contrast finds the rows of other processes.
    """

    encoder: nn.Module
    clips: int = 1
    alone: bool = True
    ranks: Ranks = ALONE

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator, compare: bool = False) -> Outcome:
        """Loss of a batch; ``compare`` asks for the trivial predictors too."""

    def freeze_unused(self, *names: str) -> None:
        """Stop gradients of weights that the loss never reaches: distributed training would wait for them."""
        for name, parameter in self.encoder.named_parameters():
            if name.startswith(names):
                parameter.requires_grad_(False)


class MaskedSeries(Objective):
    """Region x time BrainLM: hidden windows of parcels. Clips are ``[batch, 1, frames, parcels]``.

    Parameters
    ----------
    encoder : BrainLM
        With a contract, whose coordinates are used.
    mask_ratio : float
        Share of the tokens that are hidden.
    order : {"raster", "shuffled"}
        Order of the visible tokens; the published training shuffles them, embeddings are read in raster order.
    """

    encoder: BrainLM

    def __init__(self, encoder: BrainLM, mask_ratio: float = 0.2, order: TokenOrder = "raster") -> None:
        super().__init__()
        self.encoder, self.mask_ratio, self.order = encoder, mask_ratio, order
        self.freeze_unused("decoder.decoder_pred.")

    def forward(self, batch: Batch, generator: torch.Generator, compare: bool = False) -> Outcome:
        """Error over the hidden windows."""
        signal = batch["clips"][:, 0].mT
        contract = self.encoder.contract
        if contract is None:
            raise ValueError("the coordinates of the parcels come from the contract, and there is none")
        coordinates = torch.as_tensor(contract.coordinates).to(signal).expand(len(signal), -1, -1)
        result = self.encoder(
            signal, coordinates, mask_ratio=self.mask_ratio, noise=batch.get("noise"), generator=generator,
            order=self.order,
        )  # fmt: skip
        if not compare:
            return Outcome(_loss_of(result))
        hidden = result.target_mask.expand_as(result.prediction).flatten(2)
        return Outcome(_loss_of(result), _trivial(signal, hidden, self.encoder.config.loss_fn))


class MaskedPicture(Objective):
    """Image BrainLM: hidden patches of parcels x frames. Clips are ``[batch, 1, frames, parcels]``.

    Parameters
    ----------
    encoder : ViTMAE
        With a contract, whose coordinates give the order of the rows.
    mask_ratio : float
        Share of the patches (``auto_encode``) or of the frames (``predict_last*``) that is hidden.
    mode : {"auto_encode", "predict_last", "predict_last_pixel"}
    """

    encoder: ViTMAE

    def __init__(self, encoder: ViTMAE, mask_ratio: float = 0.75, mode: Mode = "auto_encode") -> None:
        super().__init__()
        self.encoder, self.mask_ratio, self.mode = encoder, mask_ratio, mode

    def forward(self, batch: Batch, generator: torch.Generator, compare: bool = False) -> Outcome:
        """Error over the hidden pixels that hold data."""
        picture = self.encoder.picture(batch["clips"][:, 0])
        result = self.encoder(
            picture, mask_ratio=self.mask_ratio, mode=self.mode, noise=batch.get("noise"), generator=generator
        )
        if not compare or self.encoder.config.norm_pix_loss:
            return Outcome(_loss_of(result))
        return Outcome(_loss_of(result), _trivial(picture[:, 0], result.target_mask))


class ClipContrast(Objective):
    """SwiFT: two clips of one scan attract. Clips are ``[batch, 2, channels, X, Y, Z, frames]``.

    Parameters
    ----------
    encoder : SwiFT
    kind : {"instance", "local", "both"}
        "instance": clips of other subjects are the negatives (NT-Xent; further clips of the same subject are left
        out). "local": within a scan, two views of a clip attract and the other clip is the negative. "both": the sum,
        on the same four views (the published code makes six passes for it).
    augmentation : VolumeAugmentation, optional
        None leaves the clips as they are; "local" needs one.
    temperature : float
    features : int
        Width of the head's output.
    local_reduction : {"mean", "sum"}
        Over the batch; the published sum grows with the batch.
    """

    encoder: SwiFT
    clips, alone = 2, False

    def __init__(
        self,
        encoder: SwiFT,
        kind: Literal["instance", "local", "both"] = "instance",
        augmentation: VolumeAugmentation | None = None,
        temperature: float = 0.1,
        features: int = 128,
        local_reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        if kind not in ("instance", "local", "both"):
            raise ValueError(f"kind must be instance, local or both, got {kind!r}")
        if kind != "instance" and augmentation is None:
            raise ValueError("without augmentation the two views of a clip are equal: nothing to learn within a scan")
        self.encoder, self.kind, self.augmentation = encoder, kind, augmentation
        self.temperature, self.local_reduction = temperature, local_reduction
        self.head = EmbeddingHead(encoder.hidden_size, features)

    def forward(self, batch: Batch, generator: torch.Generator, compare: bool = False) -> Outcome:
        """Loss over the pairs of the batch."""
        pairs = batch["clips"]
        if pairs.shape[1] != 2:
            raise ValueError(f"a pair has 2 clips, got {pairs.shape[1]}")
        first, second = (self._embed(pairs[:, i], generator) for i in (0, 1))
        logits, positive = pair_logits(first, second, self.temperature, subjects=batch.get("subject"), ranks=self.ranks)
        instance = partners_found(logits, positive)
        loss = logits.new_zeros(()) if self.kind == "local" else instance.loss
        trivial = {} if self.kind == "local" else instance.trivial
        if self.kind != "instance":
            again, partner = (self._embed(pairs[:, i], generator) for i in (0, 1))
            reduction = self.local_reduction
            loss = loss + local_local((first, again), (second, partner), self.temperature, reduction=reduction)
            # Two anchors, each with its other view and the two views of the other clip.
            per_scan = math.log(3) * (len(pairs) if reduction == "sum" else 1)
            trivial["all clips alike"] = trivial.get("all clips alike", torch.zeros_like(loss)) + per_scan
        return Outcome(loss, trivial, instance.figures) if compare else Outcome(loss)

    def _embed(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        if self.augmentation is not None:
            with torch.no_grad():
                clips = self.augmentation(clips, generator)
        return self.head(self.encoder(clips))


def partners_found(logits: Tensor, positive: Tensor) -> Outcome:
    """NT-Xent of the scores of :func:`pair_logits`, and how often a clip finds its partner."""
    found = (logits.argmax(dim=1) == positive).float().mean()
    candidates = torch.isfinite(logits).sum(dim=1).float()
    return Outcome(
        functional.cross_entropy(logits, positive),
        {"all clips alike": candidates.log().mean()},
        {"partner_found": found, "partner_found_by_chance": (1 / candidates).mean()},
    )


def _loss_of(result: Reconstruction) -> Tensor:
    if result.loss is None:
        raise ValueError("nothing was masked, so there is nothing to learn: choose a mask ratio above 0")
    return result.loss


def _trivial(signal: Tensor, hidden: Tensor, error: str = "mse") -> dict[str, Tensor]:
    """Losses of the predictors without a model."""
    found = {}
    for name, prediction in trivial_predictions(signal.detach(), hidden).items():
        difference = prediction - signal
        found[name] = masked_mean(difference.square() if error == "mse" else difference.abs(), hidden)
    return found


class LinearHead(nn.Module):
    """Classification (version 1) and regression: one linear layer, ``[batch, outputs]``."""

    def __init__(self, hidden: int, outputs: int = 1) -> None:
        super().__init__()
        self.head = nn.Linear(hidden, outputs)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Logits or standardised targets."""
        return self.head(feature_map.flatten(2).mean(dim=2))


class EmbeddingHead(nn.Module):
    """Pretraining: linear, batch norm, unit length: ``[batch, features]``."""

    def __init__(self, hidden: int, features: int = 128) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden, features, bias=False)
        self.bn1 = nn.BatchNorm1d(features)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Vectors of unit length; batch statistics in training mode."""
        return functional.normalize(self.bn1(self.fc1(feature_map.flatten(2).mean(dim=2))), dim=1)
