"""Claims on shares through lock files in a shared folder, for jobs that know nothing of each other.

A claim is a file that only one process can make. Its holder touches it every few seconds; one that nobody has touched
for minutes, or whose process on this machine is gone, is stale and may be taken. Two jobs at one share at the worst do
it twice, with the same result.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from genebrain.common.files import explained, make_private, write_private
from genebrain.common.leftovers import gone, writer
from genebrain.common.reading import read_record

BEAT_S, STALE_S = 20.0, 600.0
AGAIN = "delete that file and run the same command again"


def in_work(folder: Path) -> bool:
    """Whether a living job holds a claim in a folder (which need not be there)."""
    for claim in folder.glob("*.claim"):
        with suppress(OSError):
            if not _stale(claim) and claim.exists():
                return True
    return False


def _stale(claim: Path) -> bool:
    """Whether the holder of a claim is gone, or has not touched it for too long; a claim that is not there is none."""
    try:
        if gone(claim.read_text(encoding="utf-8")):
            return True
        # The clocks of two machines may differ: the file system says what time it is.
        clock = claim.with_name(f".clock-{writer()}")
        clock.touch(mode=0o600)
        now = clock.stat().st_mtime
        clock.unlink(missing_ok=True)
        return now - claim.stat().st_mtime > STALE_S
    except FileNotFoundError:
        return False


class Claims:
    """Claims and results of the shares of some work; a context manager, which keeps its claims alive.

    Parameters
    ----------
    folder : Path
        Seen by all jobs; made if it is missing, private to its owner.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_private(folder)
        self._held: set[str] = set()
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> Self:
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._beat.join()
        for key in list(self._held):
            self.release(key)

    def take(self, key: str) -> bool:
        """Claim a share; False if another living process holds it, or it is done."""
        if self.done(key):
            return False
        path = self._claim(key)
        if path.exists() and _stale(path):
            with suppress(FileNotFoundError):  # another job was faster
                aside = path.with_name(f"{path.name}.{writer()}")
                path.rename(aside)
                aside.unlink()
        with explained(self.folder):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return False
            with os.fdopen(descriptor, "w") as stream:
                stream.write(writer())
        self._held.add(key)
        if self.done(key):  # finished between the look and the claim
            self.release(key)
            return False
        return True

    def release(self, key: str) -> None:
        """Give a claim back."""
        self._held.discard(key)
        self._claim(key).unlink(missing_ok=True)

    def finish(self, key: str, result: Any) -> None:
        """Note a result (JSON-ready): the share is done for every job."""
        write_private(self._done(key), json.dumps({"result": result}).encode())
        self._failed(key).unlink(missing_ok=True)
        self.release(key)

    def fail(self, key: str, reason: str) -> None:
        """Note a share that failed as often as it may, so that no other job begins it."""
        write_private(self._failed(key), json.dumps({"reason": reason}).encode())
        self.release(key)

    def done(self, key: str) -> bool:
        """Whether a share is done, by whom ever."""
        return self._done(key).is_file()

    def result(self, key: str) -> Any:
        """Result of a share that is done."""
        return read_record(self._done(key), AGAIN)["result"]

    def reason(self, key: str) -> str | None:
        """Why a share failed, in whichever job; None if it did not."""
        return read_record(self._failed(key), AGAIN)["reason"] if self._failed(key).is_file() else None

    def forget(self, key: str) -> None:
        """Take back that a share is done or failed."""
        self._done(key).unlink(missing_ok=True)
        self._failed(key).unlink(missing_ok=True)

    def _claim(self, key: str) -> Path:
        return self.folder / f"{key}.claim"

    def _done(self, key: str) -> Path:
        return self.folder / f"{key}.done.json"

    def _failed(self, key: str) -> Path:
        return self.folder / f"{key}.failed.json"

    def _keep_alive(self) -> None:
        while not self._ended.wait(BEAT_S):
            for key in list(self._held):
                with suppress(OSError):
                    os.utime(self._claim(key))
