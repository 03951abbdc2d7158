"""Share of a long piece of work: how it is tried, and the words about those that are not done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from genebrain.common.files import StorageError
from genebrain.common.types import UserError
from genebrain.common.words import counted

SHOWN = 5
Work = Callable[..., Any]
"""``work(shared, *arguments)``: a function of a module, so that another process finds it."""


@dataclass(frozen=True)
class Share:
    """A piece of work that may be done twice with the same result, anywhere the shared folder is seen.

    Attributes
    ----------
    key : str
        Name by its content (:func:`name_of`); no ids of people.
    arguments : tuple
        Of the function that works it out.
    size : int
        Items in it, for the time left.
    load : function, optional
        Gives the arguments when the share is sent, where those of all shares are too large for memory.
    """

    key: str
    arguments: tuple[Any, ...]
    size: int = 1
    load: Callable[[], tuple[Any, ...]] | None = None

    @property
    def given(self) -> tuple[Any, ...]:
        """Arguments of the function."""
        return self.arguments if self.load is None else self.load()


@dataclass(frozen=True)
class Outcome:
    """What became of one try: a result, or a reason in words.

    Attributes
    ----------
    fatal : bool
        The reason is no fault of the share: the disk is full, the worker is no good. Nothing more is tried.
    """

    result: Any = None
    reason: str | None = None
    fatal: bool = False


class WorkerError(UserError):
    """A worker that cannot work for this run: another version, no shared folder."""


class FailedSharesError(UserError):
    """Shares that failed every time; all others are done."""


class Waiting(Exception):  # noqa: N818 - no error
    """Shares of other jobs are not there yet: no error, but nothing more can be done now.

    Parameters
    ----------
    what : str
        The kind of work, for the message.
    missing, total : int
        Shares.
    """

    def __init__(self, what: str, missing: int, total: int) -> None:
        super().__init__(
            f"{what}: this job's shares are stored; {missing} of {counted(total, 'share')} of other jobs are not there "
            "yet. When these have run, run the same command again, or without shard to finish"
        )


def name_of(*content: object) -> str:
    """Short name of some content, the same in every process."""
    digest = hashlib.blake2b(digest_size=12)
    for one in content:
        data = one if isinstance(one, bytes) else str(one).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def attempt(work: Work, shared: Any, arguments: tuple[Any, ...]) -> Outcome:
    """Try a share once; whatever happens becomes an :class:`Outcome`, but an interruption by the user."""
    try:
        return Outcome(work(shared, *arguments))
    except (StorageError, WorkerError) as error:
        return Outcome(reason=str(error), fatal=True)
    except Exception as error:
        words = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Outcome(reason=" ".join(words.split())[:500])


def failed(what: str, reasons: Iterable[tuple[Share, str]], total: int, tries: int) -> FailedSharesError:
    """The error that names the shares which failed, at the end."""
    listed = list(reasons)
    shown = "; ".join(f"{share.key} ({reason})" for share, reason in listed[:SHOWN])
    more = f"; and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return FailedSharesError(
        f"{what}: {len(listed)} of {counted(total, 'share')} failed {tries} times: {shown}{more}. The others are done "
        "and kept; mend the cause and run the same command again"
    )
