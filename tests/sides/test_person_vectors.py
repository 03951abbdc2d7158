from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain.brain.encoders.embed import Embeddings
from genebrain.common.types import UserError
from genebrain.sides.person_vectors import PersonVectors
from genebrain.sides.scans import EncoderSide

SCANS = [["a", "b"], ["c"], ["d", "lost", "e"], ["f"]]


@pytest.fixture
def stored(tmp_path: Path) -> Embeddings:
    """Windows of six scans on disk."""
    rng, files = np.random.default_rng(0), {}
    for number, key in enumerate("abcdef"):
        files[key] = tmp_path / f"{key}.npy"
        np.save(files[key], rng.normal(size=(number + 1, 10)).astype(np.float32))
    return Embeddings(files)


def test_rows_are_means_over_windows_then_over_scans_by_their_weights(stored: Embeddings) -> None:
    vectors = PersonVectors(stored, SCANS, {"a": 3.0})
    everybody = np.asarray(vectors)
    assert everybody.dtype == np.float32
    assert everybody.shape == vectors.shape == (4, 10)
    mean = {key: windows.mean(axis=0, dtype=np.float64) for key, windows in stored.items()}
    expected = [(3 * mean["a"] + mean["b"]) / 4, mean["c"], (mean["d"] + mean["e"]) / 2, mean["f"]]
    np.testing.assert_allclose(everybody, expected, rtol=1e-6)
    np.testing.assert_array_equal(vectors[1:3], everybody[1:3])
    np.testing.assert_array_equal(np.asarray(vectors.of(np.array([3, 0]))), everybody[[3, 0]])
    assert np.asarray(vectors, np.float64).dtype == np.float64


def test_only_the_rows_that_are_asked_for_are_read(stored: Embeddings, tmp_path: Path) -> None:
    vectors = PersonVectors(stored, SCANS, {})
    (tmp_path / "f.npy").unlink()
    assert len(vectors[:3]) == 3
    with pytest.raises(UserError, match=r"f\.npy"):
        np.asarray(vectors)


def test_connectivity_learns_the_same_from_blocks_as_from_all_vectors_in_memory(stored: Embeddings) -> None:
    side = EncoderSide("brainlm", summary="connectivity", components=(3, "all"))
    rng = np.random.default_rng(1)
    rows = {}
    for key, windows in stored.items():
        series = rng.normal(size=(len(windows), 30, 4))
        covariances = np.swapaxes(series, 1, 2) @ series / 30
        rows[key] = covariances[:, *np.triu_indices(4)].astype(np.float32)
    vectors, training = PersonVectors(rows, SCANS, {}), np.array([0, 2, 3])
    read, held = side.fit((vectors,), training), side.fit((np.asarray(vectors),), training)
    assert list(read) == ["connectivity-3", "connectivity-4"]
    for name, feature in read.items():
        np.testing.assert_array_equal(feature.transform(vectors), held[name].transform(np.asarray(vectors)))
