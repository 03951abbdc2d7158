"""Care of a store: what lies there, what is damaged, what can go; and people who withdraw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.brain.store import store as scan_store
from genebrain.cohort.participants import load_cohort
from genebrain.common.types import UserError
from genebrain.engines.claims import Claims
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.store.table_files import ShardIndex, write_tensors
from genebrain.runs.run import load_run
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.scans import EncoderSide
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 2, "window_bp": 4000, "n_contigs": 2, "n_frames": 60, "n_parcels": 12, "n_genomewide": 50}
MODEL = {"k": 2, "n_active": 6}
JUDGE = {"n_bootstrap": 20, "n_permutations": 20, "comparisons": ("ridge_cca",), "progress": False}
QUICK = {"alignment": AlignmentSettings(train="none"), "progress": False}
LAG0 = ConnectomeSide("lag0", components=("all",))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A cohort with two runs of other options and one by a scan encoder, all in one store."""
    folder = tmp_path_factory.mktemp("care")
    cohort = simulate_cohort(folder / "c", n_subjects=44, seed=5, **SMALL, **MODEL)
    tasks.fit(cohort, run=folder / "runs/a", brain=LAG0, **QUICK)
    tasks.evaluate(folder / "runs/a", **JUDGE)
    everything = GeneSide(chunk_bp=600, rare_below=0)  # under a mask of rare alleles hardly anybody has letters alone
    tasks.fit(cohort, run=folder / "runs/b", brain=LAG0, genetics=everything, **QUICK)
    encoder = EncoderSide("brainlm", components=("all",), device="cpu")
    tasks.fit(cohort, run=folder / "runs/c", brain=encoder, **QUICK)
    return folder


