"""Hostile files given to every reader of runs and stores: nothing runs, nothing is written, memory stays small."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genebrain import stored_settings
from genebrain.alignment.model import AlignmentModel
from genebrain.brain.encoders.files import read_encoder
from genebrain.brain.store.journal import Journal, scan_keys
from genebrain.brain.store.store import ScanStore
from genebrain.cohort.splits.splits import load_split
from genebrain.cohort.tables.files import read_description
from genebrain.cohort.tables.problems import Problems
from genebrain.common import reading
from genebrain.common.checksums import compare_files, verify_run
from genebrain.common.run_folder import RunFolder, run_format
from genebrain.common.tensor_files import read_arrays, read_tensors
from genebrain.common.types import UserError
from genebrain.evaluation.report.page import write_report
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.model.checkpoints import read_config, weight_files
from genebrain.genetics.sequences.vectors import SequenceEmbeddings
from genebrain.genetics.store.store import ChunkStore
from genebrain.genetics.store.table_files import ShardIndex, read_array
from genebrain.simulation.known_answer import read_known_answer
from genebrain.training.adapters import read_settings
from genebrain.training.checkpoint_files import read_training
from tests.hostile_files import HOSTILE, MARK

MOST_MEMORY = 500 * 2**20
UNIT = 1 if sys.platform == "darwin" else 1024
PEOPLE: Any = SimpleNamespace(fingerprint="0" * 32)
KEYS = np.zeros((1, 16), np.uint8)
SCANS = pd.DataFrame({"participant_id": ["a"], "session": ["1"], "path": ["a.npy"]})
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "text": ("a.txt", reading.read_text),
    "json": ("a.json", reading.read_json),
    "record": ("a.json", reading.read_record),
    "history": ("history.csv", reading.read_history),
    "array": ("a.npy", reading.read_npy),
    "mapped array": ("a.npy", lambda path: reading.read_npy(path, mapped=True)),
    "tensors as arrays": ("a.safetensors", read_arrays),
    "tensors": ("a.safetensors", read_tensors),
    "shard": ("a.safetensors", lambda path: read_array(path, "keys")),
    "shards": ("shard-000000.safetensors", lambda path: ShardIndex.read(path.parent)),
    "settings of a run": ("config.yaml", stored_settings.load),
    "identity of a run": ("settings.json", lambda path: RunFolder(path.parent).claim({"seed": 1})),
    "cost of a run": ("cost.json", lambda path: RunFolder(path.parent).cost()),
    "checksums": ("checksums.json", lambda path: compare_files(path.parent, "make it again")),
    "checksums of a run": ("checksums.json", lambda path: verify_run(path.parent)),
    "format of a run": ("provenance.json", lambda path: run_format(path.parent)),
    "report": ("metrics.json", lambda path: write_report(path.parent)),
    "model": ("model.json", lambda path: AlignmentModel.load(path.parent)),
    "split": ("split.json", lambda path: load_split(path, PEOPLE)),
    "checkpoint": ("last.ckpt", read_training),
    "cohort": ("cohort.yaml", lambda path: read_description(path, Problems())),
    "known answer": ("known_answer.json", read_known_answer),
    "chunk index": ("report.json", lambda path: ChunkSet.load(path.parent)),
    "index of scans": ("index.jsonl", lambda path: ScanStore(path.parent)),
    "journal of scans": ("index.partial.jsonl", lambda path: Journal(path.parent).__exit__()),
    "key of a store": ("secret", lambda path: scan_keys(path.parent, SCANS)),
    "adapters": ("adapters.json", lambda path: _adapters(path)),
    "configuration of a DNA model": ("config.json", lambda path: read_config(path.parent)),
    "shards of a DNA model": ("model.safetensors.index.json", lambda path: weight_files(path.parent)),
    "weights of a scan encoder": ("model.safetensors", lambda path: read_encoder(path, "brainlm")),
    "training of a scan encoder": ("a.ckpt", lambda path: read_encoder(path, "swift")),
    "vectors of sequences": ("vectors.npy", lambda path: _sequences(path)),
    "table of the chunk store": ("provenance.json", lambda path: ChunkStore(path.parent.parent).table(KEYS, "mean")),
}  # fmt: skip


def _adapters(path: Path) -> Any:
    path.with_name("adapters.safetensors").touch()
    return read_settings(path.parent)


def _sequences(path: Path) -> SequenceEmbeddings:
    path.with_name("provenance.json").write_text("{}")
    return SequenceEmbeddings.load(path.parent)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_in_a_sentence_or_a_value(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number, (file, read) in enumerate(READERS.values()):
        place = tmp_path / f"{number}" / "inside"
        place.mkdir(parents=True)
        HOSTILE[name](place / file)
        before = {p for p in tmp_path.rglob("*") if place not in p.parents}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.suppress(UserError):
            read(place / file)
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * UNIT
        assert more < MOST_MEMORY, f"{list(READERS)[number]}: {more / 2**20:.0f} MiB"
        assert {p for p in tmp_path.rglob("*") if place not in p.parents} <= before, "written outside"
    assert not list(tmp_path.rglob(MARK)), "code of the file was run"


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 30
