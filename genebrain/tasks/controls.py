"""Verbs that set runs beside something: controls that must give chance, other runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genebrain.common.types import Metrics, UserError

FILES = ("comparison.csv", "comparison.md", "comparison.tex")


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


def compare(runs: Sequence[Path | str], out: Path | str | None = None, split: str = "test") -> Any:
    """Put judged runs side by side; see :mod:`genebrain.studies.run_table`. Returns the tidy table.

    With ``out`` writes there ``comparison.csv`` (tidy: a row per run, method, direction and metric), ``comparison.md``
    and ``comparison.tex`` (a row per run).
    """
    from genebrain.common.files import replacing
    from genebrain.common.private_table import harmless
    from genebrain.studies.run_table import latex, markdown, shown_table, tidy_table, warnings_of

    folders = [Path(run) for run in runs]
    if not folders:
        raise UserError("name at least one judged run: genebrain compare RUN RUN ...")
    tidy, shown = tidy_table(folders, split), shown_table(folders, split)
    print(shown.to_string(index=False))
    for words in warnings_of(tidy):
        print(f"note: {words}")
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        texts = harmless(tidy).to_csv(index=False), markdown(shown), latex(shown)
        for name, text in zip(FILES, texts, strict=True):
            with replacing(folder / name, private=False) as partial:
                partial.write_text(text, encoding="utf-8")
        print(f"wrote {', '.join(str(folder / name) for name in FILES)}")
    return tidy
