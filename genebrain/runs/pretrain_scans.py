"""Pretraining on any folder or table of scans, without a cohort and without genotypes.

Every person of the input takes part, a share of them to validate; there is no test set, and nothing is known about
relatives. The hashes of the scans that were seen still keep them out of later test sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genebrain.brain.encoders.cache import SHELF
from genebrain.brain.encoders.files import ENCODER
from genebrain.brain.encoders.reading import options_name, scan_options
from genebrain.brain.store.fill import fill_store
from genebrain.brain.store.report import lasting
from genebrain.brain.store.store import ScanStore
from genebrain.brain.windows.bank import WindowBank
from genebrain.common.run_folder import RunFolder, write_json
from genebrain.runs.contents import begin
from genebrain.runs.embed_scans import ScanSource, chosen_cleaning
from genebrain.runs.pretrain import REPORT, Pretraining, pretrain
from genebrain.sides.brains.seen_scans import save_seen


def run_pretraining_on_scans(
    choice: Pretraining,
    source: ScanSource,
    run: Path,
    store: Path | None = None,
    *,
    record: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Pretrain an encoder on the scans of ``source``; returns the run folder.

    Parameters
    ----------
    choice : Pretraining
        Of its split, only the share of validation people is used.
    store : Path, optional
        Where scans are kept; ``store`` in the run folder by default.

    Raises
    ------
    UserError
        No usable scan, or too few people.
    """
    folder = RunFolder(run)
    with folder.alone():
        return _run(choice, source, folder, store, record, progress)


def _run(
    choice: Pretraining,
    source: ScanSource,
    folder: RunFolder,
    store: Path | None,
    record: Mapping[str, Any] | None,
    progress: bool,
) -> Path:
    run, side = folder.path, choice.brain
    table = source.table()
    people, person = np.unique(table["participant_id"].astype(str), return_inverse=True)
    names = "\n".join(f"{p} {path}" for p, path in zip(table["participant_id"], table["path"], strict=True))
    if not folder.finished:
        source.refuse_misfits(side, table)  # a refusal must not claim the folder
    if not begin(folder, {"input": hashlib.sha256(names.encode()).hexdigest()[:32]}, choice, record):
        return run
    options = scan_options(
        side.settings, table, atlas=source.atlas, volumes=side.volumes, cleaning=chosen_cleaning(source, side),
        min_frames=side.min_frames,
    )  # fmt: skip
    where = (store or run / "store") / f"{side.settings.reads}-{options_name(options)}"
    with folder.stage("scans"):
        where.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        ingested = fill_store(table, where, options, short="skip", progress=progress)
    scans = ScanStore(where)
    encoder = SHELF.take(side.settings, **source.shape(scans))
    keys: list[list[str]] = [[] for _ in people]
    for row, key in zip(person, scans.keys(table), strict=True):
        if key is not None:
            keys[row].append(key)
    usable = np.array([row for row, listed in enumerate(keys) if listed])
    order = np.random.default_rng(choice.seed).permutation(usable)
    n_validation = max(2, round(choice.split.validation * len(order)))
    validation, train = np.sort(order[:n_validation]), np.sort(order[n_validation:])
    with folder.stage("pretrain"):
        report = pretrain(
            encoder, WindowBank(scans, side.windows, encoder.frames, encoder.tr, encoder.check_frames), keys, train,
            validation, np.arange(len(people)), choice, folder,
            fitted_on=[key for row in train for key in keys[row]] if side.scaling == "cohort" else None,
            progress=progress,
        )  # fmt: skip
    if report is None:
        return run
    save_seen(run / ENCODER, scans, table, (key for listed in keys for key in listed), side.path)
    write_json(run / "funnel.json", {"people": len(people), "ingest": lasting(ingested.summary())})
    write_json(run / REPORT, report)
    folder.finish({"seed": choice.seed, "encoder": report["encoder"]})
    return run
