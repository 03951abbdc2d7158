"""The folder of one run: who may write into it, what each stage cost, where the numbers came from."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from genebrain.common.files import replacing
from genebrain.common.types import UserError

FORMAT = 2
"""Of a run folder, in ``provenance.json``; the first said nothing. See :mod:`genebrain.runs.saved_features`."""
PACKAGES = ("genebrain", "torch", "pytorch-lightning", "transformers", "numpy", "scipy", "nibabel", "nilearn")


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write JSON so that a reader finds the old file or the whole new one."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with replacing(path, private=private) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


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
            (self.path / "checkpoints").mkdir(exist_ok=True)
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
        path = self.path / "settings.json"
        if path.exists():
            before = _flat(read_json(path))
            now = _flat(json.loads(json.dumps(settings)))
            changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
            if changed:
                shown = ", ".join(f"{k}: {before.get(k)} -> {now.get(k)}" for k in changed[:5])
                raise UserError(
                    f"run folder {self.path} holds another experiment ({len(changed)} setting(s) differ: {shown}); "
                    "choose another run= (or out=), or delete the folder"
                )
        else:
            write_json(path, settings)

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
        return dict(read_json(path)) if path.exists() else {}

    def record(self, numbers: Mapping[str, Any]) -> None:
        """Add numbers to the cost, with the peak memory of this process."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        megabytes = round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)
        cost = self.cost() | dict(numbers)
        cost["peak_rss_mb"] = max(megabytes, cost.get("peak_rss_mb", 0.0))
        write_json(self.path / "cost.json", cost)

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Mark the fit as complete, with versions and the commit of the code."""
        write_json(self.path / "provenance.json", {"format": FORMAT, **_versions(), **provenance})


def run_format(run: Path) -> int:
    """Format of a finished run folder.

    Raises
    ------
    UserError
        A newer one than this version of genebrain knows.
    """
    found = int(read_json(run / "provenance.json").get("format", 1))
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
