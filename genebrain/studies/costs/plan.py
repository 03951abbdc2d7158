"""The cost of a whole study before it runs: genomes, scans, fit and evaluation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.choice import MANY
from genebrain.cohort.participants import Cohort
from genebrain.cohort.restrict import restrict
from genebrain.common.types import UserError
from genebrain.common.words import counted
from genebrain.engines.run import using
from genebrain.engines.settings import EngineSettings
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.person_vectors import vectors_of_windows
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.studies.costs.closed_form import Pace, columns_of, table_seconds
from genebrain.studies.costs.genomes import genome_stages
from genebrain.studies.costs.stages import Stage, summary

PEOPLE, MOST_PEOPLE, READING_S = 3, 48, 6.0

MEASURED = {"fit (closed form)": 90.0, "evaluate (no comparisons)": 35.0}
"""Core seconds of 10,000 people, 38 windows and 80 parcels, beside the tables and what the smallest cohort takes."""
MEASURED_PEOPLE, MEASURED_WINDOWS, MEASURED_CORES = 10_000, 38, 1
LEAST_S, RACE_S = 20.0, 60.0
"""Seconds of the smallest cohort (choices are made in cross-validation), and of kinds of scan features that race."""
TRAINING = 2 / 3
"""Share of people who are trained on."""
RUN_BYTES = 2e4
"""Of a run folder, per person."""


def plan_costs(
    cohort: Cohort, gene: GenomeSide, brain: BrainSide, *, workers: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Work of the DNA encoder (empty for vectors), and time and disk of every stage; in about 20 seconds.

    Parameters
    ----------
    workers : int, optional
        Cores that the shares are spread over.
    """
    stages, work = list[Stage](), dict[str, Any]()
    n_windows, columns = MEASURED_WINDOWS, 0
    if isinstance(gene, GeneSide):
        work, stages = genome_stages(gene, cohort)
        windows = read_windows(cohort.windows)
        n_windows, columns = len(windows), columns_of(sum(window.end - window.start for window in windows))
    if isinstance(brain, (ConnectomeSide, EncoderSide)):
        stages += scan_stages(brain, cohort)
    size = len(cohort) * n_windows / (MEASURED_PEOPLE * MEASURED_WINDOWS)
    basis = f"rough: measured on {MEASURED_PEOPLE:,} people x {MEASURED_WINDOWS} windows, in proportion"
    for number, (name, seconds) in enumerate(MEASURED.items()):
        core_seconds, disk, why = (LEAST_S + seconds * size) * MEASURED_CORES, 0.0, basis
        if number == 0:
            disk = RUN_BYTES * len(cohort)
        if number == 0 and columns:
            core_seconds += table_seconds(len(cohort), columns, Pace.measured())
            core_seconds += RACE_S * (TRAINING * len(cohort) > MANY)
            why = f"{basis}; and tables of about {columns:,} gene columns"
        stages.append(Stage(name, core_seconds, False, disk, why))
    return work, summary(stages, os.cpu_count() or 1, workers)


def scan_stages(brain: ConnectomeSide | EncoderSide, cohort: Cohort) -> list[Stage]:
    """Reading of the scans, and their encoder where there is one; one core reads people drawn by lot."""
    order = np.random.default_rng(1).permutation(len(cohort))
    n = min(PEOPLE, len(cohort))
    while True:
        try:
            found = _timed(brain, cohort, np.sort(order[:n]))
        except UserError as error:
            why = f"{counted(n, 'person')} could not be read: {' '.join(str(error).split())[:120]}"
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
            vectors_of_windows(brain, few, store, np.empty(0, np.int64), progress=False)
        return read, time.monotonic() - started, stored, _size(store) - stored


def _size(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
