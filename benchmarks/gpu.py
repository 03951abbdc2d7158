"""Everything that is worth knowing of a GPU, in one command and under eight minutes.

    python -m benchmarks.gpu                              the first GPU at full size
    python -m benchmarks.gpu --parts kernels lengths      some of it
    python -m benchmarks.gpu --device cpu --size small    the same code on a CPU, to see that it runs

Each part runs in a process of its own with a limit on its time: what it had measured by then stays, and the next part
begins. The table names the device; what cannot be installed or run is skipped by name. ``--out`` keeps the table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from benchmarks.gpu_parts import PARTS, Bench, Skipped
from benchmarks.run import machine

TAB = "\t"


def child(name: str, device: str, size: str) -> None:
    """One part in this process; a line per row, as soon as it is measured."""
    try:
        for what, value in PARTS[name][0](Bench(device, size)):
            print(f"row{TAB}{what}{TAB}{value}", flush=True)
    except Skipped as reason:
        print(f"row{TAB}{name}{TAB}skipped: {reason}", flush=True)


def rows_of(name: str, device: str, size: str, slack: float) -> list[tuple[str, str]]:
    """Rows of a part in a process of its own, which is ended at its limit."""
    limit = PARTS[name][1] * slack
    command = [sys.executable, "-m", "benchmarks.gpu", "--child", name, "--device", device, "--size", size]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    timer = threading.Timer(limit, process.kill)
    timer.start()
    started = time.monotonic()
    out, errors = process.communicate()
    timer.cancel()
    rows = [(what, value) for kind, what, value in (line.split(TAB) for line in out.splitlines() if TAB in line)
            if kind == "row"]  # fmt: skip
    if process.returncode and time.monotonic() - started >= limit:
        rows.append(("(the rest)", f"stopped after {limit:.0f} s"))
    elif process.returncode:
        last = (errors.strip().splitlines() or ["no words"])[-1]
        rows.append(("(the rest)", f"FAILED: {last[:200]}"))
    return rows


def main(words: list[str] | None = None) -> list[str]:
    """Lines of a markdown table, printed as they are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=["full", "small"], default="full")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--slack", type=float, default=1.0, help="factor on the time limits")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.child:
        child(arguments.child, arguments.device, arguments.size)
        return []
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("no GPU here: PyTorch finds none (python -m benchmarks.gpu --device cpu --size small runs on a CPU)")
    lines = [
        f"{machine()}, {arguments.device}, {arguments.size} size",
        "",
        "| part | what | measured |",
        "|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in arguments.parts:
        for what, value in rows_of(name, arguments.device, arguments.size, arguments.slack):
            lines.append(f"| {name} | {what} | {value} |")
            print(lines[-1], flush=True)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n")
    return lines


if __name__ == "__main__":
    sys.exit(any("FAILED" in line for line in main()))
