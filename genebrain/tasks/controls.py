"""The verb ``controls``: what must give chance, and what simpler readings give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genebrain.common.types import Metrics


def controls(
    run: Path | str,
    names: Sequence[str] | None = None,
    n_shuffles: int = 20,
    gallery_size: int | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    store: Path | str | None = None,
    progress: bool = True,
) -> Metrics:
    """Fit and judge controls of a finished run on its test people; writes ``controls.json``.

    Parameters
    ----------
    run : path
        Folder of a finished fit.
    names : sequence of str, optional
        Some of ``one_genome``, ``covariates``, ``burden``, ``kmer_counts``, ``random_encoder``, ``held_out_site`` and
        ``shuffled_pairs``; None: all that the cohort allows.
    n_shuffles : int
        Refits of ``shuffled_pairs``.
    """
    from genebrain.runs.places import open_stored
    from genebrain.studies.controls.run import run_controls
    from genebrain.studies.controls.setting import ControlSettings

    settings = ControlSettings(
        None if names is None else tuple(names), n_shuffles, gallery_size, n_bootstrap, n_permutations
    )
    opened = open_stored(run, results=False)
    workspace = opened.workspace(store=store, progress=progress)
    found = run_controls(Path(run), opened.experiment, workspace, settings)
    if progress:
        print(f"{'model':16} percentile rank {found['model']['percentile_rank']['value']:.3f}")
        for name, one in found["controls"].items():
            rank = one.get("percentile_rank", {}).get("value")
            shown = "" if rank is None else f"percentile rank {rank:.3f}  "
            print(f"{name:16} {shown}{one['reading']}")
        for note in found["left_out"]:
            print(f"left out: {note}")
        print(f"in the report: genebrain report run={run}")
    return found
