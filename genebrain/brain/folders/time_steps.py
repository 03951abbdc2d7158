"""Time between two frames: what can be one, and what an image header says."""

from __future__ import annotations

import math
from typing import Any

import nibabel as nib

from genebrain.common.types import UserError

LONGEST_TR_S = 10.0
SHORTEST_TR_S = 0.02
"""Shorter is no scan of a brain but a wrong unit."""
_SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}


def step_problem(seconds: float) -> str | None:
    """Why this cannot be the time between two frames; None: it can."""
    if math.isfinite(seconds) and SHORTEST_TR_S <= seconds <= LONGEST_TR_S:
        return None
    milliseconds = 1000 * SHORTEST_TR_S <= seconds <= 1000 * LONGEST_TR_S
    hint = f" (milliseconds? it would be {seconds / 1000:g} s then)" if milliseconds else ""
    return (
        f"{seconds:g} s{hint}, expected more than 0 ({SHORTEST_TR_S:g} or more) and at most {LONGEST_TR_S:g} s; "
        "mend it, or state tr (seconds) in a scan table"
    )


def header_step(header: Any) -> float:
    """Seconds per frame as the header of a NIfTI or CIFTI file states it, with its unit.

    Raises
    ------
    UserError
        Exactly 1.0 of unknown unit (what a header says that nobody filled in), or a fourth axis that is not time.
    """
    if isinstance(header, nib.Cifti2Header):
        return _cifti_step(header)
    zooms = header.get_zooms()
    raw = float(zooms[3]) if len(zooms) > 3 else 0.0
    try:
        unit = str(header.get_xyzt_units()[1])
    except KeyError:  # a code that the format does not know
        unit = "unknown"
    if unit == "unknown" and raw == 1.0:
        raise UserError(
            "the header's time step is 1.0 of unknown unit, which is what an unset header says; "
            "state tr in the scan table or in a json sidecar (RepetitionTime)"
        )
    if unit not in _SECONDS_PER_UNIT:
        raise UserError(
            f"the fourth axis of the image is in {unit}, not in time; if it is time, state tr (seconds) in a scan table"
        )
    return round(raw * _SECONDS_PER_UNIT[unit], 9)


def _cifti_step(header: nib.Cifti2Header) -> float:
    """Step of the series axis of a CIFTI file."""
    try:
        axes = [header.matrix.get_index_map(i) for i in header.matrix.mapped_indices]
        series = next(axis for axis in axes if axis.indices_map_to_data_type == "CIFTI_INDEX_TYPE_SERIES")
        unit, exponent = series.series_unit, series.series_exponent
        step = float(series.series_step) * 10.0 ** int(exponent or 0)
    except (StopIteration, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UserError("the CIFTI file states no time step; state tr (seconds) in a scan table") from error
    if unit != "SECOND":
        raise UserError(
            f"the series of the CIFTI file is in {str(unit).lower()}, not in time; state tr in a scan table"
        )
    return round(step, 9)
