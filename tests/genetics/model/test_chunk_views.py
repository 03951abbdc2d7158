"""Strands, frames and layers: what a reverse complement, an average and a layer number must do to a vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.reference import reverse_complement
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.encode import POOLINGS
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer
from genebrain.genetics.model.views import ChunkViews
from genebrain.genetics.store.plan import EmbedOptions
from genebrain.genetics.store.store import ChunkStore
from tests.genetics.chunk_tables import keys_of

ALL = (0, 1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def sequences() -> list[bytes]:
    random = np.random.default_rng(3)
    return [bytes(random.choice(np.frombuffer(b"ACGT", np.uint8), n)) for n in (7, 11, 60, 61, 65, 90, 96)]


def embed(
    folder: Path, backbone: GeneratorBackbone, sequences: list[bytes], **options: Any
) -> dict[str, NDArray[np.float32]]:
    keys = keys_of(sequences)
    chosen = EmbedOptions(**{"tokens_per_batch": 60, **options})
    store = ChunkStore(folder)
    report = store.embed(keys, sequences, backbone, chosen, progress=False)
    assert report.encoded == len(sequences)
    return {name: store.table(keys, name, report.fingerprint) for name in POOLINGS}


def by_hand(backbone: GeneratorBackbone, text: bytes, layer: int = -1) -> dict[str, torch.Tensor]:
    framed = SixMerTokenizer.frame(text.decode())
    ids = torch.tensor([[BOS, *SixMerTokenizer().encode(framed), BOS]])
    hidden = backbone.model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0]
    return {"last": hidden[-1], "mean": hidden.mean(0), "max": hidden.amax(0)}


@pytest.mark.parametrize("phases", [(0,), (0, 2, 5), ALL])
def test_reverse_complement_leaves_both_mean_and_swaps_both_concat(
    tmp_path: Path, backbone: GeneratorBackbone, sequences: list[bytes], phases: tuple[int, ...]
) -> None:
    other = [reverse_complement(s) for s in sequences]
    mean = embed(tmp_path / "a", backbone, sequences, strand="both_mean", phases=phases)
    mean_other = embed(tmp_path / "b", backbone, other, strand="both_mean", phases=phases)
    both = embed(tmp_path / "c", backbone, sequences, strand="both_concat", phases=phases)
    both_other = embed(tmp_path / "d", backbone, other, strand="both_concat", phases=phases)
    forward = embed(tmp_path / "e", backbone, sequences, phases=phases)
    for name in POOLINGS:
        np.testing.assert_allclose(mean_other[name], mean[name], atol=1e-6)
        assert both[name].shape == (len(sequences), 128)
        np.testing.assert_allclose(both_other[name], np.roll(both[name], 64, axis=1), atol=1e-6)
        np.testing.assert_allclose(both[name][:, :64], forward[name], atol=1e-6)
        np.testing.assert_allclose((both[name][:, :64] + both[name][:, 64:]) / 2, mean[name], atol=1e-6)
        assert np.abs(both[name][:, :64] - both[name][:, 64:]).max() > 0.1


def test_phases_are_the_mean_of_single_phases_and_of_the_hand_made_reading(
    tmp_path: Path, backbone: GeneratorBackbone, sequences: list[bytes]
) -> None:
    together = embed(tmp_path / "all", backbone, sequences, phases=[0, 1, 4])
    single = [embed(tmp_path / str(p), backbone, sequences, phases=(p,)) for p in (0, 1, 4)]
    for name in POOLINGS:
        np.testing.assert_allclose(together[name], np.mean([s[name] for s in single], axis=0), atol=1e-6)
    for row, text in enumerate(sequences):
        read = [text[p:] if len(text) >= p + 6 else text for p in (0, 1, 4)]
        expected = torch.stack([by_hand(backbone, t)["mean"] for t in read]).mean(0)
        np.testing.assert_allclose(together["mean"][row], expected, atol=1e-5)


def test_layers_count_from_the_end(tmp_path: Path, backbone: GeneratorBackbone, sequences: list[bytes]) -> None:
    plain = embed(tmp_path / "plain", backbone, sequences)
    last = embed(tmp_path / "last", backbone, sequences, layer=-1)
    earlier = embed(tmp_path / "earlier", backbone, sequences, layer=-2)
    averaged = embed(tmp_path / "averaged", backbone, sequences, last_layers=2)
    for name in POOLINGS:
        assert last[name].tobytes() == plain[name].tobytes()
        expected = torch.stack([by_hand(backbone, s, layer=-2)[name] for s in sequences])
        np.testing.assert_allclose(earlier[name], expected, atol=1e-5)
    np.testing.assert_allclose(averaged["mean"], (plain["mean"] + earlier["mean"]) / 2, atol=1e-5)
    with pytest.raises(UserError, match=r"layer -3 is asked for, but generator_tiny has 2 layers"):
        embed(tmp_path / "none", backbone, sequences, layer=-3)


def test_more_than_one_batch_and_thread_give_the_same_layers(
    tmp_path: Path, backbone: GeneratorBackbone, sequences: list[bytes]
) -> None:
    before = torch.get_num_threads()
    one = embed(tmp_path / "1", backbone, sequences, layer=-2, strand="both_mean")
    torch.set_num_threads(3)
    try:
        three = embed(tmp_path / "3", backbone, sequences, layer=-2, strand="both_mean")
    finally:
        torch.set_num_threads(before)
    assert all(one[name].tobytes() == three[name].tobytes() for name in POOLINGS)


def test_every_reading_names_another_table_and_the_plain_one_keeps_its_name(backbone: GeneratorBackbone) -> None:
    readings: list[dict[str, Any]] = [
        {},
        {"strand": "both_mean"},
        {"strand": "both_concat"},
        {"phases": [0, 3]},
        {"phases": [3]},
        {"layer": -2},
        {"last_layers": 2},
    ]
    assert len({EmbedOptions(**r).fingerprint(backbone) for r in readings}) == len(readings)
    # What names a table without these options must not change: stores on disk are found by it.
    assert sorted(EmbedOptions().identity(backbone)) == [
        "closing_mark", "compute", "frame", "model", "opening_mark", "storage", "tokenizer",
    ]  # fmt: skip
    assert EmbedOptions(phases=[3]).identity(backbone)["phases"] == (3,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strand": "reverse"}, "strand='reverse': use one of forward, both_mean, both_concat"),
        ({"phases": []}, r"phases=\[\]: give each"),
        ({"phases": [0, 6]}, r"phases=\[0, 6\]: give each of the phases 0 to 5"),
        ({"phases": [1, 1]}, "at most once"),
        ({"layer": 0}, "count from the end"),
        ({"last_layers": 0}, "count from the end"),
        ({"layer": -2, "last_layers": 2}, "goes with layer=-1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EmbedOptions(**options)


def test_views_of_a_chunk() -> None:
    views = ChunkViews("both_mean", (0, 2))
    assert views.read([b"AACCGGTTN"]) == [[b"AACCGGTTN"], [b"CCGGTTN"], [b"NAACCGGTT"], [b"ACCGGTT"]]
    assert (views.n_views, views.width(64), ChunkViews("both_concat").width(64)) == (4, 64, 128)