@pytest.fixture
def place(base, tmp_path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(base, tmp_path / "all")
    scan_store._COMPARED.clear()
    return tmp_path / "all"


def parts(place: Path, action: str = "list", **options: Any) -> list[dict[str, Any]]:
    return tasks.store(action, cohort=place / "c/cohort.yaml", progress=False, **options)


def test_list_names_every_part_with_its_options_and_who_needs_it(place, capsys):
    rows = parts(place, runs=[place / "runs"])
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    counts = {kind: len(found) for kind, found in by_kind.items()}
    assert counts == {"letters of genomes": 3, "embeddings of DNA": 1, "scans": 1, "embeddings of scans": 1}
    assert sum(row["bytes"] for row in rows) == sum(
        f.stat().st_size for f in (place / "c/store").rglob("*") if f.is_file() and f.parent != place / "c/store"
    )
    (table,) = by_kind["embeddings of DNA"]
    assert sorted(Path(run).name for run in table["needed_by"]) == ["a", "b", "c"]
    (vectors,) = by_kind["embeddings of scans"]
    assert [Path(run).name for run in vectors["needed_by"]] == ["c"]
    told = capsys.readouterr().out
    assert "chunks of 600 bp" in told
    assert told.count("kinds of rare alleles masked") == 2
    assert "generator_tiny" in told
    assert "44 people" in told


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize(
    "pattern",
    [
        "chunk_index/*/index.npy", "chunk_index/*/sequences.txt", "chunk_index/*/report.json",
        "chunks/*/shard-*.safetensors", "scans/??/*.npy", "scans/index.jsonl", "scan_embeddings/*/??/*.npy",
        "scan_embeddings/*/description.json",
    ],
)  # fmt: skip
def test_verify_names_what_is_damaged(place, pattern, capsys):
    parts(place, "verify")
    assert "all of them are as they were written" in capsys.readouterr().out
    file = sorted((place / "c/store").glob(pattern))[0]
    if file.name == "description.json":
        file.write_bytes(file.read_bytes()[:40])
    else:
        damage(file)
    with pytest.raises(UserError, match="1 of them are damaged") as error:
        parts(place, "verify")
    part = file.relative_to(place / "c/store").as_posix()
    assert part in str(error.value) or part.rsplit("/", 1)[0] in str(error.value)


def test_prune_keeps_what_the_named_runs_need_and_asks_first(place, capsys):
    with pytest.raises(UserError, match="none of the 0 runs"):
        parts(place, "prune")
    gone = parts(place, "prune", runs=[place / "runs/a"])
    assert {row["kind"] for row in gone} == {"letters of genomes", "embeddings of scans"}
    assert "nothing was deleted" in capsys.readouterr().out
    assert len(parts(place)) == 6  # default runs read genomes under two masks
    parts(place, "prune", runs=[place / "runs/a"], yes=True)
    assert len(parts(place)) == 4
    before = json.loads((place / "runs/a/metrics.json").read_text())
    after = tasks.evaluate(place / "runs/a", **JUDGE)
    assert after["retrieval"] == before["retrieval"]


def test_a_run_that_does_not_say_what_it_needs_stops_prune_and_says_it_once_judged(place):
    (place / "runs/a/needs.json").unlink()
    checksums = json.loads((place / "runs/a/checksums.json").read_text())
    del checksums["needs.json"]
    (place / "runs/a/checksums.json").write_text(json.dumps(checksums))
    with pytest.raises(UserError, match="judge it once"):
        parts(place, "prune", runs=[place / "runs"], yes=True)
    tasks.evaluate(place / "runs/a", **JUDGE)
    assert parts(place, "prune", runs=[place / "runs"], yes=True) == []


def withdraw(place: Path, rows: list[int]) -> list[str]:
    """Name people (rows of the cohort's table) in an exclude list; returns their ids."""
    cohort = load_cohort(place / "c/cohort.yaml")
    ids = [str(cohort.table["participant_id"].iloc[row]) for row in rows]
    (place / "c/withdrawn.txt").write_text("".join(f"{name}\n" for name in ids))
    with (place / "c/cohort.yaml").open("a") as file:
        file.write("exclude: withdrawn.txt\n")
    return ids


def forget(place: Path, **options: Any) -> dict[str, Any]:
    return tasks.forget(
        place / "c/withdrawn.txt", cohort=place / "c/cohort.yaml", runs=[place / "runs"], progress=False, **options
    )


def vectors(run: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = load_run(run).vectors("all")
    return {name: (found.genome[i], found.brain[i]) for i, name in enumerate(found.ids)}


def private_chunks(place: Path, rows: list[int]) -> list[bytes]:
    """Keys of chunks that these people carry and nobody else, in all indexes of the store."""
    theirs, others = set(), set()
    for folder in (place / "c/store/chunk_index").iterdir():
        chunks = ChunkSet.load(folder)
        own = np.isin(np.arange(len(chunks.index)), rows)
        theirs |= {chunks.keys[i].tobytes() for i in np.unique(chunks.index[own]) if i >= 0}
        others |= {chunks.keys[i].tobytes() for i in np.unique(chunks.index[~own]) if i >= 0}
    return sorted(theirs - others)


def test_people_who_withdrew_are_gone_and_the_others_read_as_before(place, capsys):
    split = json.loads((place / "runs/a/split.json").read_text())
    learned = [row for row in (*split["train"], *split["validation"]) if private_chunks(place, [row])]
    rows = [learned[0], split["test"][1], split["validation"][-1], split["test"][3]]
    before = {name: vectors(place / "runs" / name) for name in "abc"}
    private, n_scans = private_chunks(place, rows), len(list((place / "c/store/scans").glob("??/*.npy")))
    ids = withdraw(place, rows)
    assert tasks.evaluate(place / "runs/a", **JUDGE)["n_subjects"] == len(split["test"]) - 2  # not yet forgotten
    done = forget(place)
    told = capsys.readouterr().out
    assert done["scans"] == 4
    assert len(list((place / "c/store/scans").glob("??/*.npy"))) == n_scans - 4
    assert len((place / "c/store/scans/index.jsonl").read_text().splitlines()) == n_scans - 4
    assert len(list((place / "c/store/scan_embeddings").glob("*/??/*.npy"))) == n_scans - 4
    (table,) = [f for f in (place / "c/store/chunks").iterdir() if f.is_dir()]
    stored = {name.ljust(16, b"\0") for name in ShardIndex.read(table).names.tolist()}
    assert stored.isdisjoint(private)
    letters = [ChunkSet.load(folder) for folder in (place / "c/store/chunk_index").iterdir()]
    assert all(len(chunks.index) == 40 for chunks in letters)
    assert not {key.tobytes() for chunks in letters for key in chunks.keys} & set(private)
    assert "must be fitted again" in told
    for run in "abc":
        now = vectors(place / "runs" / run)
        assert now.keys() == before[run].keys() - set(ids)
        for name, pair in now.items():
            for new, old in zip(pair, before[run][name], strict=True):
                np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-4)
    assert not (place / "runs/a/metrics.json").exists()
    metrics = tasks.evaluate(place / "runs/a", **JUDGE)
    assert metrics["n_subjects"] == len(split["test"]) - 2
    tasks.fit(place / "c/cohort.yaml", run=place / "runs/a", brain=LAG0, **QUICK)  # holds this fit
    for name in "abc":
        marks = json.loads((place / "runs" / name / "checkpoints/people.json").read_text())
        assert len(marks["scans"]) == len(marks["genomes"]) == 40
    for file in (place / "runs").rglob("*"):
        assert not file.is_file() or not any(name.encode() in file.read_bytes() for name in ids)
    again = forget(place)
    assert again["scans"] == again["chunks_of_DNA"] == 0
    tasks.store("verify", cohort=place / "c/cohort.yaml", progress=False)


def test_windows_and_shares_that_a_killed_process_left_are_forgotten_too(place):
    """Windows that were cut or counted hold letters and dosages of everybody, and no index says so."""
    store, index = place / "c/store", place / "c/store/chunk_index"
    row, private = next((row, found[0]) for row in range(44) if (found := private_chunks(place, [row])))
    cut, counted, alive = (index / f"{name * 8}.windows" for name in ("cut1", "alle", "live"))
    for folder in (cut, counted, alive):
        folder.mkdir(mode=0o700)
        (folder / "window-00000.safetensors").write_bytes(b"letters of everybody")
    (table,) = [f for f in (store / "chunks").iterdir() if f.is_dir()]
    shares = table / "shares"
    shares.mkdir(mode=0o700)
    for name, key in (("theirs", private), ("others", bytes(16))):
        arrays = {"keys": np.frombuffer(key, np.uint8)[None], "last": np.zeros((1, 4), np.float32)}
        write_tensors(shares / f"{name}.safetensors", arrays)
    withdraw(place, [row])
    with Claims(alive / "shares") as claims:
        assert claims.take("window-00001")  # a job of an array works there
        forget(place, dry_run=True)
        with pytest.raises(UserError, match=r"nothing was deleted: jobs of an array .*live\.windows\); end"):
            forget(place)  # it would store what it holds of them afterwards
        assert [folder.is_dir() for folder in (cut, counted, alive)] == [True] * 3
        assert len(list(shares.iterdir())) == 2
        assert len(list((store / "scans").glob("??/*.npy"))) == 44
        parts(place, "prune", runs=[place / "runs"], yes=True)
        assert [folder.is_dir() for folder in (cut, counted, alive)] == [False, False, True]
    forget(place)
    assert not alive.exists()
    assert [file.name for file in shares.iterdir()] == ["others.safetensors"]


def test_dry_run_changes_nothing(place):
    withdraw(place, [3])
    tasks.fit(place / "c/cohort.yaml", run=place / "runs/later", brain=LAG0, **QUICK)  # knows nothing of them
    before = {f: f.read_bytes() for f in place.rglob("*") if f.is_file()}
    done = forget(place, dry_run=True)
    assert done["scans"] == 1
    indexes = sum(part["kind"] == "letters of genomes" for part in parts(place))
    assert 0 < done["chunk_indexes"] < indexes, "the new run's are kept"
    after = {f: f.read_bytes() for f in place.rglob("*") if f.is_file() and not f.name.startswith(".")}
    assert after == {f: content for f, content in before.items() if not f.name.startswith(".")}
    for name, count in forget(place).items():  # as announced; chunks are not counted in advance
        assert name not in done or done[name] == count, name


def test_whoever_is_still_read_or_unknown_stops_it(place):
    cohort = place / "c/cohort.yaml"
    first = str(load_cohort(cohort).table["participant_id"].iloc[0])
    (place / "c/withdrawn.txt").write_text(f"{first}\n")
    with pytest.raises(UserError, match=r"still read: name the list in cohort\.yaml"):
        forget(place)
    (place / "c/withdrawn.txt").write_text("nobody-1\n")
    with pytest.raises(UserError, match="name nobody"):
        forget(place)
    (place / "c/withdrawn.txt").write_text("")
    with pytest.raises(UserError, match="names nobody"):
        forget(place)


def test_a_damaged_run_stops_it_before_anything_is_deleted(place):
    withdraw(place, [3])
    damage(place / "runs/b/checkpoints/closed_form.safetensors")
    with pytest.raises(UserError, match="nothing was deleted"):
        forget(place)
    assert len(list((place / "c/store/scans").glob("??/*.npy"))) == 44


@pytest.mark.parametrize("at", [1, 9, 20, *(pytest.param(at, marks=pytest.mark.slow) for at in (3, 6, 12, 15))])
def test_interrupted_it_goes_on_to_the_same_end(place, at, monkeypatch):
    """Stopped after so many renamed or deleted files, and called again."""
    import os

    rows = [row for row in range(44) if private_chunks(place, [row])][:2]
    before = vectors(place / "runs/a")
    private = private_chunks(place, rows)
    ids = withdraw(place, rows)
    counter = [0]

    class StoppedError(Exception):
        pass

    def counting(real):
        def wrapped(*args, **kwargs):
            counter[0] += 1
            if counter[0] == at:
                raise StoppedError
            return real(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", counting(os.replace))
        patched.setattr(os, "unlink", counting(os.unlink))
        with pytest.raises(StoppedError):
            forget(place)
    forget(place)
    now = vectors(place / "runs/a")
    assert now.keys() == before.keys() - set(ids)
    (table,) = [f for f in (place / "c/store/chunks").iterdir() if f.is_dir()]
    assert {name.ljust(16, b"\0") for name in ShardIndex.read(table).names.tolist()}.isdisjoint(private)
    assert len(list((place / "c/store/scans").glob("??/*.npy"))) == 42
    assert yaml.safe_load((place / "c/cohort.yaml").read_text())["exclude"] == "withdrawn.txt"
