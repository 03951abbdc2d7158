"""Windows of a cohort as shares: each is cut into a file of its own, by whichever engine, and read back in order.

A window is read once, however many masks of rare alleles it is cut under.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from genebrain.common.files import make_private
from genebrain.engines.claims import in_work
from genebrain.engines.run import CLAIMS, current, run_shares
from genebrain.engines.share import Share
from genebrain.genetics.chunks.window import CutInputs, cut_records

UNFINISHED = ".windows"
"""Ending of a folder of windows of which not all are done."""
WORTH = 4e9
"""Letters (people x bases) of a cohort from which on several processes share the windows out."""


def window_file(folder: Path, number: int) -> Path:
    """File of a window that was cut."""
    return folder / f"window-{number:05d}.safetensors"


def remove_waiting(folder: Path) -> None:
    """Delete windows that nothing waits for any more, unless a job of an array is at them: it deletes them itself."""
    if folder.is_dir() and not in_work(folder / CLAIMS):
        shutil.rmtree(folder, ignore_errors=True)


def cut_share(several: Sequence[tuple[str, CutInputs]], number: int) -> None:
    """Read one window and cut it into its file in every folder, each under the mask of its inputs."""
    targets = [(window_file(Path(folder), number), inputs) for folder, inputs in several]
    missing = [(target, inputs) for target, inputs in targets if not target.exists()]
    if missing:
        first = missing[0][1]
        with first.opened() as (file, fasta, rows):
            window = first.windows[number]
            sites, letters = file.read(window, rows), fasta.fetch(window)
        for target, inputs in missing:
            cut_records(inputs, number, sites, letters).save(target)


def worth_spreading(inputs: CutInputs) -> bool:
    """Whether several processes are sooner done than one."""
    engine = current()
    alone = not (engine.is_dask or engine.is_array) and engine.settings.workers < 2
    return is_large(inputs) and not alone


def is_large(inputs: CutInputs) -> bool:
    """Whether windows are worth a file each."""
    return inputs.letters >= WORTH and len(inputs.windows) > 1


def cut_windows(wanted: Mapping[Path, CutInputs], *, progress: bool) -> None:
    """Cut every window into its file in every folder; what is there is not done again.

    Parameters
    ----------
    wanted : mapping
        Folders, and what is cut into them: the same windows of the same people, under different masks.

    Raises
    ------
    UserError
        What :meth:`CutInputs.opened` refuses, before any window is cut.
    """
    (place, first), *_ = wanted.items()
    with first.opened():
        for folder in wanted:
            make_private(folder)
    kept = "".join(f"-{inputs.mask.digest}" for inputs in wanted.values() if inputs.mask is not None)
    shares = [
        Share(f"window-{number:05d}{kept}", (number,), window.end - window.start)
        for number, window in enumerate(first.windows)
    ]
    shared = [(str(folder.absolute()), inputs) for folder, inputs in wanted.items()]
    known = {s.key: None for n, s in enumerate(shares) if all(window_file(folder, n).exists() for folder in wanted)}
    for _ in run_shares(
        cut_share, shares, place, shared=shared, what="windows", unit="base", known=known, progress=progress
    ):
        pass
