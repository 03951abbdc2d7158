"""Shares on this machine: in this process, or spread over worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from genebrain.common.files import StorageError
from genebrain.engines.share import Outcome, Share, Work, attempt, failed


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
