"""Embeddings of any folder or table of scans, without a cohort and without genotypes.

Scans -> store -> windows -> one vector per window, scan and subject. Everything lies in one private folder; tables name
scans and subjects by keyed hashes, and only ``names.tsv`` says who they are. An interrupted command can be repeated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.encoders.cache import ScanShape
from genebrain.brain.encoders.preflight import refuse_misfits, refuse_other_parcels
from genebrain.brain.encoders.reading import options_name, scan_options, scan_shape
from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.quality.page import write_scan_report
from genebrain.brain.store.fill import fill_store
from genebrain.brain.store.job import ScanOptions
from genebrain.brain.store.journal import scan_keys
from genebrain.brain.store.report import IngestReport, lasting
from genebrain.brain.store.scan_table import COLUMNS, IMAGE_SUFFIXES, read_scan_table
from genebrain.brain.store.store import ScanStore
from genebrain.common.alone import alone_in
from genebrain.common.files import ArrayWriter, make_private, write_private
from genebrain.common.private_table import harmless
from genebrain.common.types import UserError
from genebrain.common.words import counted
from genebrain.engines.run import current
from genebrain.runs.scan_vectors import CorrelationVectors, EncoderVectors, Vectors
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.estimators.side import EstimatorSide
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.sides.vectors.brains import VectorBrain

log = logging.getLogger(__name__)

BESIDE = "parcel_coordinates.tsv"
"""Name under which a cohort keeps the centres of its parcels beside its scan table."""


@dataclass(frozen=True)
class ScanSource:
    """Where scans come from and how they are read.

    Attributes
    ----------
    input
        A derivatives folder, a scan table (``participant_id``, ``path``, ...), or one 4D image.
    atlas
        Label image; needed where images become parcels.
    parcel_coordinates
        Table of the centres of the parcels; by default the labels of the atlas, or without one
        ``parcel_coordinates.tsv`` beside the scan table, or A424 for 424 parcels.
    space, task, choose
        Which of several a folder holds; see :func:`~genebrain.brain.store.scan_table.read_scan_table`.
    cleaning
        Of parcel series.
    """

    input: Path
    atlas: Path | None = None
    parcel_coordinates: Path | None = None
    space: str | None = None
    task: str | None = None
    choose: str | None = None
    cleaning: Cleaning = field(default_factory=Cleaning)

    def table(self) -> pd.DataFrame:
        """One row per scan."""
        if self.input.is_file() and self.input.name.endswith(IMAGE_SUFFIXES):
            row = {"participant_id": "scan", "session": "", "path": self.input, "tr": float("nan")}
            return pd.DataFrame([row | {"mask": None, "confounds": None}], columns=COLUMNS)
        if not self.input.exists():
            raise UserError(f"input={self.input} does not exist: name a folder of scans, a scan table, or a 4D image")
        return read_scan_table(self.input, space=self.space, task=self.task, choose=self.choose)

    @property
    def centres(self) -> Path | None:
        """Table of the centres of the parcels: the one named, or the one that lies beside the scan table."""
        beside = self.input.parent / BESIDE
        if self.parcel_coordinates is None and self.atlas is None and self.input.is_file() and beside.is_file():
            return beside
        return self.parcel_coordinates

    def refuse_misfits(self, brain: EncoderSide, table: pd.DataFrame) -> None:
        """Refuse what an encoder cannot take of the scans in ``table``, before any is read."""
        refuse_misfits(
            brain.settings, brain.windows, table, volumes=brain.volumes, atlas=self.atlas, centres=self.centres
        )

    def shape(self, store: ScanStore) -> ScanShape:
        """What an encoder of these scans is built for, once they are in the store; says what nobody named."""
        if store.kind == "parcels" and self.centres != self.parcel_coordinates:
            log.info(
                f"centres of the parcels: {self.centres}, beside the scan table (parcel_coordinates= names another)"
            )
        return scan_shape(store, self.centres, self.atlas)


def embed_scans(
    source: ScanSource, brain: BrainSide, out: Path, *, report_page: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Embed scans; returns the counts that stand in ``provenance.json``.

    Writes ``windows.npy``, ``scans.npy``, ``subjects.npy`` (float32, a row each) beside ``.tsv`` tables of what the
    rows are, ``mask.npy`` (bool per row of the scan table: was embedded), ``names.tsv`` and ``provenance.json``; with
    ``report_page`` also ``scans.html``, the page about the quality of the scans.

    Raises
    ------
    UserError
        No scan can be embedded, with the reasons.
    """
    if isinstance(brain, VectorBrain):
        raise UserError("brain=vectors reads no scans: choose brain=connectome, correlation or an encoder")
    if isinstance(brain, EstimatorSide):
        raise UserError("brain=estimator is fitted on training scans, and there are none here: use it in fit")
    if isinstance(brain, EncoderSide) and brain.scaling == "cohort":
        raise UserError("brain.scaling=cohort takes statistics of training scans, and there are none here")
    table = source.table()
    settings = brain.settings if isinstance(brain, EncoderSide) else None
    volumes = brain.volumes if isinstance(brain, EncoderSide) else None
    if isinstance(brain, EncoderSide):
        source.refuse_misfits(brain, table)
    else:
        refuse_other_parcels(table, source.parcel_coordinates, source.atlas)
    options = scan_options(
        settings,
        table,
        atlas=source.atlas,
        volumes=volumes,
        cleaning=chosen_cleaning(source, brain),
        min_frames=brain.min_frames,
    )
    make_private(out)
    if current().is_array:
        return _share(source, brain, table, options, out, progress)
    with alone_in(out):
        return _embed(source, brain, table, options, out, report_page, progress)


