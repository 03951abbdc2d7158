"""Settings of the engine: who works out the shares of a verb."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from genebrain.common.types import UserError

Kind = Literal["local", "dask", "array"]


_WRITTEN = (
    ("memory", r"\d+(\.\d+)? ?[kmgtp]i?b?", "16GB"),
    ("walltime", r"(\d+-)?\d+(:\d+){1,2}|\d+-\d+", "'12:00:00', hours:minutes:seconds"),
)
"""Words that SLURM and Dask would read as something else, or not at all, written in another way."""


@dataclass(frozen=True)
class SlurmJobs:
    """Jobs that ``engine=dask`` submits to SLURM, each of which starts workers.

    Parameters
    ----------
    n_jobs : int
        Jobs that are asked for; the work begins with the first that starts.
    cores : int
        Cores of a job; one worker process per core.
    memory : str
        Memory of a job, such as 16GB.
    walltime : str
        Longest time of a job, hours:minutes:seconds.
    partition, account : str, optional
        Where it runs and who is charged; None: the usual one of the cluster.
    processes : int, optional
        Worker processes of a job, if not one per core: 1 for a job with one GPU.
    directives : sequence of str
        More lines of #SBATCH, such as --gpus=1.
    """

    n_jobs: int = 1
    cores: int = 1
    memory: str = "4GB"
    walltime: str = "01:00:00"
    partition: str | None = None
    account: str | None = None
    processes: int | None = None
    directives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "directives", tuple(map(str, self.directives)))
        wrong = [name for name in ("n_jobs", "cores", "processes") if not _positive(getattr(self, name))]
        if wrong:
            told = ", ".join(f"engine.slurm.{name}={getattr(self, name)}" for name in wrong)
            raise UserError(f"{told}: whole numbers from 1 are wanted")
        for name, form, example in _WRITTEN:
            given = getattr(self, name)
            if not isinstance(given, str) or not re.fullmatch(form, given.strip(), re.IGNORECASE):
                raise UserError(f"engine.slurm.{name}={given}: write it as {example}")

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> SlurmJobs:
        """Read ``{partition: long, cores: 8, ...}``; a name that is no option is a ``UserError``."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise UserError(f"engine.slurm has no option '{name}'{hint} (options: {', '.join(known)})")
        return cls(**given)


@dataclass(frozen=True)
class EngineSettings:
    """Who works out the shares of a verb.

    Parameters
    ----------
    kind : {"local", "dask", "array"}
        local: processes of this machine; dask: workers of a Dask cluster, here or elsewhere; array: the jobs of a job
        array, each with shard=i/n or shard=next, on a folder that all of them see.
    workers : int
        Worker processes on this machine, for local and for dask without address and slurm.
    address : str, optional
        Scheduler of a running Dask cluster, such as tcp://login1:8786.
    slurm : SlurmJobs, optional
        Start workers as SLURM jobs: {partition: long, cores: 8, memory: 32GB, walltime: "12:00:00", n_jobs: 20}.
    tries : int
        A share that fails so often is named at the end, when all others are done.
    patience_s : float
        Seconds to wait for a scheduler, or for the first worker.
    """

    kind: Kind = "local"
    workers: int = 2
    address: str | None = None
    slurm: SlurmJobs | Mapping[str, Any] | None = None
    tries: int = 3
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.slurm, Mapping):
            object.__setattr__(self, "slurm", SlurmJobs.parse(self.slurm))
        problems = []
        if self.slurm is not None and not isinstance(self.slurm, SlurmJobs):
            problems.append(f"engine.slurm={self.slurm}: write {{partition: {self.slurm}, cores: 8, memory: 32GB}}")
        if self.kind not in get_args(Kind):
            problems.append(f"engine.kind={self.kind}: use one of {', '.join(get_args(Kind))}")
        if not _positive(self.workers) or not _positive(self.tries):
            problems.append(f"engine.workers={self.workers}, engine.tries={self.tries}: at least 1 is wanted")
        if self.patience_s <= 0:
            problems.append(f"engine.patience_s={self.patience_s} must be above 0")
        if self.kind != "dask" and (self.address is not None or self.slurm is not None):
            problems.append(f"engine.address and engine.slurm belong to engine=dask, not to engine={self.kind}")
        if self.address is not None and self.slurm is not None:
            problems.append("engine.address and engine.slurm: a scheduler that runs, or one that is started; name one")
        if problems:
            raise UserError("; ".join(problems))


def _positive(number: int | None) -> bool:
    return number is None or (isinstance(number, int) and number >= 1)
