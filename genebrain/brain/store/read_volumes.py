"""One scan as volumes, from its file to the array that the store keeps: mask, axes, grid, scale, box.

Float16 ``[frames, X, Y, Z]`` and a record; raises for a bad scan (the caller makes a record of it). The file is read
two or three times front to back, one frame in memory at a time. Values are scaled first and rounded to float16 then.
Reads the scan as its table says: what was done to it before (registration, denoising) is not repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.images.mask import LEAST_BACKGROUND, computed_mask, given_mask
from genebrain.brain.images.motion import still_frames
from genebrain.brain.images.nifti import ImageStream, open_image
from genebrain.brain.images.orientation import Turn
from genebrain.brain.images.volume_scaling import (
    Box,
    Placement,
    VolumeReading,
    VoxelSums,
    block_mean,
    box_problems,
    refuse_cut,
)
from genebrain.brain.store.job import Record, ScanJob, ScanOptions, short_record
from genebrain.brain.store.scan_table import IMAGE_SUFFIXES, repetition_time
from genebrain.common.files import ArrayWriter
from genebrain.common.types import BoolArray, UserError

SCRUB = "drop frames of motion"
ORDER = ["drop frames without values", "mask", "axes", "block mean", "scale over the brain", "box", "float16"]
LARGEST_LOSS = 0.05
LARGEST_TILT = 10.0  # degrees


@dataclass(frozen=True)
class VolumeOptions(VolumeReading, ScanOptions):
    """How every scan of a store of volumes is read.

    Attributes
    ----------
    box
        Voxels of a stored frame.
    zero_background
        Background is 0 instead of the lowest scaled value.
    fd_threshold
        Framewise displacement, mm: frames above it are left out before anything is computed.
    """

    box: Box = (96, 96, 96)
    zero_background: bool = False
    fd_threshold: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", tuple(self.box))
        motion = self.fd_threshold is not None and self.fd_threshold <= 0
        self.refuse(box_problems(self.box) + [f"fd_threshold={self.fd_threshold} mm must be above 0"] * motion)

    def describe(self) -> dict[str, Any]:
        """The settings and the order of the steps."""
        chosen, order = super().describe(), ORDER
        if self.fd_threshold is None:
            del chosen["fd_threshold"]  # stores of before there was this choice keep their names
        else:
            order = [SCRUB, *ORDER]
        return {"kind": "volumes", **chosen, "order": order, "dtype": "float16"}

    def read(self, job: ScanJob) -> Record:
        """Read one scan and write its volumes."""
        if not job.path.name.endswith(IMAGE_SUFFIXES):
            raise UserError("volumes are made of 4D images, this is a table of parcel series")
        scan = open_image(job.path)
        tr = repetition_time(job.path, scan.header, job.tr)
        if why := self.too_short(scan.n_frames, tr):
            return short_record(job.key, scan.n_frames, tr, why)
        still = still_frames(self.fd_threshold, job.confounds, scan.n_frames)
        if why := self.too_short(int(still.sum()), tr, " without motion"):
            return short_record(job.key, int(still.sum()), tr, why)
        frames = Frames(scan, Turn.between(scan.affine, self.axes), self.downsample, still)
        sums, source = self._gather(frames, job)
        kept = np.flatnonzero(frames.usable)
        if why := self.too_short(len(kept), tr, " with values"):
            return short_record(job.key, len(kept), tr, why)
        leave_out, missing = frames.missing(sums)
        scaling = sums.scaling(self.normalisation, zero_background=self.zero_background, leave_out=leave_out)
        around = scaling.brain if self.centre == "brain" else None
        placement = Placement.centred(scaling.brain.shape, self.box, around)
        if not self.allow_cut:
            hint = "centre=brain would fit" if self._brain_would_fit(scaling.brain) else "choose a larger box"
            refuse_cut(placement, scaling.brain, f"{hint}, a coarser grid (downsample=2), or allow_cut=true")
        with ArrayWriter(job.target, (len(kept), *self.box), np.float16) as array:
            for frame, inside in frames:
                array.add(placement.place(scaling.apply(frame, inside, np.float16), scaling.background))
        return {
            "key": job.key,
            "status": "stored",
            "n_frames": len(kept),
            "shape": list(self.box),
            "tr": None if math.isnan(tr) else tr,
            "recorded": scan.n_frames,
            "dropped": np.flatnonzero(~frames.usable).tolist(),
            "missing_voxels": missing,
            "mask_source": source,
            "stored_axes": frames.turn.stored,
            "tilt": round(frames.turn.tilt, 1),
            "n_brain": int(scaling.brain.sum()),
            "n_cut": placement.n_cut(scaling.brain),
            "background": scaling.background,
            "notes": _notes(source, frames.turn, placement.n_cut(scaling.brain), missing),
            "sha256": array.sha256,
        }

    def _gather(self, frames: Frames, job: ScanJob) -> tuple[VoxelSums, str]:
        """Sums over the brain, and where the mask came from; reads the scan once, or twice to compute a mask."""
        scan = frames.scan
        if self.mask == "given" and job.mask is None:
            raise UserError("mask=given, but the scan table names no mask for this scan")
        if job.mask is not None and self.mask in ("auto", "given"):
            frames.mask = frames.turn.apply(given_mask(job.mask, scan.shape, scan.affine)).copy()
            return frames.sums(), "given"
        sums = frames.sums()
        if self.mask == "zeros" or (self.mask == "auto" and frames.share_of_zeros >= LEAST_BACKGROUND):
            return sums, "zeros"
        frames.mask = computed_mask(frames.mean_image)
        return frames.sums(), "computed"

    def _brain_would_fit(self, brain: BoolArray) -> bool:
        return self.centre == "image" and Placement.centred(brain.shape, self.box, brain).n_cut(brain) == 0


class Frames:
    """The usable frames of a scan, turned and on the wanted grid, with which of their voxels are brain.

    Iterating gives ``(frame [X, Y, Z], inside [X, Y, Z])``, in the scan's unit.

    Attributes
    ----------
    mask
        bool [X, Y, Z] in the wanted axes at full resolution; None: what is not exactly zero is brain.
    wanted
        bool [frames]: the others are passed over.
    usable
        bool [frames], after :meth:`sums`: of the wanted frames, one with more than half of its voxels not finite, with
        one value everywhere, or the same as the frame before value for value, is dropped.
    """

    def __init__(self, scan: ImageStream, turn: Turn, factor: int, wanted: BoolArray | None = None) -> None:
        self.scan, self.turn, self.factor = scan, turn, factor
        self.wanted = np.ones(scan.n_frames, bool) if wanted is None else wanted
        self.mask: BoolArray | None = None
        self.usable: BoolArray = np.ones(scan.n_frames, bool)
        self._may_be_broken = scan.header.get_data_dtype().kind == "f"

    def __iter__(self) -> Iterator[tuple[NDArray[np.float64], BoolArray]]:
        for t, stored in enumerate(self.scan.volumes()):
            if self.usable[t]:
                values = self._values(stored)
                finite = np.isfinite(values) if self._may_be_broken else None
                yield block_mean(values, self._inside(values, finite), self.factor)

    def sums(self) -> VoxelSums:
        """Read the scan once: sums over the brain, usable frames and, without a mask, mean image and share of zeros.

        Raises
        ------
        UserError
            No frame has values.
        """
        self.usable = np.zeros(self.scan.n_frames, bool)
        shape = self.turn.apply(np.empty(self.scan.shape, bool)).shape
        self._broken, self._zero, self._total = np.zeros(shape, bool), np.ones(shape, bool), np.zeros(shape)
        sums: VoxelSums | None = None
        before: NDArray[Any] | None = None
        for t, stored in enumerate(self.scan.volumes()):
            again, before = before is not None and np.array_equal(stored, before), stored
            if again or not self.wanted[t]:
                continue
            values = self._values(stored)
            finite = np.isfinite(values) if self._may_be_broken else None
            inside = self._inside(values, finite)
            if finite is not None and (finite if self.mask is None else finite[self.mask]).mean() <= 0.5:
                continue
            measured = values[inside]
            if not measured.size or measured.min() == measured.max():
                continue
            self.usable[t] = True
            if finite is not None:
                self._broken |= ~finite
                values = np.where(finite, values, 0.0)
            if self.mask is None:
                self._zero &= ~inside
                self._total += values
            frame, brain = block_mean(values, inside, self.factor)
            sums = sums or VoxelSums(frame.shape)
            sums.add(frame, brain)
        if sums is None:
            raise UserError("no frame of the scan has finite values that differ")
        return sums

    @property
    def share_of_zeros(self) -> float:
        """Share of voxels that are zero in every frame."""
        return float(self._zero.mean())

    @property
    def mean_image(self) -> NDArray[np.float64]:
        """Mean of the usable frames at full resolution."""
        return self._total / self.usable.sum()

    def missing(self, sums: VoxelSums) -> tuple[BoolArray, int]:
        """Voxels to leave out on the wanted grid, and how many brain voxels of the scan are not always finite.

        Raises
        ------
        UserError
            More than 5 % of the brain.
        """
        brain: BoolArray = ~self._zero if self.mask is None else self.mask
        bad = self._broken & brain
        n = int(bad.sum())
        if n > LARGEST_LOSS * brain.sum():
            raise UserError(
                f"{n} of {int(brain.sum())} brain voxels are not always finite; at most {LARGEST_LOSS:.0%} may be so"
            )
        # A coarser voxel is the mean of what is finite; at full resolution nothing is left of the voxel.
        return bad if self.factor == 1 else np.zeros(sums.n.shape, bool), n

    def _values(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """[X, Y, Z] in the wanted axes and the scan's unit; turned while the numbers are still small."""
        turned = np.ascontiguousarray(self.turn.apply(stored.reshape(self.scan.shape, order="F")))
        values = turned.astype(np.float64)
        if (self.scan.slope, self.scan.inter) != (1.0, 0.0):
            values = values * self.scan.slope + self.scan.inter
        return values

    def _inside(self, values: NDArray[np.float64], finite: BoolArray | None) -> BoolArray:
        inside = (values != 0) if self.mask is None else self.mask
        return inside if finite is None else inside & finite


def _notes(source: str, turn: Turn, n_cut: int, missing: int) -> list[str]:
    """What a reader of the report should know; counted over scans, so without numbers of one scan."""
    notes = []
    if source == "computed":
        notes.append("no mask image and no zero background: the brain mask was computed from the mean image")
    if turn.tilt > LARGEST_TILT:
        notes.append(f"axes tilted by more than {LARGEST_TILT:g} degrees: swapped and flipped, not resampled")
    if n_cut:
        notes.append("brain voxels were cut off by the box")
    if missing:
        notes.append("voxels that are not finite became background")
    return notes
