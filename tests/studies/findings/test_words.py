"""Words that a model reads: a row for each, with the places where people differ in them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from genebrain.alignment.closed_form.column_sets import ColumnSet, SetColumns
from genebrain.alignment.closed_form.columns import ColumnSettings, WindowColumns
from genebrain.alignment.closed_form.motifs.columns import MotifColumns
from genebrain.alignment.closed_form.motifs.words import counts_of, word_of
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.word_counts import word_counts
from genebrain.genetics.genome.gene_windows import Window
from genebrain.studies.findings.words import found_words, word_findings

N = 80
WORDS = [word_of("ACGTRCGT"), word_of("TTTTTTTT")]
TEXTS = [b"CCACGTACGTCC", b"CCACGTTCGTCC", b"ACGCACGTGGGG", b"ACCCACGTGGGG"]


@pytest.fixture(scope="module")
def people() -> ChunkSet:
    """The first word stands in the first chunk of one window and in the only chunk of a window on the minus strand."""
    rng = np.random.default_rng(0)
    index = np.full((N, 2, 2, 2), -1, np.int32)
    index[:, :, 0, 0] = rng.integers(0, 2, (N, 2))
    index[:, :, 0, 1] = 2
    index[:, :, 1, 0] = rng.integers(2, 4, (N, 2))
    return ChunkSet(np.zeros((4, 16), np.uint8), TEXTS, index, ["w0", "w1"], np.array([2, 1]), {})


def test_words_have_rows_with_their_places(people: ChunkSet) -> None:
    dosages = [np.random.default_rng(1).binomial(2, 0.4, (N, 2)).astype(np.float32) for _ in range(2)]
    plain = ColumnSettings("dosages", min_maf=0.0)
    alleles, exact = WindowColumns.fit(dosages, plain), word_counts(people, [False, True])
    counts = counts_of(WORDS, exact)
    motifs = MotifColumns(WORDS, counts.mean(axis=0), np.array([counts[:, 0].std(), 1.0]), alleles)
    sets = (ColumnSet("dosages", "d", "dosages", plain), ColumnSet("motifs", "motifs", "motifs", plain))
    columns = SetColumns(sets, (alleles, motifs))
    table = np.concatenate([alleles.transform(dosages), motifs.transform([exact, *dosages])], axis=1)
    coefficients = np.zeros((table.shape[1], 1))
    coefficients[4] = 1.0  # behind the four alleles of the first set
    closed = SimpleNamespace(columns=columns, coefficients=coefficients, predictive=np.ones(1))
    names, _, which = found_words(closed)
    assert names == ["ACGTRCGT", "TTTTTTTT"]
    assert which.tolist() == [2, 2, 2, 2, 0, 1, 2, 2, 2, 2]
    observed = table[:, 4:5] + 0.3 * np.random.default_rng(2).normal(size=(N, 1))
    windows = [Window("chr1", 100, 124, "w0"), Window("chr2", 60, 72, "w1", "-")]
    found = word_findings(closed, table, observed, np.arange(N), people, windows, 12, "window", n=99)
    first, second = found.to_dict("records")
    assert (first["word"], first["p"], first["n_places"]) == ("ACGTRCGT", 0.01, 2)
    assert first["places"] == "w0 chr1:103; w1 chr2:65"
    assert (second["word"], second["n_places"], second["places"]) == ("TTTTTTTT", 0, "")
    assert (first["share"], second["share"]) == (pytest.approx(1.0), 0.0)


def test_a_model_without_words_has_none() -> None:
    assert found_words(SimpleNamespace(columns=None)) is None
