"""Cleaning of parcel series: which frames go, then confounds, trend and band-pass in one regression, then
scale.

Works on parcel series ``[frames, parcels]`` (averaging and linear cleaning commute, and parcels are a thousand times
smaller than voxels). The order is fixed and written into the provenance: parcel means -> frames dropped -> confounds
+ trend + band-pass together -> scaling. Doing these one after the other would bring back what an earlier step
removed (Lindquist et al., Human Brain Mapping 2019). Everything is done by ``nilearn.signal.clean`` and
``nilearn.interfaces.fmriprep.load_confounds``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.images.motion import still_frames
from genebrain.common.types import FloatArray, UserError
from genebrain.common.words import counted

if TYPE_CHECKING:
    import pandas as pd

ORDER = ["parcel summary", "drop frames", "confounds + trend + band-pass in one regression", "scaling"]
FEWEST_FRAMES_FOR_FILTER = 34  # a fifth-order Butterworth filter pads 33 frames on either side


@dataclass(frozen=True)
class Cleaning:
    """What to remove. The default removes nothing.

    Attributes
    ----------
    load_confounds
        Arguments of nilearn's load_confounds, e.g. {strategy: [motion, wm_csf], motion: basic}. It needs files with
        fMRIPrep names, and drops non-steady-state frames with any strategy.
    confound_columns
        Columns of the confounds tables, for files without fMRIPrep names.
    detrend
        Remove a linear trend.
    low_pass
        Upper end of the pass band, Hz.
    high_pass
        Lower end of the pass band, Hz.
    standardize
        None (keeps the relative variances of parcels), zscore_sample or psc (percent change).
    fd_threshold
        Framewise displacement, mm: frames above it are left out. Read from the confounds table under any of its usual
        names (:mod:`genebrain.brain.images.motion`). The only step that volumes know.
    """

    load_confounds: Mapping[str, Any] | None = None
    confound_columns: tuple[str, ...] = ()
    detrend: bool = False
    low_pass: float | None = None
    high_pass: float | None = None
    standardize: Literal["zscore_sample", "psc"] | None = None
    fd_threshold: float | None = None
    order: list[str] = field(default_factory=lambda: list(ORDER), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "confound_columns", tuple(self.confound_columns))
        low, high = self.low_pass, self.high_pass
        wrong = [
            (self.standardize not in (None, "zscore_sample", "psc"),
             f"standardize={self.standardize} is none of null, zscore_sample, psc"),
            (low is not None and low <= 0, f"low_pass={low} Hz must be above 0"),
            (high is not None and high <= 0, f"high_pass={high} Hz must be above 0"),
            (low is not None and high is not None and low <= high,
             f"low_pass={low} Hz must be above high_pass={high} Hz: the band between them is kept"),
            (self.fd_threshold is not None and self.fd_threshold <= 0,
             f"fd_threshold={self.fd_threshold} mm must be above 0"),
            (bool(self.load_confounds and self.confound_columns),
             "load_confounds and confound_columns: choose one source of confounds"),
        ]  # fmt: skip
        if problems := [text for bad, text in wrong if bad]:
            raise UserError("cleaning cannot be done so: " + "; ".join(problems))

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def name(self) -> str:
        """Short name of these settings, empty when nothing is removed: equal names, equal series."""
        if not self.active:
            return ""
        text = json.dumps(self.describe(), sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    @property
    def active(self) -> bool:
        """Whether there is anything to do."""
        return self.changes_values or self.fd_threshold is not None

    @property
    def filters(self) -> bool:
        """Whether frequencies are removed, for which the time between two frames must be known."""
        return self.low_pass is not None or self.high_pass is not None

    def too_fast(self, tr: float) -> list[str]:
        """Limits of the pass band, in words, that do not lie below the Nyquist frequency of ``tr`` s per frame."""
        limits = (("low_pass", self.low_pass), ("high_pass", self.high_pass))
        return [f"{name} {hz:g} Hz" for name, hz in limits if hz is not None and hz >= 0.5 / tr]

    @property
    def changes_values(self) -> bool:
        """Whether more is done than leaving out frames of motion."""
        return bool(
            self.load_confounds or self.confound_columns or self.detrend or self.low_pass or self.high_pass
        ) or (self.standardize is not None)

    def describe(self) -> dict[str, Any]:
        """The settings and their order, JSON-ready."""
        said = asdict(self)
        if self.fd_threshold is None:
            del said["fd_threshold"]  # stores and runs of before there was this choice keep their names
        return said


def clean(
    series: FloatArray,
    cleaning: Cleaning,
    *,
    tr: float,
    scan: Path | str | None = None,
    confounds: Path | str | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Clean one series.

    Parameters
    ----------
    series
        [frames, parcels], finite.
    tr
        Seconds between frames (needed for the band-pass).
    scan
        Path of the fMRIPrep image, beside which ``load_confounds`` finds its table.
    confounds
        Confounds table for ``confound_columns``.

    Returns
    -------
    cleaned
        float64 [kept frames, parcels].
    frame_numbers
        int64 [kept frames]: their positions in the recording; gaps are where frames were scrubbed.

    Raises
    ------
    UserError
        Confounds missing or of another length, a band-pass without time step, above the Nyquist frequency
        or on too few frames.
    """
    still = still_frames(cleaning.fd_threshold, confounds, len(series))
    if not cleaning.changes_values:
        return np.asarray(series, np.float64)[still], np.flatnonzero(still)
    from nilearn import signal  # 2 s and 100 MB, which scans without cleaning need not pay

    _check_filter(cleaning, tr, len(series))
    regressors, kept = _confounds(cleaning, len(series), scan, confounds)
    if not still.all():
        kept = np.flatnonzero(still) if kept is None else np.asarray(kept, np.int64)[still[kept]]
    if kept is not None and not len(kept):
        return np.empty((0, series.shape[1])), np.empty(0, np.int64)
    cleaned = signal.clean(
        np.asarray(series, np.float64),
        detrend=cleaning.detrend,
        standardize=cleaning.standardize,
        standardize_confounds=True,
        confounds=regressors,
        sample_mask=kept,
        low_pass=cleaning.low_pass,
        high_pass=cleaning.high_pass,
        t_r=None if np.isnan(tr) else tr,
        ensure_finite=False,
    )
    return np.asarray(cleaned), np.arange(len(series)) if kept is None else np.asarray(kept, np.int64)


