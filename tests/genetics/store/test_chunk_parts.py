"""Shares of an embedding run: together they are the whole, each can be started again alone, merging loses nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.store.plan import EmbedOptions
from genebrain.genetics.store.shares import shard_of_run
from genebrain.genetics.store.store import ChunkStore, EmbedReport
from genebrain.genetics.store.table_files import writing_alone
from genebrain.genetics.store.work_parts import Shard
from tests.genetics.chunk_tables import all_bytes, keys_of, kill_in_fifth_batch

OPTIONS = EmbedOptions(tokens_per_batch=70, chunks_per_shard=5)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sequences() -> list[bytes]:
    return draw()


def draw() -> list[bytes]:
    random = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", np.uint8)
    return [bytes(random.choice(letters, n)) for n in random.choice([30, 60, 61, 90, 132], 80)]


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
    backbone: GeneratorBackbone,
    keys: NDArray[np.uint8],
    sequences: list[bytes],
) -> dict[str, bytes]:
    store = ChunkStore(tmp_path_factory.mktemp("whole"))
    run(store, keys, sequences, backbone)
    return all_bytes(store, keys)


def run(
    store: ChunkStore,
    keys: NDArray[np.uint8],
    sequences: list[bytes],
    backbone: GeneratorBackbone,
    shard: Shard | None = None,
    repair: bool = False,
) -> EmbedReport:
    return store.embed(keys, sequences, backbone, OPTIONS, progress=False, shard=shard, repair=repair)


def second_share(backbone: GeneratorBackbone, folder: str) -> None:
    run(ChunkStore(Path(folder)), keys_of(draw()), draw(), backbone, Shard(2, 3))


def test_all_shares_together_have_the_bits_of_the_whole(
    tmp_path: Path,
    backbone: GeneratorBackbone,
    keys: NDArray[np.uint8],
    sequences: list[bytes],
    whole: dict[str, bytes],
) -> None:
    store = ChunkStore(tmp_path)
    old = os.umask(0)
    try:
        encoded = [run(store, keys, sequences, backbone, Shard(i, 3)).encoded for i in (3, 1, 2)]
    finally:
        os.umask(old)
    assert sum(encoded) == len(keys)
    assert min(encoded) > len(keys) / 5
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert run(store, keys, sequences, backbone, Shard(1, 3)).encoded == 0
    merged = run(store, keys, sequences, backbone)
    assert (merged.merged_parts, merged.encoded, merged.stored_before) == (3, 0, len(keys))
    assert all_bytes(store, keys) == whole
    assert not list(tmp_path.rglob("part-*"))
    assert run(store, keys, sequences, backbone).merged_parts == 0
    assert run(store, keys, sequences, backbone, Shard(2, 3)).encoded == 0


def test_killed_share_is_started_again_alone(
    tmp_path: Path,
    backbone: GeneratorBackbone,
    keys: NDArray[np.uint8],
    sequences: list[bytes],
    whole: dict[str, bytes],
) -> None:
    store = ChunkStore(tmp_path / "store")
    run(store, keys, sequences, backbone, Shard(1, 3))
    kill_in_fifth_batch(second_share, tmp_path / "store")
    finished = sum(len(list(part.glob("shard-*"))) for part in (tmp_path / "store").glob("*/part-00002-of-*"))
    assert finished >= 1
    rest = run(store, keys, sequences, backbone, Shard(2, 3)).encoded
    run(store, keys, sequences, backbone, Shard(3, 3))
    assert 0 < rest < len(keys) / 3
    assert run(store, keys, sequences, backbone).encoded == 0
    assert all_bytes(store, keys) == whole


def test_what_absent_shares_leave_is_encoded_by_the_whole_run(
    tmp_path: Path,
    backbone: GeneratorBackbone,
    keys: NDArray[np.uint8],
    sequences: list[bytes],
    whole: dict[str, bytes],
) -> None:
    store = ChunkStore(tmp_path)
    part = run(store, keys, sequences, backbone, Shard(2, 4))
    rest = run(store, keys, sequences, backbone)
    assert (rest.merged_parts, rest.encoded) == (1, len(keys) - part.encoded)
    expected = np.frombuffer(whole["mean"], np.float32).reshape(len(keys), 64)
    np.testing.assert_allclose(store.table(keys), expected, atol=1e-6)


def test_running_share_is_not_merged(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    store = ChunkStore(tmp_path)
    run(store, keys, sequences, backbone, Shard(1, 2))
    (part,) = tmp_path.glob("*/part-*")
    with writing_alone(part):
        with pytest.raises(UserError, match=r"another process is writing to .*part-00001-of-00002"):
            run(store, keys, sequences, backbone)
        with pytest.raises(UserError, match="another process is writing"):
            run(store, keys, sequences, backbone, Shard(1, 2))
        run(store, keys, sequences, backbone, Shard(2, 2))  # another share is free to go on
    assert part.exists()


def test_damaged_share_is_named_before_anything_moves_and_mended_alone(
    tmp_path: Path,
    backbone: GeneratorBackbone,
    keys: NDArray[np.uint8],
    sequences: list[bytes],
    whole: dict[str, bytes],
) -> None:
    store = ChunkStore(tmp_path)
    for share in (Shard(1, 2), Shard(2, 2)):
        run(store, keys, sequences, backbone, share)
    shard = sorted(tmp_path.glob("*/part-00002*/shard-*"))[1]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"1 damaged shards in .*part-00002-of-00002: shard-000001.safetensors"):
        run(store, keys, sequences, backbone)
    assert not list(tmp_path.glob("*/shard-*"))
    assert 0 < run(store, keys, sequences, backbone, Shard(2, 2), repair=True).encoded < len(keys) / 2
    assert run(store, keys, sequences, backbone).encoded == 0
    assert all_bytes(store, keys) == whole


def test_interrupted_merge_goes_on(
    tmp_path: Path,
    backbone: GeneratorBackbone,
    keys: NDArray[np.uint8],
    sequences: list[bytes],
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = ChunkStore(tmp_path)
    for share in (Shard(1, 2), Shard(2, 2)):
        run(store, keys, sequences, backbone, share)
    moved, rename = [], Path.rename

    def stop(self: Path, target: Path) -> Path:
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        with pytest.raises(KeyboardInterrupt):
            run(store, keys, sequences, backbone)
    assert len(list(tmp_path.glob("*/shard-*"))) == 2
    assert run(store, keys, sequences, backbone).encoded == 0
    assert all_bytes(store, keys) == whole


def test_shares_are_ranks_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert shard_of_run(None) == Shard(1, 1)
    assert shard_of_run("3/64") == Shard(3, 64)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with pytest.raises(UserError, match="start with torchrun or srun"):
        shard_of_run("auto")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert shard_of_run("auto") == Shard(1, 4)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert shard_of_run("auto") == Shard(3, 8)
