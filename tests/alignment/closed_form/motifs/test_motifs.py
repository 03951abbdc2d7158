"""Motif pursuit: words that act are found letter by letter, and where none acts nothing is said."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.alignment.closed_form.column_sets import ColumnSet, GeneBlocks, SetColumns, rows_of
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedForm, ClosedFormSettings, fit_closed_form
from genebrain.alignment.closed_form.motifs.members import MOTIFS
from genebrain.alignment.closed_form.motifs.pursuit import PursuitSettings, pursue, whitening
from genebrain.alignment.closed_form.motifs.words import (
    N_EXACT,
    codes,
    counts_of,
    exact_word,
    name_of,
    word_of,
)

N, K = 240, 3
NAMES = ("ACRTTGWC", "GGYATMCA")
FEW = PursuitSettings(most=3, seeds=3)
PLAIN = ColumnSettings("dosages", min_maf=0.0, power=0.5)


def cohort(seed: int, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variants each of which changes a few exact words; two degenerate words act. Counts, dosages, latents."""
    rng = np.random.default_rng(seed)
    changed = np.zeros((120, N_EXACT), np.float32)
    acting = [codes(word_of(name)) for name in NAMES]
    for number, row in enumerate(changed):
        row[rng.integers(N_EXACT, size=6)] += 1
        if number < 80:  # one exact word of one of the two comes or goes
            row[acting[number % 2][number // 2 % len(acting[0])]] += 1 if number % 3 else -1
    dosages = rng.binomial(2, rng.uniform(0.02, 0.5, size=120), size=(N, 120))
    counts = (dosages.astype(np.float32) @ changed + 200).astype(np.uint16)
    told = np.stack([counts[:, one].sum(axis=1) for one in acting], axis=1).astype(float)
    told = (told - told.mean(axis=0)) / told.std(axis=0)
    u = effect * told @ rng.normal(size=(2, K)) + rng.normal(size=(N, K))
    return counts, dosages.astype(np.float32), (u - u.mean(axis=0)) / u.std(axis=0)


def blocks_of(counts: np.ndarray, dosages: np.ndarray) -> GeneBlocks:
    sets = (ColumnSet("dosages", "d", "dosages", PLAIN), ColumnSet(MOTIFS, MOTIFS, MOTIFS, PLAIN))
    return GeneBlocks({"d": [dosages], MOTIFS: [counts, dosages]}, sets)


def fit(counts: np.ndarray, dosages: np.ndarray, u: np.ndarray) -> ClosedForm:
    settings = ClosedFormSettings(dimensions=(K,), modes=("ridge",))
    blocks = blocks_of(counts, dosages)
    return fit_closed_form(blocks, {"scan": u}, np.arange(len(u)), settings=settings, progress=True)


@pytest.fixture(scope="module")
def found() -> tuple[ClosedForm, GeneBlocks]:
    counts, dosages, u = cohort(1)
    return fit(counts, dosages, u), blocks_of(counts, dosages)


def test_words_and_names_go_both_ways_and_counts_are_sums() -> None:
    assert [name_of(word_of(name)) for name in (*NAMES, "NNNNACGT")] == [*NAMES, "NNNNACGT"]
    assert name_of(exact_word(int(codes(word_of("ACGTACGT"))[0]))) == "ACGTACGT"
    exact = np.random.default_rng(0).integers(5, size=(4, N_EXACT)).astype(np.uint16)
    by_hand = sum(exact[:, codes(word_of(f"AC{r}TTG{w}C"))[0]].astype(float) for r in "AG" for w in "AT")
    np.testing.assert_array_equal(counts_of([word_of(NAMES[0])], exact)[:, 0], by_hand)


def likeness(names: list[str], counts: np.ndarray) -> float:
    """Smallest, over the acting words, of the best correlation of their counts with those of a found word."""
    acting, found = (counts_of([word_of(name) for name in some], counts) for some in (NAMES, names))
    return float(np.abs(np.corrcoef(acting.T, found.T)[: len(NAMES), len(NAMES) :]).max(axis=1).min())


def test_acting_words_are_found_up_to_letters_that_few_people_carry() -> None:
    counts, _, u = cohort(2)
    words = pursue(counts, np.zeros((N, 0)), u, FEW)
    assert likeness([name_of(word) for word in words[:2]], counts) > 0.9


def test_without_an_effect_no_word_joins_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    counts, dosages, u = cohort(3, effect=0.0)
    model = fit(counts, dosages, u)
    assert capsys.readouterr().err == "", "bars would fill a log file"
    assert not model.chosen[MOTIFS]["approved"]
    assert isinstance(model.columns, SetColumns)
    assert all(one.family != MOTIFS for one in model.columns.sets)


def test_words_that_gain_are_told_and_restored(found: tuple[ClosedForm, GeneBlocks]) -> None:
    model, blocks = found
    facts = model.chosen[MOTIFS]
    assert facts["approved"]
    assert likeness(facts["words"], blocks.sources[MOTIFS][0]) > 0.9
    assert MOTIFS in model.alone
    state = model.state()
    again = ClosedForm.from_state(state)
    np.testing.assert_array_equal(again.gene_columns(blocks), model.gene_columns(blocks))
    some = np.array([5, 7])
    np.testing.assert_array_equal(model.gene_columns(rows_of(blocks, some)), model.gene_columns(blocks)[some])
    assert (model.columns.window == 1).sum() == facts["found"]  # words belong to no window


def test_whitening_inverts_the_covariance_of_background_and_noise() -> None:
    rng = np.random.default_rng(0)
    background = rng.normal(size=(200, 20))
    u = 2.0 * background @ rng.normal(size=(20, 30)) + rng.normal(size=(200, 30))
    whiten = whitening(background, u)
    left = whiten(u - u.mean(axis=0))
    axes = np.linalg.svd(background - background.mean(axis=0), full_matrices=False)[0]
    inside, outside = (axes.T @ left).var(), (left - axes @ (axes.T @ left)).var() * 200 / 179
    assert inside / outside == pytest.approx(1.0, abs=0.15)
