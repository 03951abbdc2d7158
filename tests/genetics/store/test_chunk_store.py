"""The chunk store: once per chunk, the same bits after a kill, and no silent damage."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from genebrain.common import files as file_writing
from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.encode import POOLINGS, encode_batch
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer
from genebrain.genetics.store.plan import EmbedOptions, plan_batches
from genebrain.genetics.store.store import ChunkStore
from genebrain.genetics.store.table_files import writing_alone
from tests.genetics.chunk_tables import all_bytes, keys_of, kill_in_fifth_batch

OPTIONS = EmbedOptions(tokens_per_batch=200, chunks_per_shard=20)
N = 90
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sequences() -> list[bytes]:
    return draw()


def draw() -> list[bytes]:
    random = np.random.default_rng(0)
    lengths = random.choice([0, 5, 60, 61, 90, 132], N)
    letters = np.frombuffer(b"ACGTN", np.uint8)
    drawn = {bytes(random.choice(letters, n, p=[0.245] * 4 + [0.02])) for n in lengths}
    return sorted(drawn, key=lambda s: hashlib.sha256(s).digest())


@contextmanager
def watched(backbone: GeneratorBackbone, before_call: Callable[[int], None] = lambda _: None) -> Iterator[list[Any]]:
    """Record the token batches the model sees; ``before_call`` gets the number of calls and may raise."""
    seen: list[Any] = []

    def hook(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        before_call(len(seen))
        seen.append(given["input_ids"].tolist())

    handle = backbone.model.register_forward_pre_hook(hook, with_kwargs=True)
    yield seen
    handle.remove()


def fill(backbone: GeneratorBackbone, folder: str) -> None:
    ChunkStore(Path(folder)).embed(keys_of(draw()), draw(), backbone, OPTIONS, progress=False)


def one_at_a_time(backbone: GeneratorBackbone, sequence: bytes) -> dict[str, torch.Tensor]:
    framed = SixMerTokenizer.frame(sequence.decode(), OPTIONS.length_rule)
    ids = torch.tensor([[BOS, *SixMerTokenizer().encode(framed), BOS]])
    return encode_batch(backbone, ids, torch.ones_like(ids))


def test_every_chunk_is_encoded_once_and_right(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    store = ChunkStore(tmp_path)
    assert store.missing(keys) == len(keys)
    twice = np.concatenate([keys, keys[::-1]]), [*sequences, *sequences[::-1]]
    with watched(backbone) as seen:
        report = store.embed(*twice, backbone, OPTIONS, progress=False)
        again = store.embed(*twice, backbone, OPTIONS, progress=False)
    assert report.requested == report.encoded == sum(map(len, seen)) == len(keys)
    assert report.batches == len(seen) > 5
    assert (again.encoded, again.stored_before, again.batches) == (0, len(keys), 0)
    assert store.missing(keys) == 0
    assert report.tokens + report.padding_tokens == sum(len(batch) * len(batch[0]) for batch in seen)
    n_oov = sum(b.count(0) for batch in seen for b in batch)
    assert report.oov_tokens == n_oov > 0
    for pooling in POOLINGS:
        table = store.table(keys, pooling, report.fingerprint)
        assert table.dtype == np.float32
        expected = torch.cat([one_at_a_time(backbone, s)[pooling] for s in sequences]).numpy()
        np.testing.assert_allclose(table, expected, atol=1e-5, rtol=0)


def test_table_follows_the_order_asked_for(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    store = ChunkStore(tmp_path)
    store.embed(keys, sequences, backbone, OPTIONS, progress=False)
    rows = np.array([3, 0, 3, len(keys) - 1])
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=(4, 64))
    assert np.array_equal(store.table(keys[rows], "max", out=out), store.table(keys, "max")[rows])
    assert np.array_equal(np.load(tmp_path / "out.npy"), store.table(keys, "max")[rows])
    assert store.table(keys[:0]).shape == (0, 64)


def test_order_and_parts_of_asking_change_no_bit_of_a_single_run(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    forward, backward = ChunkStore(tmp_path / "a"), ChunkStore(tmp_path / "b")
    forward.embed(keys, sequences, backbone, OPTIONS, progress=False)
    backward.embed(keys[::-1], sequences[::-1], backbone, OPTIONS, progress=False)
    assert all_bytes(forward, keys) == all_bytes(backward, keys)


def test_killed_run_continues_to_the_same_bits(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    undisturbed = ChunkStore(tmp_path / "undisturbed")
    with watched(backbone) as planned:
        undisturbed.embed(keys, sequences, backbone, OPTIONS, progress=False)
    kill_in_fifth_batch(fill, tmp_path / "store")
    store = ChunkStore(tmp_path / "store")
    left = store.missing(keys)
    finished = len(keys) - left
    assert 0 < finished < sum(map(len, planned[:4])), "the kill fell between two shards"
    with watched(backbone) as resumed:
        other = EmbedOptions(tokens_per_batch=77)  # the plan, not the new budget, decides
        report = store.embed(keys[::-1], sequences[::-1], backbone, other, progress=False)
    assert report.encoded == left
    assert resumed == planned[-len(resumed) :]
    assert all_bytes(store, keys) == all_bytes(undisturbed, keys)
    assert not list((tmp_path / "store").rglob("plan*"))


def test_number_of_cores_changes_no_bit(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    one, three = ChunkStore(tmp_path / "1"), ChunkStore(tmp_path / "3")
    one.embed(keys, sequences, backbone, OPTIONS, progress=False)
    torch.set_num_threads(3)
    three.embed(keys, sequences, backbone, OPTIONS, progress=False)
    assert torch.get_num_threads() == 3
    assert all_bytes(one, keys) == all_bytes(three, keys)


def test_interrupt_keeps_what_is_encoded(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    def press(calls: int) -> None:
        if calls == 3:
            raise KeyboardInterrupt

    store = ChunkStore(tmp_path)
    with watched(backbone, press) as seen, pytest.raises(KeyboardInterrupt):
        store.embed(keys, sequences, backbone, OPTIONS, progress=False)
    assert len(keys) - store.missing(keys) == sum(map(len, seen)) > 0


def test_unfinished_plan_of_other_chunks_does_not_get_in_the_way(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    test_interrupt_keeps_what_is_encoded(tmp_path, backbone, keys, sequences)
    store = ChunkStore(tmp_path)
    half = slice(0, len(keys) // 2)
    missing = store.missing(keys[half])
    assert store.embed(keys[half], sequences[half], backbone, OPTIONS, progress=False).encoded == missing > 0
    store.embed(keys, sequences, backbone, OPTIONS, progress=False)
    expected = torch.cat([one_at_a_time(backbone, s)["mean"] for s in sequences]).numpy()
    np.testing.assert_allclose(store.table(keys), expected, atol=1e-5, rtol=0)


def test_full_disk_keeps_finished_shards(
    tmp_path: Path,
    backbone: GeneratorBackbone,
    keys: NDArray[np.uint8],
    sequences: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed, store = ChunkStore(tmp_path / "a"), ChunkStore(tmp_path / "b")
    undisturbed.embed(keys, sequences, backbone, OPTIONS, progress=False)
    writes: list[int] = []

    def fill(descriptor: int) -> None:
        writes.append(descriptor)
        if len(writes) > 3:  # provenance, plan, first shard
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(file_writing.os, "fsync", fill)
        with pytest.raises(UserError, match=r"No space left.*finished before is kept; free space"):
            store.embed(keys, sequences, backbone, OPTIONS, progress=False)
    assert 0 < store.missing(keys) < len(keys)
    assert not list(tmp_path.rglob("*.tmp"))
    store.embed(keys, sequences, backbone, OPTIONS, progress=False)
    assert all_bytes(store, keys) == all_bytes(undisturbed, keys)


def test_read_only_folder_is_explained(
    tmp_path: Path, backbone: GeneratorBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"can not write to .*Read-only file system.*permissions"):
        ChunkStore(tmp_path / "store").embed(np.zeros((0, 16), np.uint8), [], backbone, progress=False)


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_shard_is_named_and_encoded_anew_only_on_request(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes], damage: str
) -> None:
    store = ChunkStore(tmp_path)
    store.embed(keys, sequences, backbone, OPTIONS, progress=False)
    before = store.table(keys)
    shard = sorted(tmp_path.rglob("shard-*"))[1]
    content = bytearray(shard.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    shard.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    fresh = ChunkStore(tmp_path)
    with pytest.raises(UserError, match=rf"1 damaged shards .*{shard.name}.*repair=True"):
        fresh.table(keys)
    report = fresh.embed(keys, sequences, backbone, OPTIONS, progress=False, repair=True)
    assert 0 < report.encoded < len(keys)
    np.testing.assert_allclose(fresh.table(keys), before, atol=1e-5, rtol=0)


def test_second_writer_is_refused_and_leftovers_are_cleared(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    folder = tmp_path / OPTIONS.fingerprint(backbone)
    folder.mkdir()
    (folder / "shard-000000.safetensors.tmp").write_bytes(b"half")
    with writing_alone(folder), pytest.raises(UserError, match="another process is writing"):
        ChunkStore(tmp_path).embed(keys, sequences, backbone, OPTIONS, progress=False)
    assert not list(folder.glob("*.tmp"))


def test_files_are_private(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    old = os.umask(0)
    try:
        ChunkStore(tmp_path / "store").embed(keys, sequences, backbone, OPTIONS, progress=False)
    finally:
        os.umask(old)
    for path in [tmp_path / "store", *(tmp_path / "store").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_missing_chunks_and_ambiguous_tables_are_explained(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    store = ChunkStore(tmp_path)
    with pytest.raises(UserError, match=r"holds 0 tables .*run embed first"):
        store.table(keys)
    store.embed(keys[:10], sequences[:10], backbone, OPTIONS, progress=False)
    with pytest.raises(UserError, match=rf"{len(keys) - 10} of {len(keys)} chunks are not embedded"):
        store.table(keys)
    with pytest.raises(UserError, match="unknown token pooling 'sum'"):
        store.table(keys[:10], "sum")
    store.embed(keys[:10], sequences[:10], backbone, EmbedOptions(closing_mark=False), progress=False)
    with pytest.raises(UserError, match="holds 2 tables"):
        store.table(keys[:10])
    with pytest.raises(ValueError, match=r"uint8 \[n, 16\], not int64"):
        store.missing(keys.astype(np.int64))
    with pytest.raises(ValueError, match="10 keys but 9 sequences"):
        store.embed(keys[:10], sequences[:9], backbone, progress=False)


def test_every_rule_that_moves_a_number_names_another_table(backbone: GeneratorBackbone) -> None:
    rules = [
        EmbedOptions(),
        EmbedOptions(opening_mark=False),
        EmbedOptions(closing_mark=False),
        EmbedOptions(length_rule="trim_left"),
        EmbedOptions(storage="float16"),
    ]
    assert len({rule.fingerprint(backbone) for rule in rules}) == len(rules)
    assert EmbedOptions(tokens_per_batch=5).fingerprint(backbone) == rules[0].fingerprint(backbone)
    assert rules[0].fingerprint(load_generator(device="cpu", seed=1)) != rules[0].fingerprint(backbone)
    half = load_generator(device="cpu", dtype=torch.bfloat16)
    assert rules[0].fingerprint(half) != rules[0].fingerprint(backbone)


def test_half_precision_storage_and_options(
    tmp_path: Path, backbone: GeneratorBackbone, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    store = ChunkStore(tmp_path)
    exact = store.embed(keys, sequences, backbone, OPTIONS, progress=False).fingerprint
    half = store.embed(keys, sequences, backbone, EmbedOptions(storage="float16"), progress=False).fingerprint
    np.testing.assert_allclose(store.table(keys, "mean", half), store.table(keys, "mean", exact), atol=2e-3)
    with pytest.raises(UserError, match="float32 or float16, not 'int8'"):
        EmbedOptions(storage="int8")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown length rule"):
        EmbedOptions(length_rule="none")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"tokens_per_batch \(0\)"):
        EmbedOptions(tokens_per_batch=0)


def test_non_finite_vectors_never_reach_the_disk(
    tmp_path: Path, keys: NDArray[np.uint8], sequences: list[bytes]
) -> None:
    backbone = load_generator(device="cpu")
    backbone.model.norm.weight.data[0] = torch.inf
    with pytest.raises(UserError, match=r"non-finite values for \d+ of \d+ chunks.*use float32"):
        ChunkStore(tmp_path).embed(keys, sequences, backbone, OPTIONS, progress=False)
    assert not list(tmp_path.rglob("shard-*"))


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100), st.integers(0, 60))
def test_plan_covers_every_chunk_within_the_budget(lengths: list[int], budget: int, n_old: int) -> None:
    names = np.array([f"{i:016d}" for i in range(len(lengths))], "S16")
    n_tokens = np.array(lengths, np.int64)
    batches = plan_batches(names, n_tokens, budget, [])
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * n_tokens[b].max() <= budget for b in batches)
    unfinished = [names[batch] for batch in batches[n_old:]]
    left = np.sort(np.concatenate([np.empty(0, np.int64), *batches[n_old:]]))
    continued = plan_batches(names[left], n_tokens[left], budget + 7, unfinished)
    assert [left[batch].tolist() for batch in continued] == [batch.tolist() for batch in batches[n_old:]]
