"""Windows of a cohort as shares: each is cut into a file of its own, by whichever engine, and read back in order."""

from __future__ import annotations

from pathlib import Path

from genebrain.common.files import make_private
from genebrain.engines.run import current, run_shares
from genebrain.engines.share import Share
from genebrain.genetics.chunks.window import CutInputs, cut_window

WORTH = 4e9
"""Letters (people x bases) of a cohort from which on several processes share the windows out."""


def window_file(folder: Path, number: int) -> Path:
    """File of a window that was cut."""
    return folder / f"window-{number:05d}.safetensors"


def cut_share(inputs: CutInputs, number: int, folder: str) -> None:
    """Cut one window into its file."""
    target = window_file(Path(folder), number)
    if not target.exists():
        with inputs.opened() as (file, fasta, rows):
            cut_window(inputs, number, file, fasta, rows).save(target)


def worth_spreading(inputs: CutInputs) -> bool:
    """Whether several processes are sooner done than one."""
    engine = current()
    alone = not (engine.is_dask or engine.is_array) and engine.settings.workers < 2
    letters = len(inputs.samples) * sum(window.end - window.start for window in inputs.windows)
    return letters >= WORTH and len(inputs.windows) > 1 and not alone


def cut_windows(inputs: CutInputs, folder: Path, *, progress: bool) -> None:
    """Cut every window into its file in ``folder``; what is there is not done again.

    Raises
    ------
    UserError
        What :meth:`CutInputs.opened` refuses, before any window is cut.
    """
    with inputs.opened():
        make_private(folder)
    kept = "" if inputs.mask is None else f"-{inputs.mask.digest}"
    shares = [
        Share(f"window-{number:05d}{kept}", (number, str(folder.absolute())), window.end - window.start)
        for number, window in enumerate(inputs.windows)
    ]
    known = {s.key: None for number, s in enumerate(shares) if window_file(folder, number).exists()}
    for _ in run_shares(
        cut_share, shares, folder, shared=inputs, what="windows", unit="base", known=known, progress=progress
    ):
        pass
