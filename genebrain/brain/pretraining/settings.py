"""Which objective belongs to which encoder, and its options, as settings of an experiment.

Values are checked when the settings are made; :meth:`ObjectiveSettings.build` gives the objective around an encoder
and refuses options that mean nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.swift.model import SwiFT
from genebrain.brain.pretraining.augmentation import VolumeAugmentation
from genebrain.brain.pretraining.masked import MaskedFrames
from genebrain.brain.pretraining.objectives import ClipContrast, MaskedPicture, MaskedSeries, Objective
from genebrain.common.registry import Registry
from genebrain.common.types import UserError

CHOICES = {
    "order": ("raster", "shuffled"),
    "mode": ("auto_encode", "predict_last", "predict_last_pixel"),
    "contrast": ("instance", "local", "both"),
    "negatives": ("all_ranks", "local"),
}


@dataclass(frozen=True)
class ObjectiveSettings:
    """What an encoder is pretrained on.

    Parameters
    ----------
    mask_ratio : float, optional
        BrainLM, BrainMT: share of the tokens, patches or stretches of frames that is hidden; None: 0.2 for
        ``brainlm``, 0.75 for ``brainlm_vit``, 0.5 for ``brainmt``.
    order : {"raster", "shuffled"}
        ``brainlm``: order in which the encoder sees the visible tokens.
    mode : {"auto_encode", "predict_last", "predict_last_pixel"}
        ``brainlm_vit``: random patches, or the last frames.
    span : int
        ``brainmt``: frames of a hidden stretch.
    contrast : {"instance", "local", "both"}
        ``swift``: pairs against other people, views within a scan, or the sum.
    temperature : float
    negatives : {"all_ranks", "local"}
        ``swift``: clips of all devices or of one's own.
    augmentation : VolumeAugmentation or None
        ``swift``: random changes of the clips.
    """

    mask_ratio: float | None = None
    order: Literal["raster", "shuffled"] = "raster"
    mode: Literal["auto_encode", "predict_last", "predict_last_pixel"] = "auto_encode"
    span: int = 5
    contrast: Literal["instance", "local", "both"] = "instance"
    temperature: float = 0.1
    negatives: Literal["all_ranks", "local"] = "all_ranks"
    augmentation: VolumeAugmentation | None = field(default_factory=VolumeAugmentation)

    def __post_init__(self) -> None:
        problems = [
            f"{key}={getattr(self, key)} is none of {', '.join(allowed)}"
            for key, allowed in CHOICES.items()
            if getattr(self, key) not in allowed
        ]
        if self.mask_ratio is not None and not 0 < self.mask_ratio < 1:
            problems.append(f"mask_ratio={self.mask_ratio} must lie between 0 and 1")
        if self.span < 1 or self.temperature <= 0:
            problems.append(f"span={self.span} must be at least 1, temperature={self.temperature} above 0")
        if self.contrast != "instance" and self.augmentation is None:
            problems.append(f"contrast={self.contrast} compares two views of a clip and needs an augmentation")
        if problems:
            raise UserError("objective: " + "; ".join(problems))

    def build(self, windows: WindowEncoder, seed: int) -> Objective:
        """The objective around the published module of an encoder; what it adds starts from ``seed``.

        Raises
        ------
        UserError
            No objective is registered for the family of the encoder.
        """
        registered = objective_of(windows.name)
        # Decoders and heads draw from the global generator when they are made.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return registered.make(windows.encoder, self)

    def ratio(self, published: float) -> float:
        """Share that is hidden: the one asked for, else the published one."""
        return self.mask_ratio or published


@dataclass(frozen=True)
class RegisteredObjective:
    """How a family of encoders is pretrained.

    Attributes
    ----------
    make : callable
        ``(module, ObjectiveSettings)`` to an :class:`~genebrain.brain.pretraining.objectives.Objective` around it.
    clips : int
        Clips of a scan that a batch must hold.
    """

    make: Callable[[Any, ObjectiveSettings], Objective]
    clips: int = 1


OBJECTIVES: Registry[RegisteredObjective] = Registry("pretraining objective")
"""Objectives by the name of the encoder family."""


def objective_of(name: str) -> RegisteredObjective:
    """Objective of a family; ``UserError`` with those that can be pretrained if there is none."""
    if name not in OBJECTIVES:
        raise UserError(
            f"{name} has no pretraining objective (there is one for {', '.join(OBJECTIVES)}); fit and embed-scans take "
            "it as it is"
        )
    return OBJECTIVES[name]


def _masked_frames(module: BrainMT, settings: ObjectiveSettings) -> Objective:
    if settings.span >= module.config.num_frames:
        raise UserError(
            f"objective.span={settings.span} hides whole windows of {module.config.num_frames} frames: choose a "
            "shorter one"
        )
    return MaskedFrames(module, settings.ratio(0.5), settings.span)


def _clip_contrast(module: SwiFT, settings: ObjectiveSettings) -> Objective:
    return ClipContrast(module, settings.contrast, settings.augmentation, settings.temperature)


OBJECTIVES.add("brainlm", RegisteredObjective(lambda module, s: MaskedSeries(module, s.ratio(0.2), s.order)))
OBJECTIVES.add("brainlm_vit", RegisteredObjective(lambda module, s: MaskedPicture(module, s.ratio(0.75), s.mode)))
OBJECTIVES.add("brainmt", RegisteredObjective(_masked_frames))
OBJECTIVES.add("swift", RegisteredObjective(_clip_contrast, ClipContrast.clips))
