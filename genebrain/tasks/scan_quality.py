"""The verb that looks at scans: scan-report."""

from __future__ import annotations

from pathlib import Path


def scan_report(
    store: Path | str,
    input: Path | str | None = None,
    atlas: Path | str | None = None,
    out: Path | str | None = None,
    space: str | None = None,
    task: str | None = None,
    choose: str | None = None,
    n_carpets: int = 3,
) -> Path:
    """Write one page about the scans of a store; see :mod:`genebrain.brain.quality.page`.

    Returns
    -------
    Path
        The page; beside the store by default.
    """
    from genebrain.brain.quality.page import write_scan_report
    from genebrain.brain.store.scan_table import read_scan_table

    folder = Path(store)
    table = None if input is None else read_scan_table(input, space=space, task=task, choose=choose)
    page = Path(out) if out is not None else folder.parent / f"{folder.name}.html"
    path = write_scan_report(folder, page, table=table, atlas=atlas, n_carpets=n_carpets)
    print(f"wrote {path}")
    return path
