"""Volumes for encoders that read voxels: normalised over the brain, made coarser, placed in a box.

Pure arrays, one frame at a time. A first pass over the frames gathers sums at every voxel, which are enough for each
normalisation; a second one applies it. The published scalings are those of SwiFT (Kim et al., NeurIPS 2023) and
BrainMT, without their fixed crop: brain is never cut silently.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import BoolArray, FloatArray, UserError

Normalisation = Literal["z-norm", "minmax", "voxel"]
MaskChoice = Literal["auto", "given", "zeros", "computed"]
MASKS: tuple[MaskChoice, ...] = get_args(MaskChoice)
Box = tuple[int, int, int]
LETTERS = ("LR", "PA", "IS")


@dataclass(frozen=True)
class VolumeReading:
    """How volumes are read, whatever box they go into.

    Attributes
    ----------
    normalisation
        z-norm (over the brain and all frames, as published), voxel (each over time) or minmax.
    mask
        given (of the scan table), zeros (exact zeros are background, per voxel and frame), computed (from the mean
        image), or auto: the first of these that the scan has.
    centre
        What lies in the middle of the box: image, which keeps scans of one template space on one grid, or brain.
    axes
        Directions in which x, y and z grow; scans are turned by their affine.
    downsample
        Voxels a side averaged into one, before scaling.
    allow_cut
        Whether brain voxels may fall outside the box (counted).
    """

    normalisation: Normalisation = "z-norm"
    mask: MaskChoice = "auto"
    centre: Literal["image", "brain"] = "image"
    axes: str = "RAS"
    downsample: int = 1
    allow_cut: bool = False

    def refuse(self, problems: list[str]) -> None:
        """Raise a UserError for these problems and for values that cannot be."""
        check_axes(self.axes)
        wrong = [
            (self.normalisation not in get_args(Normalisation),
             f"normalisation={self.normalisation}: use z-norm, minmax or voxel"),
            (self.mask not in MASKS, f"mask={self.mask}: use one of {', '.join(MASKS)}"),
            (self.centre not in ("image", "brain"), f"centre={self.centre}: use image or brain"),
            (self.downsample < 1, f"downsample={self.downsample} must be at least 1"),
        ]  # fmt: skip
        if problems := problems + [text for bad, text in wrong if bad]:
            raise UserError("volumes cannot be stored so: " + "; ".join(problems))


def check_axes(axes: str) -> None:
    """Refuse what is not three letters, one of each pair."""
    if len(axes) != 3 or sorted(sum((c in pair) for c in axes) for pair in LETTERS) != [1, 1, 1]:
        raise UserError(f"axes={axes}: give one letter of each of L/R, P/A and I/S, for example RAS or LAS")


def box_problems(box: tuple[int, ...]) -> list[str]:
    """What is wrong with a box."""
    return [] if len(box) == 3 and min(box) >= 1 else [f"box={list(box)}: three sizes of at least 1"]


@dataclass(frozen=True)
class Scaling:
    """``(frame - centre) / spread`` in the brain, ``background`` elsewhere.

    Attributes
    ----------
    centre, spread
        One number for the scan, or one per voxel [X, Y, Z], in the scan's unit.
    brain
        bool [X, Y, Z]: voxels that have a value at all.
    background
        Value of everything else, already scaled.
    """

    centre: FloatArray | float
    spread: FloatArray | float
    brain: BoolArray
    background: float
    _last: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def apply(self, frame: FloatArray, inside: BoolArray, dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
        """Scale one frame [X, Y, Z]; ``inside`` says which of its voxels are brain."""
        last = self._last.get("inside")
        if last is None or not np.array_equal(inside, last):  # nearly always the same as in the frame before
            at = np.flatnonzero(inside & self.brain)
            self._last.update(inside=inside, at=at, centre=_at(self.centre, at), spread=_at(self.spread, at))
        result = np.full(frame.shape, self.background, dtype)
        values = frame.ravel()[self._last["at"]]
        result.ravel()[self._last["at"]] = (values - self._last["centre"]) / self._last["spread"]
        return result


def _at(value: FloatArray | float, voxels: NDArray[np.intp]) -> Any:
    return value if isinstance(value, float) else value.ravel()[voxels]


class VoxelSums:
    """Sums over frames at every voxel: all that any of the normalisations asks for.

    Parameters
    ----------
    shape
        Of one frame.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.frames = 0
        self._n = np.zeros(shape, np.int64)
        # Sums are taken of the distance from the first value, so that a small fluctuation on a large base is kept.
        self._first, self._sum, self._square = (np.zeros(shape) for _ in range(3))
        self._low, self._high = np.full(shape, np.inf), np.full(shape, -np.inf)
        self._run: _Run | None = None

    def add(self, frame: FloatArray, inside: BoolArray) -> None:
        """Add one frame; voxels that are not ``inside`` do not count."""
        self.frames += 1
        if self._run is None or not np.array_equal(inside, self._run.inside):
            self._close_run()
            np.copyto(self._first, frame, where=inside & (self._n == 0))
            self._run = _Run(inside, self._first)
        self._run.add(frame)

    def _close_run(self) -> None:
        """Add the sums over the last frames of equal brain to those of the scan."""
        run, self._run = self._run, None
        if run is None:
            return
        at = run.voxels
        for whole, part in ((self._n, run.n), (self._sum, run.sum), (self._square, run.square)):
            whole.ravel()[at] += part
        np.minimum.at(self._low.ravel(), at, run.low)
        np.maximum.at(self._high.ravel(), at, run.high)

    @property
    def n(self) -> NDArray[np.int64]:
        """Frames in which each voxel counts."""
        self._close_run()
        return self._n

    def mean(self) -> NDArray[np.float64]:
        """Mean over the frames in which a voxel counts, 0 where it never does."""
        self._close_run()
        return np.asarray(self._first + self._sum / np.maximum(self._n, 1))

    def scaling(
        self, method: Normalisation = "z-norm", *, zero_background: bool = False, leave_out: BoolArray | None = None
    ) -> Scaling:
        """The scaling that these frames ask for.

        Parameters
        ----------
        method
            "z-norm": one mean and (unbiased) standard deviation for all brain voxels and frames, as published
            (anatomy dominates); "minmax": to 0..1; "voxel": each voxel over time, so that only fluctuation remains
            (a voxel that does not vary becomes background).
        zero_background
            Background is 0 instead of the lowest scaled value.
        leave_out
            bool [X, Y, Z]: voxels that are not to be used.

        Raises
        ------
        UserError
            Nothing varies inside the brain.
        """
        brain = self.n > 0
        if leave_out is not None:
            brain &= ~leave_out
        if method == "voxel":
            brain &= self._high > self._low
        if not brain.any() or self._low[brain].min() == self._high[brain].max():
            raise UserError("the volumes have no variance inside the brain")
        n, mean = self.n, self.mean()
        within = np.maximum(self._square - self._sum**2 / np.maximum(n, 1), 0.0)
        centre: FloatArray | float
        spread: FloatArray | float
        if method == "voxel":
            centre, spread = mean, np.where(brain, np.sqrt(within / np.maximum(n - 1, 1)), 1.0)
            lowest = float(((self._low[brain] - centre[brain]) / spread[brain]).min())
        elif method in ("z-norm", "minmax"):
            low, count = float(self._low[brain].min()), int(n[brain].sum())
            if method == "minmax":
                centre, spread = low, float(self._high[brain].max()) - low
            else:
                centre = float((n[brain] * mean[brain]).sum() / count)
                total = within[brain].sum() + (n[brain] * (mean[brain] - centre) ** 2).sum()
                spread = float(np.sqrt(total / (count - 1)))
            lowest = (low - centre) / spread
        else:
            raise ValueError(f"normalisation must be z-norm, minmax or voxel, not {method!r}")
        return Scaling(centre, spread, brain, 0.0 if zero_background else lowest)


