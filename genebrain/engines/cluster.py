"""Shares on the workers of a Dask cluster: on this machine, behind an address, or started as SLURM jobs.

Dask moves the shares of a lost worker to others; what it cannot know is looked at here: that every worker runs this
version and sees the shared folder, how often a share failed, and that a scheduler which was started anew gets the rest
of the work again.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from genebrain import __version__
from genebrain.common.files import StorageError, write_private
from genebrain.common.types import UserError
from genebrain.common.words import counted
from genebrain.engines.settings import EngineSettings, SlurmJobs
from genebrain.engines.share import Outcome, Share, Work, WorkerError, attempt, failed

log = logging.getLogger(__name__)

AHEAD = 3
"""Shares in the hands of the scheduler per worker: enough to keep it busy, few enough to be lost."""
PROBE = ".seen-by-workers"
_LOST = "its worker was lost"


class Cluster:
    """A connection to Dask, with the workers that it started.

    Parameters
    ----------
    settings : EngineSettings

    Raises
    ------
    UserError
        Dask is not installed, nobody answers, no worker comes.
    """

    def __init__(self, settings: EngineSettings) -> None:
        try:
            import distributed
        except ImportError:
            raise UserError(
                "engine=dask needs Dask Distributed, which is not installed: pip install 'genebrain[cluster]'"
            ) from None
        self._dask, self._settings = distributed, settings
        self._own: Any = None
        self._run = itertools.count()
        if settings.address is None:
            self._own = (
                _slurm(settings.slurm)
                if isinstance(settings.slurm, SlurmJobs)
                else local_cluster(self._settings.workers)
            )
        self._client = self._connect()

    def close(self) -> None:
        """Leave a running cluster as it is; end the workers that were started here."""
        with suppress(Exception):
            self._client.close()
        if self._own is not None:
            self._own.close()

    def run(
        self, work: Work, shares: Sequence[Share], place: Path, *, shared: Any, what: str
    ) -> Iterator[tuple[Share, Any]]:
        """See :func:`genebrain.engines.run.run_shares`."""
        token = secrets.token_hex(8)
        write_private(place / PROBE, token.encode())
        try:
            yield from self._run_seen(work, shares, (str(place.absolute()), token, __version__), shared, what)
        finally:
            (place / PROBE).unlink(missing_ok=True)

    def _run_seen(
        self, work: Work, shares: Sequence[Share], seen: tuple[str, str, str], shared: Any, what: str
    ) -> Iterator[tuple[Share, Any]]:
        # The largest come first: one at the end would keep a single worker busy.
        waiting, under_way = sorted(shares, key=lambda share: -share.size)[::-1], dict[Any, Share]()
        tries, reasons = dict[str, int](), list[tuple[Share, str]]()
        lost = 0
        sent = self._begin(work, seen, shared)
        while waiting or under_way:
            try:
                while waiting and len(under_way) < AHEAD * max(1, self._n_threads()):
                    share = waiting.pop()
                    under_way[self._submit(work, share, seen, sent)] = share
                for future, outcome in self._finished(under_way):
                    share = under_way.pop(future)
                    if outcome.fatal:
                        raise StorageError(str(outcome.reason))
                    if outcome.reason is None:
                        lost = 0
                        yield share, outcome.result
                        continue
                    tries[share.key] = tries.get(share.key, 0) + 1
                    if tries[share.key] < self._settings.tries:
                        waiting.append(share)
                    else:
                        reasons.append((share, outcome.reason))
            except (self._dask.CancelledError, self._dask.comm.CommClosedError, OSError, TimeoutError) as error:
                if isinstance(error, StorageError):
                    raise
                lost += 1
                waiting += under_way.values()
                under_way = {}
                self._again(lost, len(waiting), len(shares))
                sent = self._begin(work, seen, shared)
        if reasons:
            raise failed(what, reasons, len(shares), self._settings.tries)

    def _submit(self, work: Work, share: Share, seen: tuple[str, str, str], sent: Any) -> Any:
        key = f"{work.__name__}-{share.key}-{next(self._run)}-{secrets.token_hex(4)}"
        return self._client.submit(on_worker, work, sent, share.given, seen, key=key, pure=False)

    def _finished(self, under_way: dict[Any, Share]) -> Iterator[tuple[Any, Outcome]]:
        """Futures that are done, with what became of them; waits for the first."""
        with self._client.as_current(), suppress(TimeoutError, self._dask.TimeoutError):
            self._dask.wait(list(under_way), timeout=2, return_when="FIRST_COMPLETED")
        if self._client.status not in ("running", "newly-connected"):
            raise OSError("the scheduler is gone")
        for future in [one for one in under_way if one.done()]:
            if future.cancelled() or future.status == "lost":
                raise self._dask.CancelledError(future.key)
            error = future.exception()
            if error is None:
                yield future, future.result()
            elif isinstance(error, self._dask.KilledWorker):
                yield future, Outcome(reason=f"{_LOST} (out of memory?)")
            elif isinstance(error, (self._dask.CancelledError, self._dask.comm.CommClosedError)):
                raise error
            else:
                yield future, Outcome(reason=f"{type(error).__name__}: {error}"[:500])

    def _begin(self, work: Work, seen: tuple[str, str, str], shared: Any) -> Any:
        """Wait for a worker, look at all that are there, and send what is the same for all shares."""
        patience = self._settings.patience_s
        try:
            self._client.wait_for_workers(1, timeout=patience)
        except (TimeoutError, self._dask.TimeoutError):
            raise UserError(
                f"no worker came to {self._client.scheduler.address} in {patience:g} s: start some with "
                f"'dask worker ADDRESS' (or wait longer with engine.patience_s=...)"
            ) from None
        found = self._client.run(worker_problem, *seen, on_error="return")
        problems = [f"{address}: {problem}" for address, problem in found.items() if problem]
        if problems:
            shown = "; ".join(problems[:5])
            raise WorkerError(f"{len(problems)} of {counted(len(found), 'worker')} cannot do this work: {shown}")
        # All at once: what is sent reaches one worker after the other, each of which would import for seconds first.
        self._client.run(importlib.import_module, work.__module__)
        return None if shared is None else self._client.scatter([shared], broadcast=True, hash=False)[0]

    def _again(self, lost: int, left: int, total: int) -> None:
        """Connect anew after the scheduler was lost."""
        address = self._client.scheduler.address if self._client.scheduler else self._settings.address
        words = f"{total - left} of {counted(total, 'share')} are done and kept; the same command goes on"
        if lost > 3:
            raise UserError(f"the scheduler {address} was lost {lost} times in a row; {words}")
        log.warning(f"note: the scheduler {address} was lost; {counted(left, 'share')} are sent again")
        with suppress(Exception):
            self._client.close()
        try:
            self._client = self._connect()
        except UserError as error:
            raise UserError(f"{error}; {words}") from error

    def _connect(self) -> Any:
        target = self._own if self._own is not None else self._settings.address
        end = time.monotonic() + self._settings.patience_s
        while True:
            try:
                return self._dask.Client(
                    target, timeout=max(1.0, min(10.0, end - time.monotonic())), set_as_default=False
                )
            except TypeError as error:  # no certificates were set up
                words = (
                    f"no connection to engine.address={self._settings.address}: {' '.join(str(error).split())[:200]}"
                )
                raise UserError(f"{words}; tls:// needs certificates in Dask's own configuration") from error
            except (OSError, TimeoutError, ValueError) as error:
                if isinstance(error, ValueError) or time.monotonic() > end:
                    raise UserError(
                        f"no Dask scheduler answers at engine.address={self._settings.address} "
                        f"({' '.join(str(error).split())[:200]}): start one with 'dask scheduler', or leave it out"
                    ) from error

    def _n_threads(self) -> int:
        return sum(self._client.nthreads().values())


def local_cluster(workers: int, **more: Any) -> Any:
    """Worker processes of this machine; nothing listens outside it, and any number of them fits on it."""
    import distributed

    options = {"threads_per_worker": 1, "processes": True, "host": "127.0.0.1", "dashboard_address": None} | more
    # Without a dashboard there is still a server, whose own port (8787) another run may hold.
    options["scheduler_kwargs"] = {"dashboard_address": "127.0.0.1:0"}
    return distributed.LocalCluster(n_workers=workers, **options)


def on_worker(work: Work, shared: Any, arguments: tuple[Any, ...], seen: tuple[str, str, str]) -> Outcome:
    """One try of a share, in a worker process."""
    if problem := worker_problem(*seen):
        return Outcome(reason=f"a worker that came later cannot do this work: {problem}", fatal=True)
    _take_gpu()
    return attempt(work, shared, arguments)


def worker_problem(place: str, token: str, version: str) -> str:
    """What keeps a worker from this work, in words; empty if nothing does."""
    import genebrain

    if genebrain.__version__ != version:
        return f"it runs genebrain {genebrain.__version__}, this is {version}: start workers from the same environment"
    try:
        there = (Path(place) / PROBE).read_text(encoding="utf-8")
    except OSError as error:
        return f"it cannot read {place} ({error.strerror}): workers need the shared folder under the same path"
    if there != token:
        return f"its {place} is another folder than the one here: workers need the shared folder under the same path"
    return "" if os.access(place, os.W_OK) else f"it cannot write to {place}: check permissions on the worker's machine"


def _take_gpu() -> None:
    """Give each worker process of a machine a GPU of its own, where there are several."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or torch.cuda.device_count() < 2:
        return
    import distributed

    name = str(distributed.get_worker().name)  # 0, 1, ... on one machine; SLURMCluster-3-0 within a job
    number = name.rpartition("-")[2]
    torch.cuda.set_device(int(number) % torch.cuda.device_count() if number.isdecimal() else 0)


def _slurm(jobs: SlurmJobs | None) -> Any:
    """Workers as SLURM jobs."""
    assert jobs is not None
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UserError(
            "engine.slurm needs dask-jobqueue, which is not installed: pip install 'genebrain[cluster]'"
        ) from None
    cluster = SLURMCluster(
        queue=jobs.partition, account=jobs.account, cores=jobs.cores, memory=jobs.memory, walltime=jobs.walltime,
        processes=jobs.processes or jobs.cores, job_extra_directives=list(jobs.directives),
        scheduler_options={"dashboard_address": ":0"},
    )  # fmt: skip
    cluster.scale(jobs=jobs.n_jobs)
    return cluster
