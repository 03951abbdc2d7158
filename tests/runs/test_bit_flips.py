"""A hundred single flipped bits in every kind of file that a number depends on: the same numbers, or a sentence.

A changed id in a table of the cohort is a person who has left: they are counted, and the sentence is a note.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from genebrain.brain.encoders.cache import SHELF
from genebrain.brain.store import store as scan_store
from genebrain.brain.store.store import ScanStore
from genebrain.cli import main
from genebrain.common.checksums import verify_run
from genebrain.common.reading import read_npy, read_record
from genebrain.common.types import UserError
from genebrain.common.vectors import read, read_vectors
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.stored_alleles import load_alleles
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.reference import Reference
from genebrain.genetics.genotypes import record_counts
from genebrain.genetics.haplotypes.resolve import open_genotypes
from genebrain.genetics.store.table_files import read_array
from genebrain.runs.run import load_run
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.known_answer import read_known_answer, read_truth
from genebrain.training.checkpoint_files import read_training
from tests.broken_fit import breaking_off

FLIPS = 100
ENDS = 600
"""Bytes at either end of a file, where headers and seals stand: half of the flips fall there."""
SIZES = {"n_windows": 2, "window_bp": 3000, "n_frames": 60, "n_parcels": 10, "n_genomewide": 50, "n_contigs": 2}
SHORT = ("trainer.max_epochs=2", "trainer.patience=2")
JUDGE = ("comparisons=[]", "n_bootstrap=20", "n_permutations=20")
LAG0 = ("brain.kind=lag0", "brain.components=[all]")
COHORT = "cohort.path=c/cohort.yaml"


def numbers(run: str) -> Callable[[Path], bytes]:
    """What everything that a judgement of a run says is computed from, as a process finds it that has read nothing."""

    def found(place: Path) -> bytes:
        with contextlib.chdir(place):  # brain.path= is kept as it was typed
            verify_run(Path(run))
            opened = load_run(run)
            vectors = opened.vectors("all")
            said = {key: value for key, value in opened.metrics.items() if key != "cost"}
            history = [sorted(row.items()) for row in opened.fitted.history]
        return vectors.genome.tobytes() + vectors.brain.tobytes() + json.dumps([said, history]).encode()

    return found


def stored(place: Path) -> bytes:
    """Everything that lies in a store, as its readers give it."""
    store, found = place / "c/store", list[bytes]()
    for folder in sorted((store / "chunk_index").iterdir()):
        chunks = ChunkSet.load(folder)
        found += [chunks.index.tobytes(), chunks.keys.tobytes(), chunks.n_chunks.tobytes(), *chunks.sequences]
        found += [json.dumps([chunks.window_names, chunks.report]).encode()]
        for path in sorted(folder.glob("alleles-*")):
            alleles = load_alleles(path)
            found += [repr((alleles.alleles, alleles.n_seen)).encode(), alleles.rare.tobytes()]
            found += [dosages.tobytes() for dosages in alleles.dosages]
    scans = ScanStore(store / "scans")
    found += [scans.read(str(key)).tobytes() for key in scans.index.index]
    found += [read_npy(path).tobytes() for path in sorted((store / "scan_embeddings").glob("*/??/*.npy"))]
    for path in sorted((store / "chunks").glob("*/*.safetensors")):
        found += [read_array(path, name).tobytes() for name in ("keys", "mean")]
    return b"".join(found)


def folds(place: Path) -> bytes:
    verify_run(place / "folds")
    return json.dumps([read_record(place / "folds" / name) for name in ("folds.json", "metrics.json")]).encode()


def truth(place: Path) -> bytes:
    arrays = read_truth(place / "c/known_answer.json")
    said = json.dumps(read_known_answer(place / "c/known_answer.json"), sort_keys=True)
    return said.encode() + b"".join(arrays[name].tobytes() for name in ("g", "z", "u"))


def exported(place: Path) -> bytes:
    tables = [read_vectors(place / "v" / f"{side}.parquet") for side in ("genome", "brain")]
    return b"".join(repr((one.ids, one.columns)).encode() + one.values.tobytes() for one in tables)


def training(place: Path) -> bytes:
    found = [read_training(path) for path in sorted((place / "b/checkpoints/training").glob("*.ckpt"))]
    return repr(found).encode() + b"".join(v.numpy().tobytes() for one in found for v in one["state_dict"].values())


def indexed(place: Path) -> bytes:
    windows = [Window(*line.split("\t")[:1], *map(int, line.split("\t")[1:3]), "w")
               for line in (place / "c/windows.bed").read_text().splitlines()]  # fmt: skip
    with open_genotypes(place / "c/genotypes.vcf.gz") as file, Reference(place / "c/reference.fa") as reference:
        reference.check(windows)
        found = [file.read(window) for window in windows]
        letters = [reference.fetch(window) for window in windows]
    return b"".join(one.alleles.tobytes() + one.position.tobytes() for one in found) + b"".join(letters)


@dataclass(frozen=True)
class Scene:
    """Folders that are read together, how, and the kinds of files in them that are tried."""

    folders: tuple[str, ...]
    read: Callable[[Path], bytes]
    kinds: tuple[str, ...] = field(default=())


RUN = (
    "config.yaml", "settings.json", "split.json", "funnel.json", "contents.json", "needs.json", "history.csv",
    "provenance.json", "metrics.json", "checksums.json", "checkpoints/alleles.json", "checkpoints/model.json",
    "checkpoints/brain_features.safetensors", "checkpoints/closed_form.safetensors", "checkpoints/coordinates.json",
    "checkpoints/gene_bases.safetensors", "checkpoints/people.json", "checkpoints/reference_letters.safetensors",
    "checkpoints/seen_scans.txt",
)  # fmt: skip
LETTERS = ("index.npy", "keys.npy", "n_chunks.npy", "report.json", "sequences.txt", "checksums.json", "alleles-*")
ENCODER = ("config.json", "contract.safetensors", "model.safetensors", "seen_scans.txt", "checksums.json")
TUNED = ("gene_encoder/adapters.json", "gene_encoder/adapters.safetensors", "brain_encoder/weights.json",
         "brain_encoder/weights.safetensors", "towers.safetensors")  # fmt: skip
SCENES = {
    "run": Scene(("c", "r"), numbers("r"), (
        *(f"r/{name}" for name in RUN),
        "c/store/scans/index.jsonl", "c/store/scans/settings.json", "c/store/scans/secret",
        "c/store/scans/provenance.json", "c/reference.fa", "c/windows.bed", "c/scans.tsv", "c/scans/*.npy",
        "c/cohort.yaml",
    )),
    "run by a scan encoder": Scene(("c", "e", "p"), numbers("e"), (
        *(f"p/encoder/{name}" for name in ENCODER),
        "c/store/chunks/*/provenance.json", "c/store/scan_embeddings/*/description.json",
        "c/store/scan_embeddings/*/owners.tsv",
    )),
    "store": Scene(("c",), stored, (
        *(f"c/store/chunk_index/*/{name}" for name in LETTERS), "c/store/chunks/*/*.safetensors",
        "c/store/scans/??/*.npy", "c/store/scan_embeddings/*/??/*.npy",
    )),
    "run with trained encoders": Scene(("c", "t"), numbers("t"), (
        *(f"t/checkpoints/{name}" for name in TUNED), *(f"t/encoder/{name}" for name in ENCODER),
    )),
    "folds": Scene(("c", "folds"), folds, tuple(
        f"folds/{name}.json" for name in ("folds", "metrics", "funnel", "checksums")
    )),
    "known answer": Scene(("c",), truth, ("c/known_answer.json", "c/truth.safetensors")),
    "exported vectors": Scene(("v",), exported, ("v/*.parquet",)),
    "training that was broken off": Scene(("b",), training, ("b/checkpoints/training/*.ckpt",)),
    "genotypes and reference": Scene(
        ("c",), indexed, ("c/genotypes.vcf.gz", "c/genotypes.vcf.gz.tbi", "c/reference.fa.fai"),
    ),
}  # fmt: skip
KINDS = [(scene, kind) for scene, one in SCENES.items() for kind in one.kinds]
NO_NUMBER = (
    "*.lock", "*/.used", "*.html", "*.png", "*.md", "*/cost.json", "*/commands.log", "*/seconds.txt", "*/logs/*",
    "*/findings/*", "v/export.json", "p/*", "folds/fold-*", "b/*", "c/participants.tsv", "c/parcel_coordinates.tsv",
)  # fmt: skip
"""Pages, notes and logs; what is made anew; runs whose kinds stand above; and tables that their owner may edit."""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("flips")
    simulate_cohort(folder / "c", n_subjects=40, seed=5, k=2, n_active=6, **SIZES)
    encoder = ("brain=brainlm", "brain.path=p/encoder", "genetics.columns=embeddings", "brain.components=[all]")
    tuned = ("brain=brainlm_tiny", "brain.tuning=full", "genetics.tuning=lora", "genetics.columns=embeddings")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in (
            ("fit", COHORT, "run=r", *LAG0, *SHORT),
            ("pretrain", COHORT, "brain=brainlm_tiny", "run=p", "trainer.max_epochs=1", "trainer.passes=1"),
            ("fit", COHORT, "run=e", *encoder, "alignment=closed_form"),
            ("fit", COHORT, "run=t", *tuned, "genetics.rare_below=0", "alignment=textbook", *SHORT),
            ("fit", COHORT, "run=folds", "split.folds=2", "alignment=closed_form", *LAG0),
            *(("evaluate", f"run={run}", *JUDGE) for run in ("r", "e", "t", "folds")),
            ("export", "run=r", "out=v"),
        ):
            assert main(words) == 0, words
        with breaking_off(step=3), pytest.raises(RuntimeError, match="broken off"):
            main(("fit", COHORT, "run=b", "alignment=textbook", "trainer.batch_size=8", *LAG0, *SHORT))
    return folder


def forget_what_was_read() -> None:
    scan_store._COMPARED.clear()
    record_counts._checked.cache_clear()
    read._read.cache_clear()
    SHELF.__init__()


def restore(base: Path, place: Path, folders: tuple[str, ...], changed: Path | None) -> None:
    """Bring back what a reading has changed, made or deleted; all of it is much slower to copy."""
    for folder in folders:
        wanted, found = (
            {p.relative_to(root): p.lstat() for p in (root / folder).rglob("*") if not p.is_dir()}
            for root in (base, place)
        )
        for name in found.keys() - wanted.keys():
            (place / name).unlink()
        for name, facts in wanted.items():
            now = found.get(name)
            same = now and (now.st_size, now.st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
            if not same or place / name == changed:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).unlink(missing_ok=True)
                shutil.copy2(base / name, place / name)


def flip(path: Path, rng: np.random.Generator) -> str:
    facts, content = path.stat(), bytearray(path.read_bytes())
    ends = np.r_[: min(ENDS, len(content)), max(0, len(content) - ENDS) : len(content)]
    where = int(rng.choice(ends) if rng.integers(2) else rng.integers(len(content)))
    content[where] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return f"{path.name}, byte {where} of {len(content)}"


@pytest.mark.slow
@pytest.mark.parametrize(("scene", "kind"), KINDS)
def test_flipped_bits_are_told_or_change_nothing(base, tmp_path, scene, kind, caplog):
    rng, case, told = np.random.default_rng(KINDS.index((scene, kind))), SCENES[scene], 0
    restore(base, tmp_path, case.folders, None)
    wanted = case.read(tmp_path)
    for number in range(FLIPS):
        forget_what_was_read()
        files = sorted(path for path in tmp_path.glob(kind) if path.stat().st_size)
        path = files[int(rng.integers(len(files)))]
        what = f"flip {number}, {flip(path, rng)}"
        caplog.clear()
        try:
            found = case.read(tmp_path)
        except UserError:
            told += 1
        else:
            fewer = kind == "c/scans.tsv" and "people in the fit, and gone since" in caplog.text
            told += fewer
            assert found == wanted or fewer, f"{what}: other numbers, and nothing was said"
        restore(base, tmp_path, case.folders, path)
    print(f"{scene}, {kind}: {told} of {FLIPS} told, the others changed no number")


@pytest.mark.slow
def test_every_file_is_of_a_kind(base):
    names = [path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()]
    runs = [f"{run}/{name}" for run in "ret" for name in RUN]
    known = [*(kind for one in SCENES.values() for kind in one.kinds), *runs, *NO_NUMBER]
    assert not [name for name in names if not any(fnmatch(name, kind) for kind in known)]
