"""Settings of the pretraining objectives, and which encoder has which.

Values are checked when the settings are made; :meth:`ObjectiveSettings.build` gives the objective around an encoder
and refuses options that mean nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from genebrain.common.registry import Registry
from genebrain.common.types import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from genebrain.brain.encoders.base import WindowEncoder
    from genebrain.brain.pretraining.objectives import Objective

CHOICES = {
    "order": ("raster", "shuffled"),
    "mode": ("auto_encode", "predict_last", "predict_last_pixel"),
    "contrast": ("instance", "local", "both"),
    "negatives": ("all_ranks", "local"),
}


@dataclass(frozen=True)
class VolumeAugmentation:
    """Strength of the random changes; the defaults are the published ones.

    Parameters
    ----------
    rotation : float
        Largest angle around each axis, radians.
    scaling : float
        Largest change of size along each axis, as a share.
    noise : float
        Largest standard deviation of the noise, in units of the scaled scan; drawn per clip, each frame has its own.
    noise_share : float
        Share of the clips with noise.
    smoothing : float
        Largest width of the Gaussian filter: standard deviation in voxels, drawn per clip and axis.
    smoothing_share : float
        Share of the clips that are smoothed.
    """

    rotation: float = 0.175
    scaling: float = 0.1
    noise: float = 0.1
    noise_share: float = 0.3
    smoothing: float = 0.5
    smoothing_share: float = 0.1

    def __post_init__(self) -> None:
        problems = [
            f"{name}={getattr(self, name):g}"
            for name in ("rotation", "scaling", "noise", "noise_share", "smoothing", "smoothing_share")
            if getattr(self, name) < 0
        ]
        problems += [f"{n}={getattr(self, n):g} above 1" for n in ("noise_share", "smoothing_share", "scaling")
                     if getattr(self, n) > 1]  # fmt: skip
        if problems:
            raise UserError(f"augmentation: no negative strengths, shares and scaling at most 1: {', '.join(problems)}")

    def __call__(self, clips: Tensor, generator: Generator) -> Tensor:
        """A random view of every clip, ``[batch, channels, X, Y, Z, frames]``."""
        from genebrain.brain.pretraining.augmentation import random_view

        return random_view(self, clips, generator)


@dataclass(frozen=True)
class ObjectiveSettings:
    """What an encoder is pretrained on.

    Parameters
    ----------
    mask_ratio : float, optional
        Share of tokens, patches or stretches of frames that is hidden; None: brainlm 0.2, brainlm_vit 0.75,
        brainmt 0.5.
    order : {"raster", "shuffled"}
        brainlm: order in which the encoder sees the visible tokens (shuffled as published).
    mode : {"auto_encode", "predict_last", "predict_last_pixel"}
        brainlm_vit: random patches, or the last frames.
    span : int
        brainmt: frames of a hidden stretch.
    contrast : {"instance", "local", "both"}
        swift: pairs against other people, views within a scan, or the sum.
    temperature : float
        swift: divides the similarities.
    negatives : {"all_ranks", "local"}
        swift: clips of all devices or of one's own.
    augmentation : VolumeAugmentation or None
        swift: random changes of a clip; None leaves clips as they are.
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
        import torch

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


OBJECTIVES: Registry[RegisteredObjective] = Registry(
    "pretraining objective",
    dict.fromkeys(("brainlm", "brainlm_vit", "brainmt", "swift", "filters"), "genebrain.brain.pretraining.published"),
)
"""Objectives by the name of the encoder family."""


def objective_of(name: str) -> RegisteredObjective:
    """Objective of a family; ``UserError`` with those that can be pretrained if there is none."""
    if name not in OBJECTIVES:
        raise UserError(
            f"{name} has no pretraining objective (there is one for {', '.join(OBJECTIVES)}); fit and embed-scans take "
            "it as it is"
        )
    return OBJECTIVES[name]
