"""Shares for tests, in a module that worker processes find."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from genebrain.common.files import StorageError, write_private
from genebrain.common.types import UserError
from genebrain.engines.share import Share, name_of


def shares(numbers: range | list[int]) -> list[Share]:
    return [Share(name_of("number", n), (n,)) for n in numbers]


def square(shared: int, number: int) -> int:
    return number * number + shared


def square_but_not_seven(shared: object, number: int) -> int:
    if number == 7:
        raise UserError("seven is no good")
    return number * number


def never_room(shared: object, number: int) -> int:
    raise StorageError("can not write to place: No space left on device")


def counts_tries(folder: str, number: int) -> int:
    """Fails the first time, in any process."""
    mark = Path(folder) / f"tried-{number}"
    if mark.exists():
        return number
    write_private(mark, b"")
    raise ValueError("once")


def dies_once(folder: str, number: int) -> int:
    """The worker that gets number 3 first is killed."""
    mark = Path(folder) / "killed"
    if number == 3 and not mark.exists():
        write_private(mark, str(os.getpid()).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def always_dies_at_three(shared: object, number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def waits_for_the_restart(folder: str, number: int) -> int:
    """The first three are quick, the others are not done before the scheduler was started anew."""
    if number < 3 or (Path(folder) / "restarted").exists():
        return number
    threading.Event().wait(600)
    return -1
