"""DNA encoders of any tokenizer in the chunk store: protocol breakers, resume, and tables made before."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from genebrain.common.types import UserError
from genebrain.genetics.encoders.generator import GeneratorEncoder
from genebrain.genetics.encoders.options import EmbedOptions
from genebrain.genetics.encoders.plain import check_dna_encoder, make_encoder, reader_for
from genebrain.genetics.encoders.protocol import DNA_ENCODERS, DNAWeights
from genebrain.genetics.model import weights as weight_files
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.store.store import ChunkStore


class Counts:
    """Share of each letter: a vector that is easy to know."""

    hidden_size = 5
    fingerprint = "counts/1"

    def encode(self, sequences):
        return {"mean": np.array([[s.count(letter) / len(s) for letter in "ACGTN"] for s in sequences], np.float32)}


class Pair(Counts):
    """Two poolings, as tensors in double precision."""

    poolings = ("mean", "max")

    def encode(self, sequences):
        mean = torch.from_numpy(super().encode(sequences)["mean"]).double()
        return {"mean": mean, "max": (mean > 0).double()}


def chunks(n: int, seed: int = 0) -> tuple[np.ndarray, list[bytes]]:
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("ACGT"), int(length))) for length in rng.integers(1, 90, n)]
    texts = [f"{text}{'ACGT'[i % 4] * (i + 1)}" for i, text in enumerate(texts)]  # distinct
    keys = [np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), np.uint8) for text in texts]
    return np.stack(keys), [text.encode() for text in texts]


@pytest.mark.parametrize("encoder", [Counts(), Pair()])
def test_the_store_keeps_the_vectors_of_any_encoder(encoder, tmp_path):
    keys, texts = chunks(40)
    store = ChunkStore(tmp_path)
    options = EmbedOptions(tokens_per_batch=300, chunks_per_shard=7)
    report = store.embed(keys, texts, encoder, options, progress=False)
    assert (report.encoded, report.tokens) == (40, sum(map(len, texts)))
    wanted = np.array([[text.count(letter) / len(text) for letter in (b"A", b"C", b"G", b"T", b"N")] for text in texts])
    np.testing.assert_allclose(store.table(keys), wanted, atol=1e-6)
    if isinstance(encoder, Pair):
        np.testing.assert_array_equal(store.table(keys, "max"), wanted > 0)
    else:
        with pytest.raises(UserError, match="unknown token pooling 'max'; choose one of mean"):
            store.table(keys, "max")


def test_both_strands_are_read_for_any_encoder(tmp_path):
    keys, texts = chunks(6)
    store = ChunkStore(tmp_path)
    store.embed(keys, texts, Counts(), EmbedOptions(strand="both_concat"), progress=False)
    table = store.table(keys)
    assert table.shape == (6, 10)
    np.testing.assert_allclose(table[:, 5:9], table[:, [3, 2, 1, 0]], atol=1e-6)  # A and T, C and G change places


def test_an_interrupted_run_goes_on_and_shares_meet(tmp_path):
    keys, texts = chunks(60)
    options = EmbedOptions(tokens_per_batch=200, chunks_per_shard=5)
    whole = ChunkStore(tmp_path / "whole")
    whole.embed(keys, texts, Counts(), options, progress=False)

    class Killed(Counts):
        calls = 0

        def encode(self, sequences):
            Killed.calls += 1
            if Killed.calls > 15:
                raise KeyboardInterrupt
            return super().encode(sequences)

    store = ChunkStore(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        store.embed(keys, texts, Killed(), options, progress=False, name="Counts")
    left = store.missing(keys)
    assert 0 < left < 60
    assert store.embed(keys, texts, Counts(), options, progress=False).encoded == left
    assert np.array_equal(store.table(keys), whole.table(keys))


def broken(**more):
    return type("Broken", (Counts,), more)()


BREAKERS = {
    "count": (broken(encode=lambda self, s: {"mean": np.zeros((len(s) + 1, 5), np.float32)}), r"one row per string"),
    "width": (broken(encode=lambda self, s: {"mean": np.zeros((len(s), 4), np.float32)}), r"hidden_size columns"),
    "ints": (broken(encode=lambda self, s: {"mean": np.zeros((len(s), 5), int)}), r"wanted are floats"),
    "poolings": (
        broken(encode=lambda self, s: {"last": np.zeros((len(s), 5))}),
        r"gave last; wanted is a dict with mean",
    ),
    "array": (broken(encode=lambda self, s: np.zeros((len(s), 5))), r"gave ndarray; wanted is a dict"),
    "finite": (
        broken(encode=lambda self, s: {"mean": np.array([[1 / (t.count("N") - 7 or np.nan)] * 5 for t in s])}),
        r"not finite for 1 of 5 strings",
    ),
    "order": (
        broken(encode=lambda self, s: Counts.encode(self, sorted(s))),
        r"stood in another order; wanted is row i for string i",
    ),
    "padding": (
        broken(encode=lambda self, s: {"mean": np.array([[len(t) / max(map(len, s))] * 5 for t in s])}),
        r"alone than among others",
    ),
    "random": (
        broken(encode=lambda self, s: {"mean": np.random.default_rng().normal(size=(len(s), 5))}),
        r"two vectors",
    ),
    "failing": (broken(encode=lambda self, s: {"mean": [{}[t] for t in s]}), r"failed at 5 strings: KeyError"),
}


@pytest.mark.parametrize("kind", BREAKERS)
def test_a_broken_encoder_is_refused_before_anything_is_stored(kind, tmp_path):
    encoder, words = BREAKERS[kind]
    keys, texts = chunks(5)
    with pytest.raises(UserError, match=f"^DNA encoder mine .*{words}"):
        ChunkStore(tmp_path).embed(keys, texts, encoder, progress=False, name="mine")
    assert not list(tmp_path.glob("*/shard-*"))
    with pytest.raises(UserError, match=r"^DNA encoder mine "):
        check_dna_encoder(encoder, "mine")


def test_an_encoder_without_name_or_width_is_refused_with_all_that_is_wrong():
    DNA_ENCODERS.add("hollow", type("Hollow", (), {"__init__": lambda self, weights: None}))
    DNA_ENCODERS.add("bare", type("Bare", (Counts,), {}))
    try:
        with pytest.raises(UserError, match=r"hollow: hidden_size is None.*fingerprint is None.*no method encode"):
            make_encoder(DNAWeights("hollow"))
        with pytest.raises(UserError, match="bare cannot be made"):
            make_encoder(DNAWeights("bare"))
    finally:
        DNA_ENCODERS.remove("hollow")
        DNA_ENCODERS.remove("bare")


# Names of the tables that earlier versions made: what is stored under them must be found again.
TABLES = {
    "a2d8848176723938f6b44f95d3928e9b": {},
    "0c4c3c8b00de219acbfeb0009115a844": {"closing_mark": False},
    "b1843e7ebb2adbb4f2ecd74113a19c5d": {"strand": "both_concat", "phases": (0, 3)},
    "9b62f61d4158fab5a56b207ee1103c80": {"layer": -2},
    "f27bdbf41a88251a6901da7868701913": {"last_layers": 2, "storage": "float16", "length_rule": "trim_left"},
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_generator_keep_their_names(name, monkeypatch):
    options = EmbedOptions(**TABLES[name])
    assert options.fingerprint(load_generator(device="cpu")) == name
    monkeypatch.setattr(weight_files.WeightSource, "read", None)  # known without weights
    encoder = GeneratorEncoder(DNAWeights(), device="cpu")
    assert options.fingerprint(encoder) == name
    assert reader_for(encoder, options).width == 64 * (2 if "strand" in TABLES[name] else 1)


def test_a_window_is_part_of_the_name():
    weights = DNAWeights(seed=3, options=ModelOptions(context="sliding_window", window=64))
    assert EmbedOptions().fingerprint(GeneratorEncoder(weights, device="cpu")) == "89242fe8121089be7e00633c0cf35a2f"


def test_a_loaded_and_an_unloaded_generator_make_one_table_with_the_same_bytes(tmp_path):
    keys, texts = chunks(30)
    first, second = ChunkStore(tmp_path / "a"), ChunkStore(tmp_path / "b")
    loaded = first.embed(keys, texts, load_generator(device="cpu"), progress=False)
    lazy = second.embed(keys, texts, GeneratorEncoder(DNAWeights(), device="cpu"), progress=False)
    assert loaded.fingerprint == lazy.fingerprint
    assert (loaded.tokens, loaded.padding_tokens) == (lazy.tokens, lazy.padding_tokens)
    for pooling in ("last", "mean", "max"):
        assert np.array_equal(first.table(keys, pooling), second.table(keys, pooling))