class _Run:
    """Sums over frames with the very same brain voxels, of these alone: four times fewer than in a frame."""

    def __init__(self, inside: BoolArray, first: NDArray[np.float64]) -> None:
        self.inside, self.voxels, self.n = inside, np.flatnonzero(inside), 0
        self._first = first.ravel()[self.voxels]
        self.sum, self.square = np.zeros(len(self.voxels)), np.zeros(len(self.voxels))
        self.low, self.high = np.full(len(self.voxels), np.inf), np.full(len(self.voxels), -np.inf)

    def add(self, frame: FloatArray) -> None:
        values = frame.ravel()[self.voxels]
        np.minimum(self.low, values, out=self.low)
        np.maximum(self.high, values, out=self.high)
        distance = values - self._first
        self.n += 1
        self.sum += distance
        self.square += np.square(distance, out=distance)


@dataclass(frozen=True)
class Placement:
    """Which part of a frame goes where in a box; the rest of the box is padding."""

    box: Box
    source: tuple[slice, ...]
    target: tuple[slice, ...]

    @classmethod
    def centred(cls, shape: tuple[int, ...], box: Box, around: BoolArray | None = None) -> Placement:
        """Centre crop or pad of the whole frame, or of the bounding box of ``around``.

        Of an odd difference the larger part is cut or padded behind.
        """
        source, target = [], []
        for axis, (have, want) in enumerate(zip(shape, box, strict=True)):
            first, size = 0, have
            if around is not None:
                there = np.flatnonzero(around.any(axis=tuple(a for a in range(3) if a != axis)))
                first, size = int(there[0]), int(there[-1] - there[0]) + 1
            start = first + max(size - want, 0) // 2 - max(want - size, 0) // 2
            begin, end = max(start, 0), min(start + want, have)
            source.append(slice(begin, end))
            target.append(slice(begin - start, end - start))
        return cls(box, tuple(source), tuple(target))

    def n_cut(self, brain: BoolArray) -> int:
        """Brain voxels that fall outside the box."""
        return int(brain.sum() - brain[self.source].sum())

    def place(self, frame: NDArray[Any], fill: float) -> NDArray[Any]:
        """The frame in its box."""
        result = np.full(self.box, fill, frame.dtype)
        result[self.target] = frame[self.source]
        return result


