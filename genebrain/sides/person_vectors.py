"""Scans into the store, their windows through the encoder, and averages of these: one vector per person.

Nothing is learned here. Window -> scan -> person; scans weigh the same, or by the inverse of their motion. Vectors are
averaged when they are asked for, block by block, so that a cohort of wide ones (``summary=connectivity``) need not fit
into memory.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from genebrain.brain.encoders.embed import embed_windows, embeddings_folder, say_encoder
from genebrain.brain.encoders.preflight import refuse_misfits
from genebrain.brain.models.scaling import CohortScaling
from genebrain.brain.store.fill import fill_store
from genebrain.common.types import IntArray, UserError
from genebrain.sides.connectome import person_scans

if TYPE_CHECKING:
    from genebrain.brain.encoders.base import WindowEncoder
    from genebrain.brain.encoders.embed import Embeddings
    from genebrain.brain.windows.bank import WindowBank
    from genebrain.cohort.participants import Cohort
    from genebrain.sides.scans import EncoderSide

log = logging.getLogger(__name__)

LEAST_MOTION_MM = 0.05
"""Mean framewise displacement below which a scan weighs no more."""


def motion_weights(scans: pd.DataFrame, keys: Sequence[str | None]) -> dict[str, float]:
    """Inverse mean framewise displacement of each scan in the store; the median where it is not known.

    Parameters
    ----------
    scans : DataFrame
        The scan table, with ``mean_fd`` in mm.
    keys : sequence
        Key of every row in the store, None where the scan is not there.
    """
    motion = scans["mean_fd"].astype(float)
    motion = motion.fillna(motion.median()).clip(lower=LEAST_MOTION_MM)
    return {key: 1 / value for key, value in zip(keys, motion, strict=True) if key is not None}


def unknown_motion(scans: pd.DataFrame) -> int:
    """Number of scans whose motion is not known; a UserError where that of none is, or it is below zero."""
    if "mean_fd" not in scans.columns:
        raise UserError("brain.aggregate=motion needs a column mean_fd (mm) in the scan table, or confounds tables")
    motion = scans["mean_fd"].astype(float)
    unknown, below = int(motion.isna().sum()), int((motion < 0).sum())
    if unknown == len(motion) or below:
        what = f"is below zero for {below}" if below else "is not known for any"
        raise UserError(
            f"brain.aggregate=motion: mean_fd {what} of {len(motion)} scans of the scan table; it is the mean "
            "framewise displacement in mm. Fill it in, or use brain.aggregate=mean"
        )
    if unknown:
        log.warning(
            f"brain.aggregate=motion: {unknown} of {len(motion)} scans have no mean_fd, they weigh as the median"
        )
    return unknown


class PersonVectors:
    """Means over the windows of a scan, then over the scans of a person, float32 ``[people, width]``.

    A slice computes these rows; ``numpy.asarray`` computes all.

    Parameters
    ----------
    vectors : mapping
        Scan key -> float32 ``[windows, width]``; scans without windows are not in it.
    scans : sequence
        Keys of the scans of every person.
    weights : mapping
        Of scans; those that are not named weigh 1.
    """

    def __init__(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        scans: Sequence[Sequence[str]],
        weights: Mapping[str, float],
    ) -> None:
        self._vectors, self._weights = vectors, weights
        self._scans = [[key for key in keys if key in vectors] for keys in scans]
        self.shape = (len(scans), int(vectors[next(iter(vectors))].shape[1]))

    def __len__(self) -> int:
        """Number of people."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """The vectors of some people."""
        chosen = self._scans[rows]
        people = np.empty((len(chosen), self.shape[1]), np.float32)
        for row, keys in enumerate(chosen):
            of_scans = np.stack([self._vectors[key].mean(axis=0, dtype=np.float64) for key in keys])
            weight = np.array([self._weights.get(key, 1.0) for key in keys])
            people[row] = weight @ of_scans / weight.sum()
        return people

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.floating]:
        """The vectors of all people."""
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def of(self, rows: IntArray) -> PersonVectors:
        """The vectors of these people only, not computed yet."""
        return PersonVectors(self._vectors, [self._scans[row] for row in rows], self._weights)


def ingest_windows(
    side: EncoderSide, cohort: Cohort, store: Path, *, progress: bool
) -> tuple[dict[str, Any], set[int]]:
    """See :meth:`~genebrain.sides.scans.EncoderSide.ingest`."""
    places = {"atlas": cohort.atlas, "centres": cohort.parcel_coordinates}
    refuse_misfits(side.settings, side.windows, cohort.scans, volumes=side.volumes, **places)
    unknown = {"scans_without_mean_fd": unknown_motion(cohort.scans)} if side.aggregate == "motion" else {}
    options = side.options(cohort)
    report = fill_store(cohort.scans, store / side.folder(options), options, short="skip", progress=progress)
    bank = side.bank(side.shared(cohort, store), cohort, store)
    keys = side.scans(cohort, store).keys(cohort.scans)
    known = [key for key in keys if key is not None]
    planned = bank.plan(known)
    usable = {person for person, key in zip(cohort.scans["person"], keys, strict=True) if key in planned}
    return {**report.summary(), "windows": bank.describe(known, planned), **unknown}, usable


def ready_encoder(
    side: EncoderSide, cohort: Cohort, store: Path, training: IntArray, encoder: WindowEncoder | None = None
) -> tuple[WindowEncoder, WindowBank]:
    """The encoder behind the scaling asked for, fitted on ``training`` rows, and its windows."""
    encoder = encoder or side.shared(cohort, store)
    bank = side.bank(encoder, cohort, store)
    if side.scaling == "cohort":
        scans = person_scans(cohort, side.scans(cohort, store))
        fitted = CohortScaling.fit(bank.store.read(key) for row in training for key in scans[row])
        encoder = encoder.with_scaling(fitted)
    return encoder, bank


def vectors_of_windows(
    side: EncoderSide,
    cohort: Cohort,
    store: Path,
    training: IntArray,
    *,
    encoder: WindowEncoder | None = None,
    progress: bool = True,
) -> tuple[Embeddings, WindowBank]:
    """Vectors of the windows of every scan, by its key, computed once; and how the scans are cut."""
    encoder, bank = ready_encoder(side, cohort, store, training, encoder)
    planned = bank.plan([key for keys in person_scans(cohort, side.scans(cohort, store)) for key in keys])
    folder = embeddings_folder(store / "scan_embeddings", encoder, bank)
    say_encoder(encoder, bank)
    return embed_windows(
        encoder, bank, planned, folder, batch=side.batch, device=side.device, progress=progress
    ), bank  # fmt: skip
