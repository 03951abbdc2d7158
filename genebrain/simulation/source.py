"""Source of a cohort: the user's own ``cohort.yaml``, or a known-answer cohort made on first use."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CohortSource:
    """A path, or the recipe of a simulated cohort.

    Parameters
    ----------
    path : str, optional
        A ``cohort.yaml``; when given, the other settings have no meaning.
    tier : str
        What to simulate, see ``genebrain simulate --help``.
    n_subjects : int
        People.
    seed : int
        Of the simulation.
    genomes : {"msprime", "chr20_1000g"}
        Simulated genomes, or real ones.
    scans : {"parcels", "nifti"}
        One table per scan, or 4D images for encoders of volumes.
    n_parcels : int
        Parcels of a scan; 424: those of A424, which BrainLM reads.
    mechanism : str
        How genomes shape a trait and the trait a scan, see ``genebrain simulate --help``.
    folder : str
        Where simulated cohorts are kept, one folder each, made once.
    """

    path: str | None = None
    tier: str = "smoke"
    n_subjects: int = 1500
    seed: int = 7
    genomes: Literal["msprime", "chr20_1000g"] = "msprime"
    scans: Literal["parcels", "nifti"] = "parcels"
    n_parcels: int = 80
    folder: str = "runs/cohorts"
    mechanism: str = "modes"

    def resolve(self) -> Path:
        """Return the path of ``cohort.yaml``, simulating the cohort if it does not exist yet."""
        if self.path is not None:
            return Path(self.path)
        kind = self.tier if self.mechanism == "modes" else self.mechanism
        name = f"{self.genomes}-{kind}-{self.n_subjects}-seed{self.seed}"
        name += "" if self.scans == "parcels" else f"-{self.scans}"
        name += "" if self.n_parcels == 80 else f"-{self.n_parcels}parcels"
        out = Path(self.folder) / name
        log.info(f"no cohort.path given: using the simulated cohort {out}")
        if (out / "cohort.yaml").exists():
            return out / "cohort.yaml"
        from genebrain.simulation.cohort import simulate_cohort

        return simulate_cohort(
            out,
            tier=self.tier,
            n_subjects=self.n_subjects,
            seed=self.seed,
            genomes=self.genomes,
            scans=self.scans,
            n_parcels=self.n_parcels,
            mechanism=self.mechanism,
        )


Source = CohortSource | Path | str


def path_of(cohort: Source) -> Path:
    """Path of the ``cohort.yaml`` that a verb is given, simulated at first use where it is a recipe."""
    return cohort.resolve() if isinstance(cohort, CohortSource) else Path(cohort)
