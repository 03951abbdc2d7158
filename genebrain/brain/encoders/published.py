"""The scan encoders, one record each: BrainLM (two families), SwiFT, BrainMT, tiny ones for a CPU, a filter bank.

What needs torch is imported when it is called: settings ask a record for its sizes on every command line.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genebrain.brain.encoders.families import PATCH, SCAN_ENCODERS, EncoderFamily, InputShape, up
from genebrain.brain.encoders.settings import SUMMARIES
from genebrain.brain.models.brainlm.config import BrainLMConfig, ViTMAEConfig
from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.filters.config import FilterBankConfig
from genebrain.brain.models.scaling import UK_BIOBANK_TR, VIT_DIVISOR
from genebrain.brain.models.swift.config import PREFIX, SwiFTConfig
from genebrain.common.types import UserError

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

__all__ = ["SCAN_ENCODERS"]

BRAINLM_FRAMES = 200
TINY_SERIES, TINY_VOLUMES, BANK_FRAMES = 40, 20, 100
"""Frames of a window of the tiny encoders: short, so that scans of a minute have a window."""

_TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
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


def _tiny_brainlm(scans: InputShape) -> BrainLMConfig:
    return BrainLMConfig(**_TINY, timepoint_patching_size=20, conv_kernel_size=9, patch_size=2)


def _tiny_vit(scans: InputShape) -> ViTMAEConfig:
    assert scans.n_parcels is not None
    return ViTMAEConfig(**_TINY, patch_size=PATCH, image_size=(up(scans.n_parcels), up(TINY_SERIES)))


def _tiny_swift(scans: InputShape) -> SwiFTConfig:
    assert scans.grid is not None
    x, y, z = (up(n) for n in scans.grid)
    return SwiFTConfig(
        img_size=(x, y, z, TINY_VOLUMES), patch_size=(4, 4, 4, 1), embed_dim=16, depths=(2, 2), num_heads=(2, 4)
    )


def _tiny_brainmt(scans: InputShape) -> BrainMTConfig:
    assert scans.grid is not None
    x, y, z = (up(n) for n in scans.grid)
    return BrainMTConfig.improved(
        img_size=(y, x, z), num_frames=TINY_VOLUMES, stem_dim=4, width=8, depth=(2, 2), num_heads=4
    )


def _bank(scans: InputShape) -> FilterBankConfig:
    assert scans.n_parcels is not None
    return FilterBankConfig(scans.n_parcels)


def _late(name: str) -> Callable[..., Any]:
    """Class of this name, imported when it is called."""

    def made(*arguments: Any) -> Any:
        from genebrain.brain.encoders.parcels import PictureWindowEncoder, RegionTimeWindowEncoder
        from genebrain.brain.encoders.volumes import BrainMTWindowEncoder, SwiFTWindowEncoder
        from genebrain.brain.models.brainlm.image import ViTMAE
        from genebrain.brain.models.brainlm.region_time import BrainLM
        from genebrain.brain.models.brainmt.model import BrainMT
        from genebrain.brain.models.filters.bank import FilterBank
        from genebrain.brain.models.swift.model import SwiFT

        modules: tuple[type, ...] = (BrainLM, ViTMAE, SwiFT, BrainMT, FilterBank)
        faces = (RegionTimeWindowEncoder, PictureWindowEncoder, SwiFTWindowEncoder, BrainMTWindowEncoder)
        return {one.__name__: one for one in modules + faces}[name](*arguments)

    return made


def _load_brainlm(
    file: Path, values: dict[str, Any] | None, hyper_parameters: dict[str, Any] | None
) -> tuple[nn.Module, Any]:
    from genebrain.brain.models.brainlm.weights import load_brainlm

    model = load_brainlm(file)
    return model, model.config


def _load_swift(
    file: Path, values: dict[str, Any] | None, hyper_parameters: dict[str, Any] | None
) -> tuple[nn.Module, Any]:
    from genebrain.brain.models.swift.weights import load_swift

    config = SwiFTConfig.from_mapping(values) if values is not None else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        swift = load_swift(file, config)
    for warning in caught:
        log.warning(f"note: {warning.message}")
    return swift, swift.config


def _load_brainmt(
    file: Path, values: dict[str, Any] | None, hyper_parameters: dict[str, Any] | None
) -> tuple[nn.Module, Any]:
    from genebrain.brain.models.brainmt.weights import load_brainmt

    found = values if values is not None else hyper_parameters
    if found is None:
        raise UserError(
            f"{file} says nothing of its sizes: put a config.json with the fields of BrainMTConfig beside it "
            "(num_frames, img_size, depth, directions, pooling, ...)"
        )
    known = {f.name for f in dataclasses.fields(BrainMTConfig)}
    config = BrainMTConfig(**{k: v for k, v in found.items() if k in known})
    return load_brainmt(file, config), config


def _draw(module: Any, seed: int) -> None:
    module.initialise(seed)


def _draw_brainmt(module: Any, seed: int) -> None:
    import torch

    module.initialise(torch.Generator().manual_seed(seed))


SCAN_ENCODERS.add(
    "brainlm",
    EncoderFamily(
        reads="parcels", config=BrainLMConfig, module=_late("BrainLM"), initialise=_draw,
        tiny=_tiny_brainlm, tiny_frames=TINY_SERIES,
        published={"13m": _brainlm_13m}, published_window=lambda config: (BRAINLM_FRAMES, UK_BIOBANK_TR),
        face=_late("RegionTimeWindowEncoder"), parcel_divisor=1.0, summaries=SUMMARIES,
        sign=".attention.self.", model_type="brainlm_mae", load=_load_brainlm,
    ),
)  # fmt: skip
SCAN_ENCODERS.add(
    "brainlm_vit",
    EncoderFamily(
        reads="parcels", config=ViTMAEConfig, module=_late("ViTMAE"), initialise=_draw,
        tiny=_tiny_vit, tiny_frames=TINY_SERIES,
        published={"111m": lambda: _vit(768, 12, 12, 16, 432), "650m": lambda: _vit(1280, 32, 16, 14, 434)},
        published_window=lambda config: (BRAINLM_FRAMES, UK_BIOBANK_TR),
        face=_late("PictureWindowEncoder"), parcel_divisor=VIT_DIVISOR, summaries=SUMMARIES,
        sign=".attention.attention.", model_type="vit_mae", load=_load_brainlm,
    ),
)  # fmt: skip
SCAN_ENCODERS.add(
    "swift",
    EncoderFamily(
        reads="volumes", config=SwiFTConfig, module=_late("SwiFT"), initialise=_draw,
        tiny=_tiny_swift, tiny_frames=TINY_VOLUMES,
        published={"published": SwiFTConfig}, published_window=lambda config: (config.img_size[3], None),
        face=_late("SwiFTWindowEncoder"), summaries=("own", "mean", "connectivity"),
        sign="patch_embed.fc.", key_prefix=PREFIX, load=_load_swift,
    ),
)  # fmt: skip
SCAN_ENCODERS.add(
    "brainmt",
    EncoderFamily(
        reads="volumes", config=BrainMTConfig, module=_late("BrainMT"), initialise=_draw_brainmt,
        tiny=_tiny_brainmt, tiny_frames=TINY_VOLUMES,
        published={"published": BrainMTConfig, "improved": BrainMTConfig.improved},
        published_window=lambda config: (config.num_frames, None),
        face=_late("BrainMTWindowEncoder"), summaries=SUMMARIES,
        sign="patch_embed.conv_down.", load=_load_brainmt,
    ),
)  # fmt: skip
SCAN_ENCODERS.add(
    "filters",
    EncoderFamily(
        reads="parcels", config=FilterBankConfig, module=_late("FilterBank"), tiny=_bank, tiny_frames=BANK_FRAMES,
        sign="log_scale",
    ),
)  # fmt: skip
