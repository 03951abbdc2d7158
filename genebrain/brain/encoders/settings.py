"""Settings of the scan encoders: which one, with which weights; how volumes are read for one.

Nothing heavy is imported here: settings are read to show help and to check a command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from genebrain.brain.images.volume_scaling import Box, MaskChoice, Normalisation
from genebrain.common.types import UserError

if TYPE_CHECKING:
    from genebrain.brain.encoders.families import EncoderFamily
    from genebrain.brain.images.cleaning import Cleaning
    from genebrain.brain.store.read_volumes import VolumeOptions

Summary = Literal["own", "cls", "mean", "connectivity"]
SUMMARIES: tuple[Summary, ...] = get_args(Summary)
Reads = Literal["parcels", "volumes"]


@dataclass(frozen=True)
class EncoderSettings:
    """Which encoder, with which weights.

    Attributes
    ----------
    name
        ``brainlm``, ``brainlm_vit``, ``swift``, ``brainmt``, or one of a plugin.
    path
        Checkpoint; None: random weights.
    size
        ``auto``: that of the checkpoint, tiny without one. Else one of the sizes of the encoder, with random weights.
    seed
        Of random weights.
    summary
        What a window's vector is of its tokens.
    scaling
        Of parcels: ``window`` (each window by its own median and quartiles) or ``cohort`` (statistics of training
        scans, which whoever trains must give by ``with_scaling``).
    formula
        ``paper`` or ``toolkit``, see :class:`ParcelInput`.
    """

    name: str
    path: Path | None = None
    size: str = "auto"
    seed: int = 0
    summary: Summary = "own"
    scaling: Literal["window", "cohort"] = "window"
    formula: Literal["paper", "toolkit"] = "paper"

    def __post_init__(self) -> None:
        from genebrain.brain.encoders.families import SCAN_ENCODERS

        if self.name not in SCAN_ENCODERS:
            raise UserError(f"encoder {self.name} is none of {', '.join(SCAN_ENCODERS)} (plugins=[...] adds your own)")
        problems = []
        if self.size not in ("auto", *self.family.sizes):
            problems.append(f"size={self.size} is none of auto, {', '.join(self.family.sizes)}")
        if self.path is not None and self.size != "auto":
            problems.append(
                f"size={self.size} has no meaning with a path, the checkpoint has its own: use brain={self.name} (not "
                f"{self.name}_{self.size})"
            )
        for key, allowed in (
            ("summary", SUMMARIES),
            ("scaling", ("window", "cohort")),
            ("formula", ("paper", "toolkit")),
        ):
            if getattr(self, key) not in allowed:
                problems.append(f"{key}={getattr(self, key)} is none of {', '.join(allowed)}")
        if self.summary in SUMMARIES and self.summary not in self.family.summaries:
            lack = "has no class token" if self.summary == "cls" else "gives one vector per window, no tokens"
            *others, last = self.family.summaries
            either = f"{', '.join(others)} or {last}" if others else last
            problems.append(f"summary={self.summary}: {self.name} {lack}; use {either}")
        if self.scaling == "cohort" and self.reads == "parcels" and self.family.parcel_divisor is None:
            problems.append(f"scaling=cohort: {self.name} scales its input itself")
        if problems:
            raise UserError(f"encoder {self.name}: " + "; ".join(problems))

    @property
    def family(self) -> EncoderFamily:
        """What is special about the encoder."""
        from genebrain.brain.encoders.families import SCAN_ENCODERS

        return SCAN_ENCODERS[self.name]

    @property
    def reads(self) -> Reads:
        """What a scan must be."""
        return self.family.reads


@dataclass(frozen=True)
class VolumeSettings:
    """How volumes are read; see :class:`~genebrain.brain.store.read_volumes.VolumeOptions`.

    Attributes
    ----------
    box
        Voxels of a stored frame along x, y, z; None: those of the encoder, and of the first scan for a tiny one.
    normalisation
        z-norm (over the brain and all frames, as published), voxel (each over time) or minmax.
    mask
        given (of the scan table), zeros (are background), computed, or auto: the first that there is.
    centre
        What lies in the middle of the box: image or brain.
    axes
        Directions in which x, y and z grow; scans are turned by their affine.
    downsample
        Voxels a side averaged into one.
    allow_cut
        Whether brain voxels may fall outside the box (counted).
    """

    box: tuple[int, ...] | None = None
    normalisation: Normalisation = "z-norm"
    mask: MaskChoice = "auto"
    centre: Literal["image", "brain"] = "image"
    axes: str = "RAS"
    downsample: int = 1
    allow_cut: bool = False

    def __post_init__(self) -> None:
        if self.box is not None:
            object.__setattr__(self, "box", tuple(self.box))
        self.options((1, 1, 1))

    def options(self, box: Box) -> VolumeOptions:
        """Reading options with this box, unless one is set."""
        from genebrain.brain.store.read_volumes import VolumeOptions

        return VolumeOptions(
            box=box if self.box is None else self.box,  # type: ignore[arg-type]
            normalisation=self.normalisation,
            mask=self.mask,
            centre=self.centre,
            axes=self.axes,
            downsample=self.downsample,
            allow_cut=self.allow_cut,
        )


def volume_cleaning_problem(name: str, cleaning: Cleaning) -> str | None:
    """What an encoder of volumes cannot have of a cleaning, in words; None: it can have all of it."""
    if not cleaning.changes_values:
        return None
    return (
        f"{name} reads volumes, and these are taken as the pipeline left them: of the cleaning only fd_threshold "
        "(leave out frames of motion) is possible; clean the images before, or take an encoder of parcels (brainlm, "
        "brainlm_vit, connectome)"
    )
