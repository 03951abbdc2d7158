"""The list of DNA models that can be loaded by name: what they are, what they need, whether they are here.

One row per model; those of Carbon stand beside their encoder. Nothing is loaded and no network is asked; a model counts
as here only when all its files are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from genebrain.common.types import UserError
from genebrain.genetics.model.checkpoints import CHECKPOINTS, weight_files

TINY_PARAMETERS = 602_432
"""Of ``generator_tiny``, output head included."""


def dna_models() -> list[dict[str, Any]]:
    """Rows of GENERator's models, the tiny one first.

    Returns
    -------
    list of dict
        ``name`` (for ``genetics=``), ``reads``, ``hub_id`` and ``revision`` (None for built-in weights),
        ``parameters``, ``bf16_gb`` and ``float32_gb`` (memory of the weights alone, in 10^9 bytes), ``cached``:
        ``yes``, ``partly`` (a download that did not finish), ``no``, or ``built in``.
    """
    rows = [model_row("generator_tiny", TINY_PARAMETERS, None, None, "built in")]
    for name, checkpoint in CHECKPOINTS.items():
        here = in_cache(checkpoint.hub_id, checkpoint.revision)
        rows.append(model_row(name, checkpoint.parameters, checkpoint.hub_id, checkpoint.revision, here))
    return rows


def model_row(name: str, parameters: int, hub_id: str | None, revision: str | None, cached: str) -> dict[str, Any]:
    """One row of the list."""
    return {
        "name": name,
        "reads": "DNA",
        "parameters": parameters,
        "bf16_gb": round(parameters * 2 / 1e9, 3),
        "float32_gb": round(parameters * 4 / 1e9, 3),
        "cached": cached,
        "hub_id": hub_id,
        "revision": revision,
    }


def in_cache(hub_id: str, revision: str | None) -> str:
    """Whether all files of a model are in the local hub cache: yes, partly or no."""
    config = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    if not isinstance(config, str):
        return "no"
    try:
        weight_files(Path(config).parent)
    except UserError:
        return "partly"
    return "yes"
