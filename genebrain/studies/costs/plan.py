"""The cost of a whole study before it runs: genomes, scans, fit and evaluation."""

from __future__ import annotations

import os
from typing import Any

from genebrain.cohort.participants import Cohort
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.studies.costs.closed_form import Pace, columns_of, table_seconds
from genebrain.studies.costs.genomes import genome_stages
from genebrain.studies.costs.scans import scan_stages
from genebrain.studies.costs.stages import Stage, summary

MEASURED = {"fit (closed form)": 371.0, "evaluate (no comparisons)": 373.0}
"""Seconds of 40,000 people with 12 windows and 80 parcels on two cores."""
MEASURED_PEOPLE, MEASURED_WINDOWS, MEASURED_CORES = 40_000, 12, 2
LEAST_S = 20.0
"""Seconds of the smallest cohort: choices are made in cross-validation."""
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
            why = f"{basis}; and tables of about {columns:,} gene columns"
        stages.append(Stage(name, core_seconds, False, disk, why))
    return work, summary(stages, os.cpu_count() or 1, workers)
