"""Head motion of simulated scans: six rigid-body parameters, their framewise displacement, what moved frames look like.

A scan's motion is drawn from a generator and a level alone, so it knows nothing of genome, trait or site.
Displacement is Power's (NeuroImage 2012) of the very parameters that are written. A frame that moved by more than
:data:`VISIBLE_MM` carries an artefact over all parcels, in proportion to each direction of the movement; all other
frames are those of the same scan without motion, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RADIUS_MM = 50.0
"""Of the head: a rotation moves its surface by so much per radian."""
VISIBLE_MM = 0.2
"""Framewise displacement above which a frame carries an artefact."""
RESTLESS_SHARE = 0.25
"""Of the people with one scan: those who jump often in it. With several scans everybody does, in one of them."""
JUMPS, RESTLESS_JUMPS = 0.02, 0.4
"""Share of the frames at which a head jumps, in a usual scan and in a restless one: the mean over scans."""
JUMP_MM, JUMP_SPREAD = 1.0, 0.6
"""Median size of a jump, and standard deviation of its logarithm."""
STILLNESS = 4.0
"""Shape of the gamma distribution of displacement between jumps."""
GAIN = 6.0
"""Artefact per mm, in units of the series (whose parcels have a standard deviation near one)."""
LEVEL = 0.6
"""Displacement between jumps, as a share of a person's usual one (with the jumps it is about that)."""
DECIMALS = 6
AXES = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
# Names by which nilearn's load_confounds finds the table of an image; it needs a first entity, `scan-000001`.
TABLE = "_desc-confounds_timeseries.tsv"
"""End of the name of a confounds table, as fMRIPrep writes it."""
IMAGE = "_desc-preproc_bold.nii.gz"
"""End of the name of an image beside which such a table is found."""
READING = (
    "The ceiling is an upper bound: that of the same cohort (same seed and settings) without motion. Frames that moved "
    f"by more than {VISIBLE_MM} mm carry artefacts, all others are those of that cohort, to the bit. Leaving them out "
    f"(fd_threshold={VISIBLE_MM}) leaves fewer frames, so that even a perfect method stays below the ceiling. The "
    "oracle reads the scans without motion."
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """Motion of a head during one scan.

    Attributes
    ----------
    parameters : float ``[frames, 6]``
        Shifts in mm and rotations in radians, as :data:`AXES`.
    displacement : float ``[frames]``
        Framewise displacement in mm; NaN for the first frame.
    """

    parameters: Floats
    displacement: Floats

    @classmethod
    def draw(cls, level: float, n_frames: int, rng: np.random.Generator, *, restless: bool) -> Motion:
        """Motion of a person whose usual mean displacement is ``level`` mm."""
        jumps = (RESTLESS_JUMPS if restless else JUMPS) * rng.uniform(0.5, 1.5)
        size = LEVEL * level * rng.gamma(STILLNESS, 1 / STILLNESS, n_frames - 1)
        jump = JUMP_MM * np.exp(JUMP_SPREAD * rng.standard_normal(n_frames - 1))
        size = np.where(rng.random(n_frames - 1) < jumps, size + jump, size)
        steps = size[:, None] * rng.dirichlet(np.ones(6), n_frames - 1) * rng.choice([-1.0, 1.0], (n_frames - 1, 6))
        path = np.vstack([np.zeros(6), np.cumsum(steps, axis=0)])
        path[:, 3:] /= RADIUS_MM
        # Displacement is that of the numbers that are written.
        parameters = path.round(DECIMALS)
        return cls(parameters, framewise(parameters))

    @property
    def mean_fd(self) -> float:
        """Mean framewise displacement in mm."""
        return float(np.nanmean(self.displacement))

    def disturb(self, series: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """The series ``[frames, parcels]`` with artefacts at moved frames; every scan has its own pattern per axis."""
        patterns = GAIN * rng.standard_normal((len(AXES), series.shape[1]))
        moved = np.flatnonzero(self.displacement > VISIBLE_MM)
        disturbed = series.copy()
        disturbed[moved] += (movements(self.parameters)[moved - 1] @ patterns).astype(np.float32)
        return disturbed

    def write(self, path: Path, series: NDArray[np.floating]) -> None:
        """Write the confounds table of a scan with the series ``[frames, parcels]``, under fMRIPrep's column names."""
        change = np.sqrt(np.square(np.diff(series.astype(np.float64), axis=0)).mean(axis=1))
        steps = np.diff(self.parameters, axis=0)
        unknown = np.full((1, len(AXES)), np.nan)
        columns = np.column_stack(
            [
                series.mean(axis=1, dtype=np.float64),
                np.concatenate([[np.nan], change / np.median(change)]),
                self.displacement,
                self.parameters,
                np.vstack([unknown, steps]),
            ]
        )
        names = ["global_signal", "std_dvars", "framewise_displacement", *AXES, *(f"{a}_derivative1" for a in AXES)]
        lines = ["\t".join(f"{value:.{DECIMALS}f}" for value in row) for row in columns]
        path.write_text("\n".join(["\t".join(names), *lines]).replace("nan", "n/a") + "\n")


def movements(parameters: Floats) -> Floats:
    """Signed way of the head from frame to frame along and around each axis, mm, ``[frames - 1, 6]``."""
    steps = np.diff(parameters, axis=0)
    steps[:, 3:] *= RADIUS_MM
    return steps


def framewise(parameters: Floats) -> Floats:
    """Power's framewise displacement ``[frames]`` in mm: the sum of all six ways; NaN for the first frame."""
    return np.concatenate([[np.nan], np.abs(movements(parameters)).sum(axis=1)])


def restless_scans(n_sessions: int, n_people: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which scans have many jumps, bool ``[sessions, people]``: one of several of each person, or a share of all."""
    if n_sessions == 1:
        return rng.random((1, n_people)) < RESTLESS_SHARE
    return np.arange(n_sessions)[:, None] == rng.integers(0, n_sessions, n_people)