def _embed(
    source: ScanSource,
    brain: BrainSide,
    table: pd.DataFrame,
    options: ScanOptions,
    out: Path,
    report_page: bool,
    progress: bool,
) -> dict[str, Any]:
    folder = _store_of(brain, options, out)
    report = fill_store(table, folder, options, short="skip", progress=progress)
    if report_page:
        write_scan_report(folder, out / "scans.html", table=table, atlas=source.atlas)
    store = ScanStore(folder)
    keys = store.keys(table)
    stored = [key for key in keys if key is not None]
    if isinstance(brain, ConnectomeSide):
        rows: Vectors = CorrelationVectors(store, stored)
        if brain.kind != "correlation":
            log.info(
                f"connectome: {', '.join(brain.kinds)} would need training people; correlations (Fisher z) are written "
                "instead"
            )
    else:
        assert isinstance(brain, EncoderSide)  # vectors of a file need no encoder and were refused above
        rows = EncoderVectors(brain, source.shape(store), store, stored, out / "cache", progress=progress)
    mask = np.array([key is not None and key in rows.windows for key in keys])
    if not mask.any():
        raise UserError(f"none of {counted(len(table), 'scan')} gave a window")
    subjects = _subjects(table, folder)
    index = pd.DataFrame({"row": np.arange(len(table)), "scan": scan_keys(folder, table), "subject": subjects})
    index["status"], index["reason"] = _statuses(report, keys, rows)
    # Provenance comes last: without it the folder is not finished.
    (out / "provenance.json").unlink(missing_ok=True)
    _write_arrays(rows, index, mask, out)
    names = pd.DataFrame(
        {name: index[name] for name in ("row", "scan", "subject")}
        | {name: table[name].astype(str) for name in ("participant_id", "session", "path")}
    )
    _write_table(names, out / "names.tsv")
    counts = {
        **lasting(report.summary()),
        "embedded": {
            "windows": sum(map(len, rows.windows.values())),
            "scans": int(mask.sum()),
            "subjects": int(index.loc[mask, "subject"].nunique()),
            "width": rows.width,
            "left_out": _left_out(index[~mask], rows),
        },
        "brain": rows.description,
    }
    packages = {name: version(name) for name in ("genebrain", "numpy", "torch", "nibabel", "nilearn")}
    provenance = {"reading": options.describe(), **counts, "packages": packages}
    write_private(out / "provenance.json", json.dumps(provenance, indent=1, default=str).encode())
    return counts


def _share(
    source: ScanSource, brain: BrainSide, table: pd.DataFrame, options: ScanOptions, out: Path, progress: bool
) -> dict[str, Any]:
    """One job of an array: its scans into the store and through the encoder; nothing else is written."""
    folder = _store_of(brain, options, out)
    report = fill_store(table, folder, options, short="skip", progress=progress)
    if isinstance(brain, EncoderSide):
        store = ScanStore(folder)
        stored = [key for key in store.keys(table) if key is not None]
        EncoderVectors(brain, source.shape(store), store, stored, out / "cache", progress=progress)
    return lasting(report.summary())


