"""Input contract of an encoder of parcel series: what a scan must be, and its scaling.

A window of ``[frames, parcels]`` that has the right parcels, repetition time and length, in the unit in which the
scaling was fitted, becomes the input that the weights were trained on; anything else is refused with both numbers.
The median and range of the published pretraining were never released, so the scaling must be chosen: fitted on
training scans, per window, or done by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genebrain.brain.models.scaling import UK_BIOBANK_TR, CohortScaling
from genebrain.brain.parcels.a424 import a424_coordinates
from genebrain.common.types import UserError


@dataclass(frozen=True)
class ParcelInput:
    """Parcellation, repetition time, window length and scaling of the series an encoder takes.

    Attributes
    ----------
    scaling
        ``CohortScaling`` fitted on training scans; "window": each window by its own median and interquartile
        range; "done": the caller has scaled.
    coordinates
        float32 [P, 3]: centre of every parcel in mm (MNI, RAS), in the order of the columns.
    tr, tr_tolerance
        Seconds per frame, and how far a scan may be off. The default admits UK Biobank (0.735) and the Human
        Connectome Project (0.72), on which the published models were trained and tested.
    frames
        Length of a window; None takes any length that the encoder takes.
    formula
        "paper": ``(x - median) / range``. "toolkit": ``x - median / range``, which is what BrainLM's published
        toolkit computes by a slip of operator precedence; only for series that were prepared that way.
    divisor
        The scaled series is divided by it (1 for the 13M model, ``VIT_DIVISOR`` for the image models).
    """

    scaling: CohortScaling | Literal["window", "done"]
    coordinates: NDArray[np.float32] = field(default_factory=a424_coordinates)
    tr: float = UK_BIOBANK_TR
    tr_tolerance: float = 0.02
    frames: int | None = 200
    formula: Literal["paper", "toolkit"] = "paper"
    divisor: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        if self.coordinates.ndim != 2 or self.coordinates.shape[1] != 3:
            problems.append(f"coordinates have shape {list(self.coordinates.shape)}, expected [parcels, 3]")
        elif not np.isfinite(self.coordinates).all():
            problems.append("coordinates of parcels are not finite")
        if isinstance(self.scaling, CohortScaling):
            for name in ("median", "spread"):
                count = len(getattr(self.scaling, name))
                if not np.isfinite(getattr(self.scaling, name)).all():
                    problems.append(f"the {name} of the training scans is not finite")
                if count != len(self.coordinates):
                    problems.append(f"the {name} covers {count} parcels, the coordinates {len(self.coordinates)}")
        elif self.scaling not in ("window", "done"):
            problems.append(f"scaling {self.scaling!r} is none of CohortScaling, 'window', 'done'")
        if self.formula not in ("paper", "toolkit"):
            problems.append(f"formula {self.formula!r} is neither 'paper' nor 'toolkit'")
        if not (0 < self.tr < np.inf and 0 < self.divisor < np.inf and 0 <= self.tr_tolerance < np.inf):
            problems.append(
                f"tr {self.tr}, its tolerance {self.tr_tolerance} and divisor {self.divisor} must be above 0"
            )
        if problems:
            raise UserError("the input contract does not hold together: " + "; ".join(problems))

    @property
    def n_parcels(self) -> int:
        """Columns of a series."""
        return len(self.coordinates)

    def prepare(self, series: Tensor, tr: float | Sequence[float]) -> Tensor:
        """Checked and scaled series.

        Parameters
        ----------
        series : Tensor
            ``[batch, frames, parcels]``, in the unit in which the scaling was fitted.
        tr : float or sequence of float
            Seconds per frame, one for all or one per scan.

        Returns
        -------
        Tensor
            float32 ``[batch, frames, parcels]`` (float64 stays float64).

        Raises
        ------
        UserError
            Wrong number of parcels or frames, a repetition time that is unknown or too far off, or values that
            are not finite; all problems together.
        """
        self._check(series, np.atleast_1d(np.asarray(tr, dtype=np.float64)))
        x = series.to(torch.promote_types(series.dtype, torch.float32))
        if self.scaling == "done":
            return x / self.divisor
        if isinstance(self.scaling, CohortScaling):
            x = x - x.mean(dim=1, keepdim=True)
            median, spread = (torch.as_tensor(v).to(x) for v in (self.scaling.median, self.scaling.spread))
        else:
            levels = x.new_tensor([0.25, 0.5, 0.75])
            # Scan by scan: torch.quantile refuses more than 2**24 numbers at once.
            low, median, high = torch.stack([scan.quantile(levels, dim=0) for scan in x], dim=1).unsqueeze(2)
            spread = high - low
        rate = torch.where(spread > 0, 1 / spread, 0)
        scaled = (x - median) * rate if self.formula == "paper" else x - median * rate
        return scaled / self.divisor

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """The whole contract as plain arrays, for the checkpoint of a tower."""
        cohort = self.scaling if isinstance(self.scaling, CohortScaling) else None
        arrays = {"median": cohort.median, "spread": cohort.spread} if cohort else {}
        return arrays | {
            "coordinates": self.coordinates,
            "scaled_by_caller": np.array(self.scaling == "done"),
            "toolkit_formula": np.array(self.formula == "toolkit"),
            "frames": np.array(-1 if self.frames is None else self.frames),
            "tr": np.array(self.tr),
            "tr_tolerance": np.array(self.tr_tolerance),
            "divisor": np.array(self.divisor),
        }

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> ParcelInput:
        """Rebuild from :meth:`state`."""
        scaling: CohortScaling | Literal["window", "done"] = "done" if state["scaled_by_caller"] else "window"
        if "median" in state:
            scaling = CohortScaling(np.asarray(state["median"]), np.asarray(state["spread"]))
        frames = int(state["frames"])
        return cls(
            scaling,
            coordinates=np.asarray(state["coordinates"]),
            tr=float(state["tr"]),
            tr_tolerance=float(state["tr_tolerance"]),
            frames=None if frames < 0 else frames,
            formula="toolkit" if state["toolkit_formula"] else "paper",
            divisor=float(state["divisor"]),
        )

    def _check(self, series: Tensor, tr: NDArray[np.float64]) -> None:
        if series.ndim != 3:
            raise UserError(f"series must be [batch, frames, parcels], got shape {list(series.shape)}")
        batch, frames, parcels = series.shape
        problems = []
        if parcels != self.n_parcels:
            hint = "; is it transposed?" if frames == self.n_parcels else ""
            problems.append(f"{parcels} parcels, the encoder takes {self.n_parcels}{hint}")
        if self.frames is not None and frames != self.frames:
            problems.append(f"{frames} frames, the encoder takes windows of {self.frames}")
        if len(tr) not in (1, batch):
            problems.append(f"{len(tr)} repetition times for {batch} scans")
        off = ~(np.abs(tr - self.tr) <= self.tr_tolerance)
        if off.any():
            problems.append(
                f"{int(off.sum())} of {len(tr)} repetition times are unknown or off (first {tr[off][0]:g} s), the "
                f"encoder takes {self.tr:g} +- {self.tr_tolerance:g} s: resample the scan"
            )
        if bad := int((~torch.isfinite(series)).any(dim=(1, 2)).sum()):
            problems.append(f"{bad} of {batch} scans hold values that are not finite")
        if problems:
            raise UserError("the scan does not fit the encoder: " + "; ".join(problems))
