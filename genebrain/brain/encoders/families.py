"""Sizes of the scan encoders by name: the published ones, and tiny ones that a CPU trains in minutes.

Contract: ``NAMES`` are the four encoders; ``SIZES[name]`` the sizes each can be built in. A tiny encoder takes its
parcels or its box from the scans; a published one states them, and refuses others.

What it does NOT know: weights, files, scans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genebrain.brain.models.brainlm.config import BrainLMConfig, ViTMAEConfig
from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.swift.config import SwiFTConfig

Config = BrainLMConfig | ViTMAEConfig | SwiFTConfig | BrainMTConfig
Box = tuple[int, int, int]

READS: Mapping[str, Literal["parcels", "volumes"]] = {
    "brainlm": "parcels",
    "brainlm_vit": "parcels",
    "swift": "volumes",
    "brainmt": "volumes",
}
NAMES = tuple(READS)
TINY_FRAMES = {"brainlm": 40, "brainlm_vit": 40, "swift": 20, "brainmt": 20}
"""Frames of a window of the tiny encoders: short, so that scans of a minute have a window."""
PATCH = 8

_AUTOENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_DECODER: dict[str, Any] = {
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 64,
}
_VIT_DECODER: dict[str, Any] = {
    "decoder_hidden_size": 512,
    "decoder_num_hidden_layers": 8,
    "decoder_num_attention_heads": 16,
    "decoder_intermediate_size": 2048,
}


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


def _brainlm_13m() -> BrainLMConfig:
    return BrainLMConfig(
        hidden_size=512, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        decoder_hidden_size=512, decoder_num_hidden_layers=2, decoder_num_attention_heads=4,
        decoder_intermediate_size=1024, timepoint_patching_size=20, inv_coeff_init_option=False,
    )  # fmt: skip


def _vit(hidden: int, layers: int, heads: int, patch: int, side: int) -> ViTMAEConfig:
    return ViTMAEConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden,
        patch_size=patch, image_size=(side, side), **_VIT_DECODER,
    )  # fmt: skip


PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "brainlm": {"13m": _brainlm_13m},
    "brainlm_vit": {
        "111m": lambda: _vit(768, 12, 12, 16, 432),
        "650m": lambda: _vit(1280, 32, 16, 14, 434),
    },
    "swift": {"published": SwiFTConfig},
    "brainmt": {"published": BrainMTConfig, "improved": BrainMTConfig.improved},
}
"""Encoder -> size -> maker of its configuration; the first is the one meant by ``size=published``."""

SIZES = {name: ("tiny", "published", *(s for s in sizes if s != "published")) for name, sizes in PUBLISHED.items()}


def get_size(name: str, size: str, n_parcels: int | None = None, grid: Box | None = None) -> Size:
    """Configuration, window and time step of an encoder.

    Parameters
    ----------
    name, size
        Of :data:`NAMES` and :data:`SIZES`.
    n_parcels, grid
        Width of the scans, or their voxels; decide the tiny sizes.
    """
    if size != "tiny":
        makers = PUBLISHED[name]
        make = makers[size] if size in makers else next(iter(makers.values()))
        return published_size(name, make())
    frames = TINY_FRAMES[name]
    if name == "brainlm":
        config: Config = BrainLMConfig(
            **_AUTOENCODER, **_DECODER, timepoint_patching_size=20, conv_kernel_size=9, patch_size=2
        )
    elif name == "brainlm_vit":
        assert n_parcels is not None
        side = (up(n_parcels), up(frames))
        config = ViTMAEConfig(**_AUTOENCODER, **_DECODER, patch_size=PATCH, image_size=side)
    else:
        assert grid is not None
        x, y, z = (up(n) for n in grid)
        if name == "swift":
            config = SwiFTConfig(
                img_size=(x, y, z, frames), patch_size=(4, 4, 4, 1), embed_dim=16, depths=(2, 2), num_heads=(2, 4)
            )
        else:
            config = BrainMTConfig.improved(
                img_size=(y, x, z), num_frames=frames, stem_dim=4, width=8, depth=(2, 2), num_heads=4
            )
    return Size(config, frames, None, False)


def published_size(name: str, config: Config) -> Size:
    """Window and time step that published weights of this configuration were trained with."""
    if isinstance(config, SwiFTConfig):
        return Size(config, config.img_size[3], None, True)
    if isinstance(config, BrainMTConfig):
        return Size(config, config.num_frames, None, True)
    from genebrain.brain.models.parcel_input import UK_BIOBANK_TR

    return Size(config, 200, UK_BIOBANK_TR, True)


def frames_problem(name: str, config: Config, frames: int) -> str | None:
    """What is wrong with windows of so many frames, with what the encoder takes; None: nothing."""
    lengths = config.frame_lengths
    if frames in lengths:
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
