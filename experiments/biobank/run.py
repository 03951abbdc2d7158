"""A biobank by simulation: time, memory and disk of every stage at growing numbers of people, and what they foretell.

    python experiments/biobank/run.py --people 1000 3000 --windows 12         minutes
    python experiments/biobank/run.py --people 3000 10000 40000 --windows 38   an hour
    python experiments/biobank/run.py --people 3000 --windows 38 --pgen --parcels 424

Each stage is a verb in a process of its own, whose largest memory the system says. What a stage costs is taken to grow
as a power of the number of people; its exponent is that of the two largest sizes; the last rows extrapolate with it.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from pgen import use_pgen

FAR = 500_000
STAGES = ("simulate", "plan", "embed", "fit", "evaluate", "report")
COLUMNS = ("people", "stage", "seconds", "cpu_seconds", "peak_gb", "disk_gb")
Row = dict[str, float | str]


def commands(folder: Path, people: int, windows: int, window_bp: list[int], parcels: int) -> dict[str, list[str]]:
    """What is run, in this order."""
    cohort, run = folder / "cohort" / "cohort.yaml", folder / "run"
    return {
        "simulate": [
            "simulate", f"out={cohort.parent}", "tier=smoke", f"n_subjects={people}", "seed=1",
            f"n_windows={windows}", f"window_bp={window_bp[0]}", f"longest_bp={window_bp[1]}", f"n_parcels={parcels}",
        ],
        "plan": ["plan", f"cohort.path={cohort}"],
        "embed": ["embed", f"cohort.path={cohort}"],
        "fit": ["fit", f"cohort.path={cohort}", f"run={run}", "alignment=closed_form"],
        "evaluate": ["evaluate", f"run={run}", "comparisons=[]"],
        "report": ["report", f"run={run}"],
    }  # fmt: skip


def measured(words: list[str], folder: Path, log: Path) -> dict[str, float]:
    """Seconds, processor seconds, largest memory of one process (GB) and growth of the folder (GB) of one verb."""
    before, started = size_of(folder), time.monotonic()
    program = [sys.executable, "-m", "genebrain", *words]
    with log.open("ab") as stream:
        process = os.posix_spawn(
            sys.executable, program, os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, stream.fileno(), 1), (os.POSIX_SPAWN_DUP2, stream.fileno(), 2)],
        )  # fmt: skip
        _, status, used = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"genebrain {' '.join(words)} failed; see {log}")
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss * 1024 / 1e9,
        "disk_gb": size_of(folder) - before,
    }


def size_of(folder: Path) -> float:
    """GB in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def study(
    sizes: list[int], windows: int, window_bp: list[int], parcels: int, scratch: Path | None, pgen: bool = False
) -> list[Row]:
    """Every stage at every size; cohorts are deleted when they are done."""
    rows: list[Row] = []
    for people in sizes:
        folder = Path(tempfile.mkdtemp(prefix=f"biobank-{people}-", dir=scratch))
        for stage, words in commands(folder, people, windows, window_bp, parcels).items():
            cost = measured(words, folder, folder / "log")
            rows.append({"people": people, "stage": stage, **cost})
            print(
                f"{people:>8,} {stage:<9} {cost['seconds']:8.1f} s {cost['cpu_seconds']:8.1f} s of processors "
                f"{cost['peak_gb']:6.2f} GB memory {cost['disk_gb']:8.3f} GB disk",
                flush=True,
            )
            if stage == "simulate" and pgen:
                use_pgen(folder / "cohort" / "cohort.yaml")
        shutil.rmtree(folder)
    return rows


def exponent(small: float, large: float, sizes: tuple[float, float]) -> float:
    """Power of the number of people with which something grows."""
    return math.log(max(large, 1e-9) / max(small, 1e-9)) / math.log(sizes[1] / sizes[0])


def extrapolated(rows: list[Row], far: int = FAR) -> list[Row]:
    """Time, memory and disk of every stage at ``far`` people, by the powers of the two largest sizes."""
    sizes = sorted({float(row["people"]) for row in rows})
    if len(sizes) < 2:
        return []
    two = sizes[-2], sizes[-1]
    found: list[Row] = []
    for stage in STAGES:
        small, large = (next(r for r in rows if r["stage"] == stage and r["people"] == size) for size in two)
        row: Row = {"people": far, "stage": stage}
        for name in COLUMNS[2:]:
            power = exponent(float(small[name]), float(large[name]), two)
            row[name] = float(large[name]) * (far / two[1]) ** power
            row[f"power_of_{name}"] = power
        found.append(row)
    return found


def table(rows: list[Row], far: list[Row]) -> str:
    """Markdown, with what breaks first."""
    lines = [
        "| people | stage | seconds | processor seconds | peak memory, GB | disk, GB |",
        "|---|---|---|---|---|---|",
    ]
    for row in [*rows, *far]:
        cells = [f"{row['people']:,}", str(row["stage"])]
        for name, digits in zip(COLUMNS[2:], (0, 0, 2, 2), strict=True):
            power = f" (power {row[f'power_of_{name}']:.2f})" if f"power_of_{name}" in row else ""
            cells.append(f"{row[name]:,.{digits}f}{power}")
        lines.append(f"| {' | '.join(cells)} |")
    if far:
        worst = max(far, key=lambda row: float(row["peak_gb"]))
        lines += [
            "",
            f"Memory breaks first in {worst['stage']}: {worst['peak_gb']:,.0f} GB at {worst['people']:,} people.",
        ]
    return "\n".join(lines)


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--window-bp", type=int, nargs=2, default=[20_000, 60_000], help="shortest and longest")
    parser.add_argument("--parcels", type=int, default=80)
    parser.add_argument("--pgen", action="store_true", help="read genotypes from PGEN, written of the VCF in between")
    parser.add_argument("--scratch", type=Path, help="folder for the cohorts; deleted as they are done")
    parser.add_argument("--out", type=Path, help="table to write (tsv)")
    arguments = parser.parse_args()
    sizes = sorted(arguments.people)
    rows = study(
        sizes, arguments.windows, arguments.window_bp, arguments.parcels, arguments.scratch, pgen=arguments.pgen
    )
    if arguments.out is not None:
        with arguments.out.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    print(table(rows, extrapolated(rows)))


if __name__ == "__main__":
    main()