def refuse_cut(placement: Placement, brain: BoolArray, hint: str = "choose a larger one") -> None:
    """Raise a UserError when brain voxels fall outside the box."""
    if n := placement.n_cut(brain):
        sides = [np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        spans = " x ".join(str(int(side[-1] - side[0]) + 1) for side in sides)
        raise UserError(
            f"{n} brain voxels lie outside a box of {' x '.join(map(str, placement.box))} "
            f"(the brain spans {spans}): {hint}"
        )


def block_mean(frame: FloatArray, inside: BoolArray, factor: int) -> tuple[NDArray[np.float64], BoolArray]:
    """A coarser frame: the mean over the brain voxels of every cube of ``factor`` voxels a side.

    A cube is brain when at least half of its voxels are; cubes are centred on the frame, which is padded with
    background up to whole ones.
    """
    if factor == 1:
        return np.asarray(frame, np.float64), inside
    margins = [((-size % factor) // 2, -size % factor - (-size % factor) // 2) for size in frame.shape]
    values = np.pad(np.where(inside, frame, 0.0), margins)
    x, y, z = (size // factor for size in values.shape)
    cubes = (x, factor, y, factor, z, factor)
    count = np.pad(inside, margins).reshape(cubes).sum(axis=(1, 3, 5))
    total = values.reshape(cubes).sum(axis=(1, 3, 5))
    return np.asarray(total / np.maximum(count, 1)), 2 * count >= factor**3
