"""Shares of a job array: every job works on its own, and all meet in one folder.

``shard=3/64`` takes every 64th share, ``shard=next`` one free share after the other. Whoever finds all shares done goes
on with their results; a job of ``shard=next`` waits for shares that others have begun, since these live, and takes over
those of a job that was killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from genebrain.common.files import StorageError
from genebrain.engines.claims import Claims
from genebrain.engines.shard import Shard
from genebrain.engines.share import Outcome, Share, Waiting, Work, attempt, failed

LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class ArrayJob:
    """One job of an array and the work that all of them do.

    Attributes
    ----------
    work, shares, shared, what, known
        See :func:`genebrain.engines.run.run_shares`.
    shard : Shard
        Which of the shares are this job's.
    folder : Path
        Where the jobs meet.
    tries : int
    bar : tqdm
    pause : function
        Waits for so many seconds.
    """

    work: Work
    shares: Sequence[Share]
    shard: Shard
    folder: Path
    shared: Any
    what: str
    tries: int
    bar: tqdm[Any]
    known: Mapping[str, Any]
    pause: Callable[[float], None] = time.sleep

    def results(self) -> Iterator[tuple[Share, Any]]:
        """Work out this job's shares; then the results of all (JSON-ready), if all are done.

        Raises
        ------
        Waiting
            Shares of other jobs are not there yet (``shard=i/n``).
        FailedSharesError, StorageError
            See :func:`genebrain.engines.run.run_shares`.
        """
        try:
            results = self._worked_out()
        except (StorageError, OSError):
            if self.folder.is_dir():
                raise
            return  # another job was done with all of it, and has tidied up
        yield from results

    def _worked_out(self) -> list[tuple[Share, Any]]:
        own = [s for number, s in enumerate(self.shares) if self.shard.has(number) and s.key not in self.known]
        with Claims(self.folder) as claims:
            for share in own:  # what failed in an earlier run may have been mended
                if claims.reason(share.key) is not None:
                    claims.forget(share.key)
            wait = 0.1
            while True:
                began = self._pass(own, claims)
                left = [share for share in own if not claims.done(share.key) and claims.reason(share.key) is None]
                if not left or not self.shard.claims:
                    break
                if not began:  # all that is left is with other jobs
                    self.pause(wait)
                    wait = min(2 * wait, LONGEST_PAUSE_S)
            reasons = [(share, reason) for share in own if (reason := claims.reason(share.key)) is not None]
            if reasons:
                raise failed(self.what, reasons, len(self.shares), self.tries)
            missing = sum(share.key not in self.known and not claims.done(share.key) for share in self.shares)
            if missing:
                raise Waiting(self.what, missing, len(self.shares))
            return [(s, self.known[s.key] if s.key in self.known else claims.result(s.key)) for s in self.shares]

    def _pass(self, shares: Sequence[Share], claims: Claims) -> int:
        """Do every share that is free; returns how many were."""
        began = 0
        for share in shares:
            if claims.reason(share.key) is not None or not claims.take(share.key):
                continue
            began += 1
            outcome, arguments = Outcome(), share.given
            for _ in range(self.tries):
                outcome = attempt(self.work, self.shared, arguments)
                if outcome.reason is None or outcome.fatal:
                    break
            if outcome.fatal:
                claims.release(share.key)
                raise StorageError(str(outcome.reason))
            if outcome.reason is not None:
                claims.fail(share.key, outcome.reason)
            else:
                claims.finish(share.key, outcome.result)
                self.bar.update(share.size)
        return began
