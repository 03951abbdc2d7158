"""The scan encoders by name, built for given scans: from a checkpoint, or with random weights that say so.

:func:`build_encoder` gives a :class:`~genebrain.brain.encoders.base.WindowEncoder` in evaluation mode. Without
``path`` the weights are random, drawn from a seed, of the tiny size unless another is asked for; that is a control,
and ``origin`` says it. Published weights refuse a parcellation they were not trained on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.families import SCAN_ENCODERS, Size, get_size
from genebrain.brain.encoders.files import CONTRACT, LoadedEncoder, read_encoder
from genebrain.brain.encoders.plain import PlainWindowEncoder
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.images.volume_scaling import Box
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.parcels.a424 import A424_PARCELS, a424_coordinates
from genebrain.common.reading import contents_of
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
            raise UserError(f"{settings.encoder} reads parcel series, and these scans are volumes: give an atlas")
        if settings.family.parcel_divisor is not None:
            coordinates = parcel_coordinates(n_parcels, coordinates)
    elif grid is None:
        raise UserError(f"{settings.encoder} reads volumes, and these scans are parcel series: list 4D images")
    if settings.path is not None:
        return _around(loaded or read_encoder(settings.path, settings.encoder), settings, coordinates)
    size = get_size(settings.encoder, "tiny" if settings.size == "auto" else settings.size, n_parcels, grid)
    module = random_module(settings.encoder, size, settings.weights_seed)
    origin = RANDOM.format(seed=settings.weights_seed)
    return _around(LoadedEncoder(settings.encoder, module, size, origin, None), settings, coordinates)


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


def random_module(name: str, size: Size, seed: int) -> nn.Module:
    """A module of a family and configuration with weights drawn from a seed, in evaluation mode."""
    family = SCAN_ENCODERS[name]
    # Some layers draw from the global generator when they are made.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = family.module(size.config)
        if family.initialise is not None:
            family.initialise(module, seed)
    return module.eval()


def random_twin(encoder: WindowEncoder, seed: int) -> WindowEncoder:
    """The same encoder behind the same input contract with random weights: what the architecture alone is worth."""
    return encoder.around(random_module(encoder.name, encoder.size, seed), RANDOM.format(seed=seed))


def _around(loaded: LoadedEncoder, settings: EncoderSettings, coordinates: NDArray[np.float32] | None) -> WindowEncoder:
    family = settings.family
    face = family.face or PlainWindowEncoder
    arguments = loaded.name, loaded.module, loaded.size, loaded.origin, settings.summary
    if family.parcel_divisor is not None:
        arguments = *arguments, _parcel_contract(loaded, settings, coordinates)  # type: ignore[assignment]
    encoder: WindowEncoder = face(*arguments)
    return encoder.eval()


def _parcel_contract(
    loaded: LoadedEncoder, settings: EncoderSettings, coordinates: NDArray[np.float32] | None
) -> ParcelInput:
    size, divisor = loaded.size, settings.family.parcel_divisor
    assert coordinates is not None
    assert divisor is not None
    if loaded.contract is not None:
        with contents_of(Path(settings.path or "") / CONTRACT, "is the copy complete?"):
            contract = ParcelInput.from_state(loaded.contract)
        _same_parcels(coordinates, contract.coordinates, settings.encoder)
    else:
        if size.published and settings.path is not None:
            _same_parcels(coordinates, a424_coordinates(), settings.encoder)
        contract = ParcelInput(
            "window", coordinates, tr=size.tr or 1.0, frames=None, formula=settings.formula, divisor=divisor
        )
    contract = replace(contract, frames=None, formula=settings.formula)
    return replace(contract, scaling="window") if settings.scaling == "window" else contract


def _same_parcels(scans: NDArray[np.float32], trained: NDArray[np.float32], name: str) -> None:
    """Refuse scans of another parcellation than the one that the weights know."""
    if len(scans) != len(trained):
        raise UserError(
            f"these weights of {name} were trained on {len(trained)} parcels, the scans have {len(scans)}: parcellate "
            "them with the same atlas, or train weights of your own"
        )
    far = np.linalg.norm(scans - trained, axis=1)
    if (n := int((~(far <= PARCEL_TOLERANCE_MM)).sum())) > 0:  # also those whose place is no number
        raise UserError(
            f"{n} of {len(scans)} parcels lie more than {PARCEL_TOLERANCE_MM:g} mm from where these weights of {name} "
            f"were trained (the farthest {far.max():.0f} mm): the scans have another parcellation or order of parcels"
        )
