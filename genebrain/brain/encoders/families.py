"""Families of scan encoders: one record says all that is special about a family, and a registry holds them by name.

A family is added by one call, from the package (the published ones in :mod:`genebrain.brain.encoders.published`) or
from a user's file: ``SCAN_ENCODERS.add("my_encoder", EncoderFamily(...))``. A tiny encoder takes its parcels or its box
from the scans; a published one states them, and refuses others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genebrain.brain.encoders.settings import Reads, Summary
from genebrain.brain.images.volume_scaling import Box
from genebrain.common.registry import Registry

if TYPE_CHECKING:
    from torch import nn

Config = Any
"""Sizes of a module: a frozen dataclass of its family. An attribute ``frame_lengths`` (a range) says what windows it
takes, any without one; ``box`` the voxels along X, Y and Z of a network with a fixed box."""
PATCH = 8


@dataclass(frozen=True)
class InputShape:
    """Frames that an encoder will read.

    Attributes
    ----------
    n_parcels
        Width of parcel series; None for volumes.
    grid
        Voxels along X, Y and Z of volumes; None for parcel series.
    """

    n_parcels: int | None = None
    grid: Box | None = None


@dataclass(frozen=True)
class Size:
    """One encoder before it has weights.

    Attributes
    ----------
    config
        Of the module.
    frames
        Frames of a window.
    tr
        Seconds per frame; None: whatever a scan has.
    published
        Whether these are the published sizes, with their input contract.
    """

    config: Config
    frames: int
    tr: float | None
    published: bool


@dataclass(frozen=True)
class EncoderFamily:
    """Everything that is special about a family of scan encoders.

    The first four suffice for an encoder of one's own: a module that is called with windows ``[windows, frames,
    parcels]`` (or ``[windows, frames, X, Y, Z]``) as the scan store has them, and gives ``[windows, hidden_size]``.

    Parameters
    ----------
    reads : {"parcels", "volumes"}
        What a scan must be.
    config : type
        Frozen dataclass of the sizes; JSON-ready fields, since it is kept beside weights.
    module : callable
        A config to an ``nn.Module`` with an attribute ``hidden_size``. Weights that it draws from torch's generator are
        those of ``brain.weights_seed``.
    tiny : callable
        An :class:`InputShape` to the config that is built where nothing else is asked for.
    tiny_frames : int
        Frames of a window of that size.
    published : mapping, optional
        Further sizes: name -> maker of a config; the first is the one meant by ``size=published``.
    published_window : callable, optional
        A config to the frames of a window and the seconds per frame (None: those of the scan) of published weights.
    initialise : callable, optional
        ``(module, seed)``: draws the weights, for modules that do not when they are made.
    face : callable, optional
        Subclass of :class:`~genebrain.brain.encoders.base.WindowEncoder`; by default the module is called with windows.
    parcel_divisor : float, optional
        For encoders with the input contract of BrainLM (:class:`~genebrain.brain.models.parcel_input.ParcelInput`),
        which need the centre of every parcel: its divisor.
    summaries : tuple of str
        What a window's vector may be; only ``own`` for a module that gives one vector per window.
    sign : str, optional
        Part of a key that only weights of this family have; without one, weights are what the user says they are.
    model_type : str, optional
        As it stands in ``config.json`` beside the weights; by default the name of the family.
    key_prefix : str
        In front of the keys of written weights.
    load : callable, optional
        ``(file, config.json or None, hyper-parameters or None)`` to a module with weights, and its config. By default
        ``config.json`` gives the config, and the keys are those of the module.
    """

    reads: Reads
    config: type[Any]
    module: Callable[[Config], nn.Module]
    tiny: Callable[[InputShape], Config]
    tiny_frames: int = 40
    published: Mapping[str, Callable[[], Config]] = field(default_factory=dict)
    published_window: Callable[[Config], tuple[int, float | None]] | None = None
    initialise: Callable[[Any, int], object] | None = None
    face: Callable[..., Any] | None = None
    parcel_divisor: float | None = None
    summaries: tuple[Summary, ...] = ("own",)
    sign: str | None = None
    model_type: str | None = None
    key_prefix: str = ""
    load: Callable[[Path, dict[str, Any] | None, dict[str, Any] | None], tuple[nn.Module, Config]] | None = None

    @property
    def sizes(self) -> tuple[str, ...]:
        """Sizes that it can be built in with random weights."""
        if not self.published:
            return ("tiny",)
        return ("tiny", "published", *(size for size in self.published if size != "published"))

    def size_of(self, config: Config) -> Size:
        """Window and time step that weights of this configuration were trained with, where their file does not say."""
        if self.published_window is None:
            return Size(config, self.tiny_frames, None, False)
        frames, tr = self.published_window(config)
        return Size(config, frames, tr, True)


_HOME = "genebrain.brain.encoders.published"
SCAN_ENCODERS: Registry[EncoderFamily] = Registry(
    "scan encoder", dict.fromkeys(("brainlm", "brainlm_vit", "swift", "brainmt", "filters"), _HOME)
)
"""Families by the names that ``brain.encoder`` takes; the names are known without loading the published ones."""


def get_size(name: str, size: str, n_parcels: int | None = None, grid: Box | None = None) -> Size:
    """Configuration, window and time step of an encoder.

    Parameters
    ----------
    name, size
        Of :data:`SCAN_ENCODERS` and the ``sizes`` of the family.
    n_parcels, grid
        Width of the scans, or their voxels; decide the tiny sizes.
    """
    family = SCAN_ENCODERS[name]
    if size != "tiny":
        makers = family.published
        make = makers[size] if size in makers else next(iter(makers.values()))
        return family.size_of(make())
    return Size(family.tiny(InputShape(n_parcels, grid)), family.tiny_frames, None, False)


def frames_problem(name: str, config: Config, frames: int) -> str | None:
    """What is wrong with windows of so many frames, with what the encoder takes; None: nothing."""
    lengths = getattr(config, "frame_lengths", None)
    if lengths is None or frames in lengths:
        return None
    if len(lengths) == 1:
        taken = f"exactly {lengths[0]}"
    elif lengths.step > 1:
        taken = f"multiples of {lengths.step} up to {lengths[-1]:,}"
    else:
        taken = f"{lengths[0]} to {lengths[-1]}"
    return f"windows of {frames} frames; {name} takes {taken}"


def up(n: int) -> int:
    """The next multiple of :data:`PATCH`."""
    return -(-n // PATCH) * PATCH
