"""The objectives of the scan encoders of the package, one record each."""

from __future__ import annotations

from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.swift.model import SwiFT
from genebrain.brain.pretraining.masked import MaskedFrames
from genebrain.brain.pretraining.objectives import ClipContrast, MaskedPicture, MaskedSeries, Objective
from genebrain.brain.pretraining.settings import OBJECTIVES, ObjectiveSettings, RegisteredObjective
from genebrain.brain.pretraining.stretches import StretchContrast
from genebrain.common.types import UserError


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
OBJECTIVES.add("filters", RegisteredObjective(lambda module, _: StretchContrast(module), StretchContrast.clips))
