"""The scan encoders by name, built for given scans: from a checkpoint, or with random weights that say so.

Contract: :func:`build_encoder` gives a :class:`~genebrain.brain.encoders.base.WindowEncoder` in evaluation mode.
Without ``path`` the weights are random, drawn from a seed, of the tiny size unless another is asked for; that is a
control, and ``origin`` says it. Published weights refuse a parcellation they were not trained on.

What it does NOT know: how scans are cut into windows, subjects, training.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from genebrain.brain.encoders.base import ParcelWindowEncoder, WindowEncoder
from genebrain.brain.encoders.families import Box, Size, get_size
from genebrain.brain.encoders.files import LoadedEncoder, read_encoder
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.encoders.volumes import BrainMTWindowEncoder, SwiFTWindowEncoder
from genebrain.brain.models.base import ScanEncoder
from genebrain.brain.models.brainlm.config import BrainLMConfig, ViTMAEConfig
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.parcel_input import VIT_DIVISOR, ParcelInput
from genebrain.brain.models.swift.config import SwiFTConfig
from genebrain.brain.models.swift.model import SwiFT
from genebrain.brain.parcels.a424 import A424_PARCELS, a424_coordinates
from genebrain.common.types import UserError

PARCEL_TOLERANCE_MM = 25.0
"""How far a parcel's centre may lie from where the weights were trained; two tables of A424 differ by up to 13 mm."""
RANDOM = "random weights (seed {seed}): a control, not a published model"


def build_encoder(
    settings: EncoderSettings,
    *,
    n_parcels: int | None = None,
    coordinates: NDArray[np.float32] | None = None,
    grid: Box | None = None,
    loaded: LoadedEncoder | None = None,
) -> WindowEncoder:
    """An encoder for these scans.

    Parameters
    ----------
    settings : EncoderSettings
    n_parcels : int, optional
        Width of the scans, for an encoder of parcels.
    coordinates : float32 array, optional
        ``[parcels, 3]``, mm, RAS: centres of the parcels; may be left out for 424 parcels, which are taken for A424.
    grid : three int, optional
        Voxels of the scans, for an encoder of volumes.
    loaded : LoadedEncoder, optional
        What ``settings.path`` holds, where it was read already; becomes part of the encoder.

    Raises
    ------
    UserError
        Scans that the weights were not trained on, unknown coordinates, an unreadable checkpoint.
    """
    if settings.reads == "parcels":
        if n_parcels is None:
            raise UserError(f"{settings.name} reads parcel series, and these scans are volumes: give an atlas")
        coordinates = parcel_coordinates(n_parcels, coordinates)
    elif grid is None:
        raise UserError(f"{settings.name} reads volumes, and these scans are parcel series: list 4D images")
    if settings.path is not None:
        return _around(loaded or read_encoder(settings.path, settings.name), settings, coordinates)
    size = get_size(settings.name, "tiny" if settings.size == "auto" else settings.size, n_parcels, grid)
    module = random_module(size, settings.seed)
    origin = RANDOM.format(seed=settings.seed)
    return _around(LoadedEncoder(settings.name, module, size, origin, None), settings, coordinates)


def parcel_coordinates(n_parcels: int, coordinates: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Checked centres of the parcels, float32 ``[parcels, 3]``; 424 parcels without any are A424."""
    if coordinates is None:
        if n_parcels != A424_PARCELS:
            raise UserError(
                f"BrainLM needs the centre of every parcel, and nothing says where these {n_parcels} lie: name a "
                "table (index, X, Y, Z in mm) by parcel_coordinates=TABLE or in cohort.yaml, put it beside the scan "
                "table (parcel_coordinates.tsv), or name an atlas"
            )
        return a424_coordinates()
    coordinates = np.array(coordinates, np.float32)  # a copy: torch warns of arrays that cannot be written
    if coordinates.shape != (n_parcels, 3) or not np.isfinite(coordinates).all():
        raise UserError(
            f"the parcel coordinates are {list(coordinates.shape)}, the scans have {n_parcels} parcels: expected "
            f"finite numbers [{n_parcels}, 3]"
        )
    return coordinates


def random_module(size: Size, seed: int) -> ScanEncoder | SwiFT | BrainMT:
    """A module of this configuration with weights drawn from a seed, in evaluation mode."""
    config = size.config
    module: ScanEncoder | SwiFT | BrainMT
    # Convolutions of BrainMT draw from the global generator when they are made.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(config, BrainMTConfig):
            module = BrainMT(config)
            module.initialise(torch.Generator().manual_seed(seed))
        elif isinstance(config, SwiFTConfig):
            module = SwiFT(config)
            module.initialise(seed)
        else:
            module = BrainLM(config) if isinstance(config, BrainLMConfig) else ViTMAE(config)
            module.initialise(seed)
    return module.eval()


def random_twin(encoder: WindowEncoder, seed: int) -> WindowEncoder:
    """The same encoder behind the same input contract with random weights: what the architecture alone is worth."""
    module, origin = random_module(encoder.size, seed), RANDOM.format(seed=seed)
    if isinstance(encoder, ParcelWindowEncoder):
        assert isinstance(module, ScanEncoder)
        return ParcelWindowEncoder(encoder.name, module, encoder.size, origin, encoder.summary, encoder.contract).eval()
    return type(encoder)(encoder.name, module, encoder.size, origin, encoder.summary).eval()


def _around(loaded: LoadedEncoder, settings: EncoderSettings, coordinates: NDArray[np.float32] | None) -> WindowEncoder:
    module, size = loaded.module, loaded.size
    if isinstance(module, SwiFT):
        return SwiFTWindowEncoder(loaded.name, module, size, loaded.origin, settings.summary).eval()
    if isinstance(module, BrainMT):
        return BrainMTWindowEncoder(loaded.name, module, size, loaded.origin, settings.summary).eval()
    assert isinstance(module, ScanEncoder)
    assert coordinates is not None
    if loaded.contract is not None:
        contract = ParcelInput.from_state(loaded.contract)
        _same_parcels(coordinates, contract.coordinates, settings.name)
    else:
        if size.published and settings.path is not None:
            _same_parcels(coordinates, a424_coordinates(), settings.name)
        divisor = VIT_DIVISOR if isinstance(size.config, ViTMAEConfig) else 1.0
        contract = ParcelInput(
            "window", coordinates, tr=size.tr or 1.0, frames=None, formula=settings.formula, divisor=divisor
        )
    contract = replace(contract, frames=None, formula=settings.formula)
    if settings.scaling == "window":
        contract = replace(contract, scaling="window")
    return ParcelWindowEncoder(loaded.name, module, size, loaded.origin, settings.summary, contract).eval()


def _same_parcels(scans: NDArray[np.float32], trained: NDArray[np.float32], name: str) -> None:
    """Refuse scans of another parcellation than the one that the weights know."""
    if len(scans) != len(trained):
        raise UserError(
            f"these weights of {name} were trained on {len(trained)} parcels, the scans have {len(scans)}: parcellate "
            "them with the same atlas, or train weights of your own"
        )
    far = np.linalg.norm(scans - trained, axis=1)
    if (n := int((far > PARCEL_TOLERANCE_MM).sum())) > 0:
        raise UserError(
            f"{n} of {len(scans)} parcels lie more than {PARCEL_TOLERANCE_MM:g} mm from where these weights of {name} "
            f"were trained (the farthest {far.max():.0f} mm): the scans have another parcellation or order of parcels"
        )
