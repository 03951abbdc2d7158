"""Run folder: who may write into it, the cost of each stage, provenance."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from genebrain.common.alone import LOCK, alone_in, refuse_links
from genebrain.common.checksums import CHECKSUMS, digest_of, digests_below
from genebrain.common.files import replacing
from genebrain.common.hashing import content_digest
from genebrain.common.reading import read_json, read_record
from genebrain.common.types import UserError

__all__ = ["FORMAT", "RunFolder", "read_json", "refuse_another", "run_format", "write_json"]

FORMAT = 2
"""Of a run folder, in ``provenance.json``; the first said nothing. See :mod:`genebrain.runs.saved_features`."""
SETTINGS = "settings.json"
"""What a run folder was claimed for."""
UNCLAIMED = ("cohort", "checkpoints", "cost.json", LOCK)
"""What lies in a run folder before that."""
PACKAGES = ("genebrain", "torch", "pytorch-lightning", "transformers", "numpy", "scipy", "nibabel", "nilearn")


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write JSON so that a reader finds the old file or the whole new one."""
    content_bytes = as_json(content)
    with replacing(path, private=private) as partial:
        partial.write_bytes(content_bytes)


def as_json(content: Any) -> bytes:
    """What :func:`write_json` writes."""
    return json.dumps(content, indent=1, allow_nan=False).encode()


class RunFolder:
    """A run folder, opened for work.

    Parameters
    ----------
    path : Path
        Created with private mode (it will hold checkpoints derived from individual-level data).
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            refuse_links(self.path)
            self.checkpoints.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise UserError(
                f"cannot use run folder {self.path}: {error.strerror}; choose another run= (or out=)"
            ) from error
        if not os.access(self.path, os.W_OK):
            raise UserError(f"run folder {self.path} is read-only; choose another run= (or out=)")

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether a fit ended here: provenance is written last."""
        return (self.path / "provenance.json").exists()

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Make this folder the home of one experiment.

        Raises
        ------
        UserError
            If it holds another experiment, naming the settings that differ.
        """
        refuse_another(self.path, settings)
        path = self.path / SETTINGS
        if not path.exists():
            write_json(path, settings)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder against a second process, and sweep what killed ones left half-written.

        Raises
        ------
        UserError
            Another process works here; it is named.
        """
        with alone_in(self.path, "run folder"):
            if self.finished:
                self._drop_resuming()  # a kill came after the end
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; seconds of a stage that was interrupted and resumed add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            cost = self.cost()
            seconds = cost.setdefault("seconds", {})
            seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - start, 3)
            self.record(cost)

    def cost(self) -> dict[str, Any]:
        """Cost so far."""
        path = self.path / "cost.json"
        return read_record(path, "delete it (it holds only what the run cost)") if path.exists() else {}

    def record(self, numbers: Mapping[str, Any]) -> None:
        """Add numbers to the cost, with the peak memory of this process."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        megabytes = round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)
        cost = self.cost() | dict(numbers)
        cost["peak_rss_mb"] = max(megabytes, cost.get("peak_rss_mb", 0.0))
        write_json(self.path / "cost.json", cost)

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Mark the fit as complete, with versions and the commit of the code, and the checksums of all its files."""
        content = {"format": FORMAT, "finished": date.today().isoformat(), **_versions(), **provenance}
        write_json(self.path / CHECKSUMS, digests_below(self.path) | {"provenance.json": digest_of(as_json(content))})
        write_json(self.path / "provenance.json", content)  # last: it says that the rest is whole
        self._drop_resuming()

    def _drop_resuming(self) -> None:
        """Delete what only an unfinished training needs: weights with the state of their optimiser."""
        for place in (self.checkpoints, self.checkpoints / "training", self.checkpoints / "refit"):
            for left in place.glob("*.ckpt"):
                if left.is_dir() and not left.is_symlink():  # sharded
                    shutil.rmtree(left)
                else:
                    left.unlink()

    def write_result(self, name: str, content: Any) -> None:
        """Write JSON that came after the fit, with its checksum."""
        path = self.path / CHECKSUMS
        known = read_record(path) if path.exists() else None  # runs of older versions have none, and keep none
        if known is not None:
            known = {other: digest for other, digest in known.items() if other != name and (self.path / other).exists()}
            write_json(path, known)  # first without: whoever is killed in between leaves nothing that looks damaged
        write_json(self.path / name, content)
        if known is not None:
            write_json(path, known | {name: content_digest(self.path / name)})


def write_results(folder: Path, results: Mapping[str, Any], *others: str) -> None:
    """Write JSON into a folder that is no run itself (folds, a second cohort), with checksums of it and of others."""
    (folder / CHECKSUMS).unlink(missing_ok=True)  # whoever is killed in between leaves nothing that looks damaged
    for name, content in results.items():
        write_json(folder / name, content)
    write_json(folder / CHECKSUMS, {name: content_digest(folder / name) for name in (*results, *others)})


@contextmanager
def refused_leaves_nothing(run: Path | str) -> Iterator[None]:
    """Remove a run folder that was made inside, where the work is refused before it was claimed; but no store in it."""
    folder, new = Path(run), not Path(run).exists()
    try:
        yield
    except UserError:
        with suppress(UserError):  # somebody else works there
            if new and folder.is_dir() and all(one.name in UNCLAIMED for one in folder.iterdir()):
                with alone_in(folder):
                    shutil.rmtree(folder)
        raise


def refuse_another(run: Path | str, settings: Mapping[str, Any], not_yet_known: Sequence[str] = ()) -> None:
    """Raise a UserError for a folder that holds another experiment, naming the settings that differ.

    Nothing is written, so this can be asked before any work; ``not_yet_known`` are settings that only the work tells.
    """
    path = Path(run) / SETTINGS
    if not path.exists():
        return
    kept = read_record(path, "delete it if this folder holds this very experiment, or choose another run=")
    known = {key: value for key, value in kept.items() if key not in not_yet_known}
    if changed := differences(known, settings):
        raise UserError(
            f"run folder {run} holds another experiment ({len(changed)} setting(s) differ: {', '.join(changed[:5])}); "
            "choose another run= (or out=), or delete the folder"
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings that are not as they were, each with both values; what was not written was off, or did not exist."""
    then, wanted = _flat(before), _flat(json.loads(json.dumps(dict(now))))
    off = {key: value for key, value in wanted.items() if value is False or value == []}
    return [
        f"{key}: {then.get(key)} -> {wanted.get(key)}"
        for key in sorted(then.keys() | wanted.keys())
        if (off | then).get(key) != wanted.get(key)
    ]


def run_format(run: Path) -> int:
    """Format of a finished run folder.

    Raises
    ------
    UserError
        A newer one than this version of genebrain knows.
    """
    path = run / "provenance.json"
    found = read_record(path).get("format", 1)
    if not isinstance(found, int):
        raise UserError(f"{path} is damaged (format {found!r}); restore it from a copy, or fit again in another folder")
    if found > FORMAT:
        raise UserError(f"{run} has format {found}, and this version of genebrain reads up to {FORMAT}: update it")
    return found


def _versions() -> dict[str, Any]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {
        "versions": found,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the code when it runs from a checkout."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix: node}
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "_target_":  # where a settings class lies decides no number
            continue
        out |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out