def _store_of(brain: BrainSide, options: ScanOptions, out: Path) -> Path:
    """Folder of the scans as they are read for this side."""
    reads = brain.settings.reads if isinstance(brain, EncoderSide) else "parcels"
    return out / f"{reads}-{options_name(options)}"


def chosen_cleaning(source: ScanSource, brain: ConnectomeSide | EncoderSide) -> Cleaning:
    """The one place where cleaning is set: beside the scans, or in the brain side as for ``fit``."""
    own = brain.cleaning
    if own.active and source.cleaning.active:
        raise UserError("cleaning.* and brain.cleaning.* are both set: set one of them")
    return own if own.active else source.cleaning


def _write_arrays(rows: Vectors, index: pd.DataFrame, mask: NDArray[np.bool_], out: Path) -> None:
    """Windows, scans and subjects, each an array and its table; rows in the order of the scan table."""
    kept = index[mask]
    listed = [
        {"scan": key, "window": number} | facts
        for key in kept["scan"]
        for number, facts in enumerate(rows.windows[str(key)])
    ]
    n_subjects = kept["subject"].nunique()
    subjects: dict[str, list[NDArray[np.float64]]] = {}
    with (
        ArrayWriter(out / "windows.npy", (len(listed), rows.width), np.float32) as windows,
        ArrayWriter(out / "scans.npy", (len(kept), rows.width), np.float32) as scans,
    ):
        for key, subject in _pairs(kept):
            vectors = rows.of(key)
            mean = vectors.mean(axis=0, dtype=np.float64)
            windows.add(vectors)
            scans.add(mean)
            subjects.setdefault(subject, []).append(mean)
    with ArrayWriter(out / "subjects.npy", (n_subjects, rows.width), np.float32) as array:
        for means in subjects.values():
            array.add(np.mean(means, axis=0))
    _write_table(pd.DataFrame(listed), out / "windows.tsv")
    _write_table(kept[["scan", "subject"]], out / "scans.tsv")
    of_subjects = pd.DataFrame({"subject": list(subjects), "scans": [len(means) for means in subjects.values()]})
    _write_table(of_subjects, out / "subjects.tsv")
    _write_table(index[["row", "scan", "status", "reason"]], out / "index.tsv")
    with ArrayWriter(out / "mask.npy", mask.shape, bool) as array:
        array.add(mask)


def _pairs(kept: pd.DataFrame) -> Iterator[tuple[str, str]]:
    return zip(kept["scan"].astype(str), kept["subject"].astype(str), strict=True)


def _subjects(table: pd.DataFrame, folder: Path) -> list[str]:
    """Keyed hash of every row's participant, with the key of the store."""
    people = table.assign(session="", path="subject").drop_duplicates("participant_id")
    hashed = dict(zip(people["participant_id"], scan_keys(folder, people), strict=True))
    return [hashed[name] for name in table["participant_id"]]


def _left_out(index: pd.DataFrame, rows: Vectors) -> dict[str, int]:
    """Reasons in words -> number of scans; those without a whole window are one reason."""
    short = index["scan"].isin(rows.stored) & ~index["scan"].isin(rows.windows)
    counts = {str(k): int(v) for k, v in index.loc[~short, "reason"].value_counts().items()}
    return counts | ({rows.lack(list(index.loc[short, "scan"])): int(short.sum())} if short.any() else {})


def _statuses(report: IngestReport, keys: list[str | None], rows: Vectors) -> tuple[list[str], list[str]]:
    told = {entry["row"]: ("failed", entry["reason"]) for entry in report.quarantine}
    told |= {entry["row"]: ("short", entry["reason"]) for entry in report.short}
    status, reason = [], []
    for row, key in enumerate(keys):
        if key is None:
            why = told.get(row, ("short", "not stored"))
        else:
            why = ("embedded", "") if key in rows.windows else ("short", rows.lack([key]))
        status.append(why[0])
        reason.append(why[1])
    return status, reason


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_private(path, harmless(table).to_csv(sep="\t", index=False, lineterminator="\n").encode())
