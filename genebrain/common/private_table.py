"""Individual-level tables as TSV, whole or not at all, readable by their owner alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from genebrain.common.files import write_private


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table; floats keep the digits that float32 has."""
    write_private(path, table.to_csv(sep="\t", index=False, float_format="%.9g").encode("utf-8"))
