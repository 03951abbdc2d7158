"""The verbs that use a fitted run: export of vectors, search."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def export(
    run: Path | str = "runs/fit", out: Path | str = "runs/vectors", features: bool = False, progress: bool = True
) -> Path:
    """Write the vectors of the people of a run; see :func:`genebrain.runs.export.export_run`. Returns the folder."""
    from genebrain.runs.export import export_run
    from genebrain.runs.run import load_run

    folder = Path(out)
    for name, what in export_run(load_run(run, progress=progress), folder, features=features).items():
        print(f"{folder / name}: {what}")
    print("these are individual-level data: readable by you alone")
    return folder


def search(
    run: Path | str = "runs/fit",
    genome: str | int | None = None,
    scan: str | int | None = None,
    k: int = 10,
    split: str = "test",
    out: Path | str | None = None,
    progress: bool = True,
) -> Any:
    """Rank scans for a genome, or genomes for a scan; see :meth:`genebrain.Run.search`. Returns the table."""
    from genebrain.common.private_table import write_table
    from genebrain.runs.run import load_run

    table = load_run(run, progress=progress).search(
        genome=None if genome is None else str(genome), scan=None if scan is None else str(scan), k=k, split=split
    )
    if out is None:
        print(table.to_string(index=False))
    else:
        write_table(table, Path(out))
        print(f"wrote {out}: the {len(table)} best of the {split} people, readable by you alone")
    return table
