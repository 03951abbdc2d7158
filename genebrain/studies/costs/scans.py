"""What the scans of a cohort will cost: some of them are read into a folder that is thrown away."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from genebrain.cohort.participants import Cohort
from genebrain.cohort.restrict import restrict
from genebrain.common.types import UserError
from genebrain.engines.run import using
from genebrain.engines.settings import EngineSettings
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import EncoderSide
from genebrain.studies.costs.stages import Stage

PEOPLE, MOST_PEOPLE, READING_S = 3, 48, 6.0


def scan_stages(brain: ConnectomeSide | EncoderSide, cohort: Cohort) -> list[Stage]:
    """Reading of the scans, and their encoder where there is one; one core reads people drawn by lot."""
    order = np.random.default_rng(1).permutation(len(cohort))
    n = min(PEOPLE, len(cohort))
    while True:
        try:
            found = _timed(brain, cohort, np.sort(order[:n]))
        except UserError as error:
            why = f"{n} people could not be read: {' '.join(str(error).split())[:120]}"
            return [Stage("scans", None, True, 0.0, why)]
        if found[0] > READING_S or n >= min(MOST_PEOPLE, len(cohort)):
            break
        n = min(4 * n, MOST_PEOPLE, len(cohort))
    reading, encoding, stored, embedded = found
    times = len(cohort) / n
    stages = [Stage("scans", reading * times, True, stored * times, f"scans of {n} people")]
    if isinstance(brain, EncoderSide) and brain.scaling != "cohort":
        stages.append(Stage("scan encoder", encoding * times, True, embedded * times, f"scans of {n} people"))
    return stages


def _timed(
    brain: ConnectomeSide | EncoderSide, cohort: Cohort, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[float, float, float, float]:
    """Seconds to read and to encode, bytes of both, for these people."""
    few = restrict(cohort, rows, "not in the sample")
    with TemporaryDirectory() as name, using(EngineSettings(workers=1)):
        store, started = Path(name), time.monotonic()
        brain.ingest(few, store, progress=False)
        read, stored = time.monotonic() - started, _size(store)
        started = time.monotonic()
        if isinstance(brain, EncoderSide) and brain.scaling != "cohort":
            brain.window_vectors(few, store, np.empty(0, np.int64), progress=False)
        return read, time.monotonic() - started, stored, _size(store) - stored


def _size(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