def _check_filter(cleaning: Cleaning, tr: float, n_frames: int) -> None:
    if not cleaning.filters:
        return
    if np.isnan(tr):
        raise UserError("a band-pass needs the time step, but nobody states it: add tr to the scan table")
    if limits := cleaning.too_fast(tr):
        raise UserError(
            f"{' and '.join(limits)} not below the Nyquist frequency {0.5 / tr:.3g} Hz of a time step of {tr:g} s"
        )
    if n_frames < FEWEST_FRAMES_FOR_FILTER:
        raise UserError(f"a band-pass needs {FEWEST_FRAMES_FOR_FILTER} frames, the scan has {n_frames}")


def refuse_filter(cleaning: Cleaning, steps: Mapping[float | None, int]) -> None:
    """Refuse a band-pass that scans of these time steps cannot have.

    Parameters
    ----------
    cleaning
        Its pass band.
    steps
        Seconds per frame -> number of scans; None: nobody states it.

    Raises
    ------
    UserError
        A limit at or above the Nyquist frequency, or no time step, with the numbers of scans, all together.
    """
    total = counted(sum(steps.values()), "scan")
    problems = [
        f"{' and '.join(limits)} must lie below the Nyquist frequency of {n} of {total}, {0.5 / step:.3g} Hz at "
        f"{step:g} s per frame"
        for step, n in sorted((step, n) for step, n in steps.items() if step is not None)
        if (limits := cleaning.too_fast(step))
    ]
    if problems:
        problems[-1] += ": choose a lower frequency, or leave these scans out of the table"
    if unknown := steps.get(None, 0):
        problems.append(
            f"{unknown} of {total}: no known time step, and a band-pass needs it: add tr (seconds) to the scan table"
        )
    if problems:
        raise UserError("; ".join(problems))


def _confounds(
    cleaning: Cleaning, n_frames: int, scan: Path | str | None, confounds: Path | str | None
) -> tuple[pd.DataFrame | None, NDArray[np.int64] | None]:
    """Regressors [frames, columns] and the frames to keep (None = all)."""
    if cleaning.load_confounds:
        from nilearn.interfaces.fmriprep import load_confounds

        if scan is None:
            raise UserError("load_confounds needs an fMRIPrep image; use confound_columns for parcel tables")
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in cleaning.load_confounds.items()}
        try:
            table, kept = load_confounds(str(scan), **options)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"confounds cannot be loaded: {error}") from error
    elif cleaning.confound_columns:
        if confounds is None:
            raise UserError("confound_columns are asked for, but the scan has no confounds file")
        import pandas as pd

        from genebrain.common.table_files import as_numbers, decimal_comma, read_table

        source = read_table(confounds)
        lacking = [c for c in cleaning.confound_columns if c not in source.columns]
        if lacking:
            raise UserError(f"the confounds file lacks the column(s) {', '.join(lacking)}")
        read = {name: as_numbers(source[name]) for name in cleaning.confound_columns}
        if odd := {name: words for name, (_, words) in read.items() if words}:
            shown = "; ".join(f"{name}: {words[0]!r}{decimal_comma(words)}" for name, words in odd.items())
            raise UserError(f"cells of the confounds file are no numbers: {shown}")
        table = pd.DataFrame({name: values for name, (values, _) in read.items()})
        table, kept = table.fillna(table.mean()), None  # a derivative has no first value
    else:
        return None, None
    if len(table) != n_frames:
        raise UserError(f"the confounds have {len(table)} rows, the scan has {n_frames} frames")
    return table, kept
