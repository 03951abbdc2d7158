"""Settings of the scan encoders: which one, with which weights; how volumes are read for one.

Nothing heavy is imported here: settings are read to show help and to check a command line.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, get_args

from genebrain.brain.images.volume_scaling import Box, VolumeReading, box_problems
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
    encoder : str
        brainlm, brainlm_vit, swift, brainmt, filters, or one of a plugin.
    path : str, optional
        Weights: published file or folder, or own; None: random weights, a control.
    size : str
        auto (that of the weights, tiny without them), tiny, published, or another size of the encoder.
    weights_seed : int
        Of random weights.
    summary : {"own", "cls", "mean", "connectivity"}
        Vector of a window: as the encoder does it, its class token, the mean over its tokens, or how the tokens of
        different places vary together. The last is averaged, then mapped to the tangent space of the training people.
    scaling : {"window", "cohort"}
        Parcel series: each window by its own median and quartiles, or by those of the training scans (which whoever
        trains gives by ``with_scaling``).
    formula : {"paper", "toolkit"}
        Of the scaling; toolkit repeats a slip of the published code.
    """

    encoder: str = "brainlm"
    path: str | None = None
    size: str = "auto"
    weights_seed: int = 0
    summary: Summary = "own"
    scaling: Literal["window", "cohort"] = "window"
    formula: Literal["paper", "toolkit"] = "paper"

    def __post_init__(self) -> None:
        from genebrain.brain.encoders.families import SCAN_ENCODERS

        if self.path is not None:
            object.__setattr__(self, "path", str(self.path))
        if self.encoder not in SCAN_ENCODERS:
            raise UserError(
                f"encoder {self.encoder} is none of {', '.join(SCAN_ENCODERS)} (plugins=[...] adds your own)"
            )
        problems = []
        if self.size not in ("auto", *self.family.sizes):
            problems.append(f"size={self.size} is none of auto, {', '.join(self.family.sizes)}")
        if self.path is not None and self.size != "auto":
            problems.append(
                f"size={self.size} has no meaning with a path, the checkpoint has its own: use "
                f"brain={self.encoder} (not {self.encoder}_{self.size})"
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
            problems.append(f"summary={self.summary}: {self.encoder} {lack}; use {either}")
        if self.scaling == "cohort" and self.reads == "parcels" and self.family.parcel_divisor is None:
            problems.append(f"scaling=cohort: {self.encoder} scales its input itself")
        if problems:
            raise UserError(f"encoder {self.encoder}: " + "; ".join(problems))

    @property
    def family(self) -> EncoderFamily:
        """What is special about the encoder."""
        from genebrain.brain.encoders.families import SCAN_ENCODERS

        return SCAN_ENCODERS[self.encoder]

    @property
    def reads(self) -> Reads:
        """What a scan must be."""
        return self.family.reads


@dataclass(frozen=True)
class VolumeSettings(VolumeReading):
    """How volumes are read for an encoder: :class:`genebrain.VolumeReading`, and a box.

    Attributes
    ----------
    box
        Voxels of a stored frame along x, y, z; None: those of the encoder, and of the first scan for a tiny one.
    """

    box: Box | None = None

    def __post_init__(self) -> None:
        if self.box is not None:
            object.__setattr__(self, "box", tuple(self.box))
        self.refuse([] if self.box is None else box_problems(self.box))

    def options(self, box: Box) -> VolumeOptions:
        """Reading options with this box, unless one is set."""
        from genebrain.brain.store.read_volumes import VolumeOptions

        return VolumeOptions(**(asdict(self) | {"box": self.box or box}))


def volume_cleaning_problem(name: str, cleaning: Cleaning) -> str | None:
    """What an encoder of volumes cannot have of a cleaning, in words; None: it can have all of it."""
    if not cleaning.changes_values:
        return None
    return (
        f"{name} reads volumes, and these are taken as the pipeline left them: of the cleaning only fd_threshold "
        "(leave out frames of motion) is possible; clean the images before, or take an encoder of parcels (brainlm, "
        "brainlm_vit, connectome)"
    )
