"""Run all benchmarks and write their tables into RESULTS.md, with the machine they ran on.

    python -m benchmarks.run                 everything (about 20 minutes on 2 cores)
    python -m benchmarks.run genotypes       one of them; the other tables stay

Every figure comes from a run in which the thing and its reference were measured side by side; read ratios, not seconds.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import io
import platform
import re
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
LEFT_OUT = {"run", "__init__", "gpu", "gpu_parts", "personal_genomes"}
"""Commands of their own: one wants a GPU, the other an environment with GenVarLoader."""


def names() -> list[str]:
    """All benchmarks of this folder."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in LEFT_OUT)


def machine() -> str:
    """What the figures were measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cores = torch.get_num_threads()
    today = datetime.date.today().isoformat()
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{today}, {platform.machine()}, {cores} cores, {device}, {versions}"


def run(name: str) -> str:
    """Run one benchmark; its rows as markdown."""
    module = importlib.import_module(f"benchmarks.{name}")
    printed = io.StringIO()
    arguments, sys.argv = sys.argv, [name]
    try:
        with contextlib.redirect_stdout(printed):
            rows = module.main()
    finally:
        sys.argv = arguments
    text = "\n".join(rows) if rows else printed.getvalue().strip()
    head = (module.__doc__ or name).strip().splitlines()[0]
    return f"## {name}\n\n{head} ({machine()})\n\n{text}\n"


def main() -> None:
    """Replace the sections that were asked for."""
    wanted = sys.argv[1:] or names()
    unknown = set(wanted) - set(names())
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(names())}")
    text = RESULTS.read_text() if RESULTS.exists() else "# Measured\n"
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    head = text.split("\n## ")[0].rstrip()
    for name in wanted:
        print(f"{name} ...", flush=True)
        sections[name] = run(name).split("\n", 1)[1]
        body = "\n".join(f"## {key}\n{value.rstrip()}\n" for key, value in sorted(sections.items()))
        RESULTS.write_text(f"{head}\n\n{body}")
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
