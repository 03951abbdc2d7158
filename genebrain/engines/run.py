"""Runner of shares, whichever engine does the work.

A verb chooses the engine once (:func:`using`); whatever it calls hands its shares to :func:`run_shares` and gets
results back in the order in which they are done. Shares are idempotent: what an engine loses (a worker, a scheduler, a
job) it runs again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genebrain.common.files import StorageError
from genebrain.common.types import UserError
from genebrain.common.words import no_bar
from genebrain.engines.settings import EngineSettings
from genebrain.engines.shard import Shard
from genebrain.engines.share import Outcome, Share, Work, attempt, failed

if TYPE_CHECKING:
    from genebrain.engines.cluster import Cluster

CLAIMS = "shares"
"""Folder within a place of work where the jobs of an array meet."""


@dataclass
class Engine:
    """The engine of a verb while it runs.

    Attributes
    ----------
    settings, shard
    cluster
        Connection to Dask, made when the first shares come.
    """

    settings: EngineSettings
    shard: Shard
    cluster: Cluster | None = None

    @property
    def is_array(self) -> bool:
        """Whether other jobs do the rest."""
        return self.shard.partial

    @property
    def is_dask(self) -> bool:
        """Whether work goes to the workers of Dask."""
        return self.settings.kind == "dask"


_current: ContextVar[Engine | None] = ContextVar("engine", default=None)


def current() -> Engine:
    """The engine in use; processes of this machine, unless :func:`using` said something else."""
    return _current.get() or Engine(EngineSettings(), Shard())


@contextmanager
def using(settings: EngineSettings | None = None, shard: Shard | None = None) -> Iterator[Engine]:
    """Choose the engine of everything that is called inside.

    Raises
    ------
    UserError
        ``shard`` with another engine than array.
    """
    settings, shard = settings or EngineSettings(), shard or Shard()
    if shard.partial and settings.kind == "dask":
        raise UserError(
            f"shard={shard} is for the jobs of an array, and engine=dask shares the work out itself: drop one"
        )
    engine = Engine(settings, shard)
    token = _current.set(engine)
    try:
        yield engine
    finally:
        _current.reset(token)
        if engine.cluster is not None:
            engine.cluster.close()


def run_shares(
    work: Work,
    shares: Sequence[Share],
    place: Path,
    *,
    shared: Any = None,
    what: str = "shares",
    unit: str = "share",
    progress: bool = True,
    workers: int | None = None,
    known: Mapping[str, Any] | None = None,
) -> Iterator[tuple[Share, Any]]:
    """Work out shares and give their results, in the order in which they are done.

    Parameters
    ----------
    work : function of a module
        ``work(shared, *share.arguments)``; what it returns is JSON-ready where jobs of an array may do it.
    shares : sequence of Share
    place : Path
        Folder of this work, which every worker sees; jobs of an array meet in ``place/shares``.
    shared : object
        The same for all shares: sent to a worker once, and kept there (a model).
    what, unit : str
        Of messages and of the bar.
    workers : int, optional
        Processes of this machine; 1 works in this process. By default the engine does the work.
    known : mapping, optional
        Results of shares that were done before, by their keys.

    Raises
    ------
    FailedSharesError
        Shares that failed ``engine.tries`` times, by name, after all others have been yielded.
    StorageError
        The disk is full or refuses; what was done before is kept.
    Waiting
        Shares of other jobs of an array are not there yet.
    UserError
        No cluster, workers of another version or without the folder.
    """
    from tqdm import tqdm

    engine, known = current(), known or {}
    total = sum(share.size for share in shares)
    with tqdm(total=total, desc=what, unit=unit, disable=no_bar(progress and shares)) as bar:
        if engine.is_array and workers is None:
            from genebrain.engines.array import ArrayJob

            folder, tries = place / CLAIMS, engine.settings.tries
            yield from ArrayJob(work, shares, engine.shard, folder, shared, what, tries, bar, known).results()
            return
        for share in shares:
            if share.key in known:
                bar.update(share.size)
                yield share, known[share.key]
        shares = [share for share in shares if share.key not in known]
        if engine.is_dask and workers is None and shares:
            from genebrain.engines.cluster import Cluster

            engine.cluster = engine.cluster or Cluster(engine.settings)
            results = engine.cluster.run(work, shares, place, shared=shared, what=what)
        else:
            number = engine.settings.workers if workers is None else workers
            results = run_local(work, shares, shared=shared, what=what, workers=number, tries=engine.settings.tries)
        for share, result in results:
            bar.update(share.size)
            yield share, result


def run_local(
    work: Work, shares: Sequence[Share], *, shared: Any, what: str, workers: int, tries: int
) -> Iterator[tuple[Share, Any]]:
    """See :func:`genebrain.engines.run.run_shares`."""
    left, reasons = dict(enumerate(shares)), dict[int, str]()
    for _ in range(tries):
        todo, stopped = list(left.items()), ""
        wanted = iter(todo)

        def listed(wanted: Iterator[tuple[int, Share]] = wanted) -> Iterator[tuple[int, Share]]:
            for one in wanted:
                if stopped:  # noqa: B023 - read while the pass runs: what is under way is the last
                    return
                yield one

        for number, outcome in _outcomes(work, shared, listed(), min(workers, len(todo))):
            if number is None:  # a worker was killed, for memory perhaps: what it held is tried again
                reasons |= dict.fromkeys(left, str(outcome.reason))
                break
            if outcome.fatal:
                stopped = str(outcome.reason)
            elif outcome.reason is not None:
                reasons[number] = outcome.reason
            else:
                yield left.pop(number), outcome.result
        if stopped:
            raise StorageError(stopped)
        if not left:
            return
    raise failed(what, [(share, reasons[number]) for number, share in left.items()], len(shares), tries)


def _outcomes(
    work: Work, shared: Any, wanted: Iterator[tuple[int, Share]], workers: int
) -> Iterator[tuple[int | None, Outcome]]:
    if workers <= 1:
        for number, share in wanted:
            yield number, attempt(work, shared, share.given)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pool = Parallel(n_jobs=workers, return_as="generator_unordered")
    try:
        yield from pool(delayed(_numbered)(number, work, shared, share.given) for number, share in wanted)
    except TerminatedWorkerError:
        yield None, Outcome(reason="its worker process was killed (out of memory?)")


def _numbered(number: int, work: Work, shared: Any, arguments: tuple[Any, ...]) -> tuple[int, Outcome]:
    return number, attempt(work, shared, arguments)
