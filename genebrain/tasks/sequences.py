"""The verbs of plain DNA sequences, without a cohort: models."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def models(out: Path | str | None = None) -> list[dict[str, Any]]:
    """List every published model by short name: parameters, memory, hub id, whether it is in the local cache.

    Returns
    -------
    list of dict
        One row per model, see :func:`genebrain.genetics.model_catalogue.dna_models`; with ``out`` also written as
        JSON.
    """
    import pandas as pd

    from genebrain.cohort.run_folder import write_json
    from genebrain.genetics.model_catalogue import dna_models

    rows = dna_models()  # rows of other encoders are added here
    if out is not None:
        write_json(Path(out), rows)
    table = pd.DataFrame(rows).fillna("-")
    print(table.assign(parameters=table["parameters"].map("{:,}".format)).to_string(index=False))
    return rows
