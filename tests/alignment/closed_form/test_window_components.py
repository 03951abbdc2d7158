"""Columns of blocks: fitted on training people only, missing values and constants named or harmless."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.alignment.closed_form.columns import ColumnSettings, WindowColumns


def embedded(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two chunks of five variants each, written into random directions of 16 dimensions: ``[n, 2*16]``."""
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, 0.4, size=(n, 10)).astype(np.float64)
    directions = rng.normal(size=(10, 16))
    chunks = [dosage[:, 5 * c : 5 * c + 5] @ directions[5 * c : 5 * c + 5] for c in range(2)]
    return dosage, (np.concatenate(chunks, axis=1) + 7.0).astype(np.float32)


def test_components_are_whitened_on_training_people_and_linear_in_others() -> None:
    _, block = embedded()
    columns = WindowColumns.fit([block[:200], block[:200]])
    x = columns.transform([block[:200], block[:200]]).astype(np.float64)
    half = x.shape[1] // 2
    np.testing.assert_allclose(x[:, :half].T @ x[:, :half] / 200, np.eye(half), atol=1e-4)
    np.testing.assert_array_equal(columns.window, np.repeat([0, 1], half))
    new = columns.transform([block[200:], block[200:]])
    np.testing.assert_allclose(new[:, :half], new[:, half:])


def test_items_are_decomposed_apart() -> None:
    dosage, block = embedded(2000)
    x = WindowColumns.fit([block], ColumnSettings(item_width=16, variance=0.9999)).transform([block])
    assert x.shape[1] == 10
    correlation = np.abs(np.corrcoef(x.T, dosage.T)[:10, 10:])
    assert correlation[:5, 5:].max() < 0.1
    assert correlation[5:, :5].max() < 0.1


def test_rotation_within_an_item_shows_rare_variants() -> None:
    """Varimax of the component scores makes a component of one variant, where plain components mix all."""
    rng = np.random.default_rng(0)
    dosage = rng.binomial(2, 0.06, size=(2000, 4)).astype(np.float64)
    block = dosage @ rng.normal(size=(4, 16))
    best = []
    for settings in (ColumnSettings(variance=0.9999), ColumnSettings(variance=0.9999, item_width=16)):
        x = WindowColumns.fit([block], settings).transform([block])
        best.append(np.abs(np.corrcoef(x.T, dosage.T)[:4, 4:]).max(axis=0).min())
    plain, rotated = best
    assert rotated > 0.97
    assert plain < 0.9


def test_variance_and_number_limits() -> None:
    _, block = embedded()
    assert WindowColumns.fit([block], ColumnSettings(max_components=3)).transform([block]).shape[1] == 3
    few = WindowColumns.fit([block], ColumnSettings(variance=0.5)).transform([block]).shape[1]
    assert 1 <= few < 10
    assert WindowColumns.fit([block[:9]]).transform([block]).shape[1] == 3


def test_constant_block_gives_no_column() -> None:
    _, block = embedded()
    flat = np.full((300, 4), 3.3, dtype=np.float32)
    columns = WindowColumns.fit([flat, block])
    assert set(columns.window) == {1}
    only = WindowColumns.fit([flat]).transform([flat])
    assert only.shape == (300, 0)


def test_people_without_a_window_get_its_mean() -> None:
    _, block = embedded()
    holes = block.copy()
    holes[::3] = np.nan
    columns = WindowColumns.fit([holes], ColumnSettings(item_width=16))
    x = columns.transform([holes])
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(x[::3], 0.0)
    nobody = np.full((300, 4), np.nan)
    assert WindowColumns.fit([nobody]).transform([nobody]).shape == (300, 0)


def test_dosages_are_standardised_filtered_and_filled() -> None:
    rng = np.random.default_rng(0)
    block = rng.binomial(2, 0.3, size=(400, 4)).astype(np.float32)
    block[:, 1] = 0.0
    block[:, 2] = 0.0
    block[:3, 2] = 1.0  # frequency 3/800, below one per cent
    block[5, 0] = np.nan
    columns = WindowColumns.fit([block], ColumnSettings(kind="dosages"))
    x = columns.transform([block])
    assert x.shape[1] == 2
    assert x[5, 0] == 0.0
    np.testing.assert_allclose(x.std(axis=0), 1.0, atol=1e-5)
    # Frequencies are those of the people it was fitted on.
    np.testing.assert_allclose(
        columns.transform([block + 1])[6] - x[6], 1 / np.nanstd(block, axis=0)[[0, 3]], rtol=0.01
    )


def test_deviation_is_what_heterozygotes_have_beyond_the_straight_line() -> None:
    block = np.random.default_rng(0).binomial(2, [0.4, 0.1, 0.01], size=(2000, 3)).astype(np.float32)
    settings = ColumnSettings(kind="dosages", effects="deviation")
    columns = WindowColumns.fit([block], settings)
    x = columns.transform([block])
    assert x.shape[1] == 2  # of the rare allele there are too few homozygotes
    for j in range(2):
        line = np.polynomial.Polynomial.fit(block[:, j], block[:, j] == 1, 1)
        assert np.corrcoef(x[:, j], (block[:, j] == 1) - line(block[:, j]))[0, 1] > 0.999
        assert abs(np.corrcoef(x[:, j], block[:, j])[0, 1]) < 0.05
    np.testing.assert_allclose(x.std(axis=0), 1.0, atol=0.05)
    unknown = np.full((1, 3), np.nan, np.float32)
    np.testing.assert_array_equal(columns.transform([unknown]), 0)
    again = WindowColumns.from_state(columns.state())
    np.testing.assert_array_equal(again.transform([block]), x)


@pytest.mark.parametrize(
    "settings",
    [ColumnSettings(), ColumnSettings(item_width=16), ColumnSettings(kind="dosages", min_maf=0.0)],
)
def test_state_round_trip(settings: ColumnSettings) -> None:
    dosage, block = embedded()
    blocks = [dosage if settings.kind == "dosages" else block]
    columns = WindowColumns.fit(blocks, settings)
    again = WindowColumns.from_state(columns.state())
    np.testing.assert_array_equal(again.transform(blocks), columns.transform(blocks))
    assert again.settings == settings


def test_mistakes_are_named_with_both_numbers() -> None:
    _, block = embedded()
    columns = WindowColumns.fit([block])
    with pytest.raises(ValueError, match=r"widths \[32\], got \[31\]"):
        columns.transform([block[:, 1:]])
    with pytest.raises(ValueError, match=r"equally many rows, got \[299, 300\]"):
        WindowColumns.fit([block, block[1:]])
    with pytest.raises(ValueError, match=r"\[32\] are no multiples of item_width 10"):
        WindowColumns.fit([block], ColumnSettings(item_width=10))
    with pytest.raises(ValueError, match="no windows"):
        WindowColumns.fit([])
    holes = block.copy()
    holes[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"neither finite nor wholly missing.*\{1: 1\}"):
        WindowColumns.fit([block, holes])
    with pytest.raises(ValueError, match="dosages"):
        ColumnSettings(effects="deviation")
