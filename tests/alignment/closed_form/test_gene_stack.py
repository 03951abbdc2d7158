"""Several sets of gene columns: each regressed by itself, held-out predictions stacked, nothing of it for free."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import nnls

from genebrain.alignment.closed_form.choice import Judge
from genebrain.alignment.closed_form.column_sets import ColumnSet, GeneBlocks, SetColumns, rows_of
from genebrain.alignment.closed_form.columns import ColumnSettings, WindowColumns
from genebrain.alignment.closed_form.empirical_bayes import Posterior
from genebrain.alignment.closed_form.fit import ClosedForm, ClosedFormSettings, fit_closed_form
from genebrain.alignment.closed_form.gene_stack import MOST_GROWN, Member, stacked_reading
from genebrain.alignment.closed_form.spectral import grouped_folds
from genebrain.alignment.closed_form.told import told_genes
from genebrain.evaluation.rank_metrics import expected_recall_at_1

N, K = 400, 4
PLAIN = ColumnSettings("dosages", min_maf=0.0)
SETTINGS = ClosedFormSettings(dimensions=(K,), modes=("ridge", "row"), stack=True)


def cohort(seed: int = 0, effect: float = 1.0) -> tuple[GeneBlocks, dict[str, np.ndarray]]:
    """Half of the effects are in the dosages, half in the embeddings, none in a third set."""
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, 0.3, size=(N, 20)).astype(np.float32)
    vectors = rng.normal(size=(N, 15)).astype(np.float32)
    noise = rng.normal(size=(N, 15)).astype(np.float32)
    told = (dosages - 0.6) @ rng.normal(size=(20, K)) / 4 + vectors @ rng.normal(size=(15, K)) / 4
    brain = effect * told @ rng.normal(size=(K, 12)) + 0.5 * rng.normal(size=(N, 12))
    sets = (
        ColumnSet("variants", "d", "dosages", PLAIN),
        ColumnSet("vectors", "e", "embeddings", ColumnSettings()),
        ColumnSet("noise", "n", "embeddings", ColumnSettings()),
    )
    return GeneBlocks({"d": [dosages], "e": [vectors], "n": [noise]}, sets), {"scan": brain.astype(np.float32)}


@pytest.fixture(scope="module")
def fitted() -> tuple[ClosedForm, GeneBlocks, dict[str, np.ndarray]]:
    blocks, brain = cohort()
    train = np.arange(300)
    model = fit_closed_form(rows_of(blocks, train), {"scan": brain["scan"][train]}, train, settings=SETTINGS)
    return model, blocks, brain


def recall(model: ClosedForm, blocks: GeneBlocks, brain: dict[str, np.ndarray]) -> float:
    test = np.arange(300, N)
    genes = model.gene_vectors(model.gene_columns(rows_of(blocks, test)))
    return expected_recall_at_1(genes @ model.brain_vectors(brain["scan"][test]).T, relatives="rivals")


def test_two_halves_are_more_than_each_alone_and_noise_adds_nothing(fitted) -> None:
    model, blocks, brain = fitted
    weights = {}
    for row in model.chosen["genes"]["members"]:
        weights[row["columns"]] = weights.get(row["columns"], 0.0) + row["weight"]
    rng = np.random.default_rng(1)
    other = replace(blocks, sources={**blocks.sources, "n": [rng.permutation(blocks.sources["n"][0])]})
    told, changed = (model.predicted_latents(model.gene_columns(b)) for b in (blocks, other))
    assert np.mean((told - changed) ** 2) < 0.02 * np.mean(told**2)
    assert min(weights["variants"], weights["vectors"]) > 0.5
    alone = {family: recall(model.of_family(family), blocks, brain) for family in ("dosages", "embeddings")}
    assert recall(model, blocks, brain) > max(alone.values()) + 0.15
    assert min(alone.values()) > 3 / 32
    assert model.chosen["recall@1"] == pytest.approx(recall(model, blocks, brain), abs=0.12)
    assert "dosages alone" in told_genes(model.chosen)


def test_a_family_alone_reads_nothing_of_the_other(fitted) -> None:
    model, blocks, _ = fitted
    rng = np.random.default_rng(1)
    shuffled = replace(blocks, sources={**blocks.sources, "d": [rng.permutation(blocks.sources["d"][0])]})
    vectors = model.of_family("embeddings")
    one, two = (vectors.gene_vectors(vectors.gene_columns(b)) for b in (blocks, shuffled))
    np.testing.assert_array_equal(one, two)
    whole = [model.gene_vectors(model.gene_columns(b)) for b in (blocks, shuffled)]
    assert np.abs(whole[0] - whole[1]).max() > 0.1


def test_what_is_saved_is_what_was_fitted(fitted) -> None:
    model, blocks, brain = fitted
    again = ClosedForm.from_state(model.state())
    assert isinstance(again.columns, SetColumns)
    assert again.columns.sets == model.columns.sets
    for one, two in ((model, again), *((model.of_family(f), again.of_family(f)) for f in model.alone)):
        np.testing.assert_array_equal(
            one.gene_vectors(one.gene_columns(blocks)), two.gene_vectors(two.gene_columns(blocks))
        )
        np.testing.assert_array_equal(one.brain_vectors(brain["scan"]), two.brain_vectors(brain["scan"]))
    assert again.chosen == model.chosen


def test_weights_are_those_of_non_negative_least_squares_of_held_out_predictions() -> None:
    rng = np.random.default_rng(0)
    u = rng.normal(size=(90, 3))
    told = [u + rng.normal(size=u.shape), u + 2 * rng.normal(size=u.shape), -u]
    members = [Member("c", "dosages", str(i), t, np.zeros((1, 3)), 0.5) for i, t in enumerate(told)]
    judge = Judge(np.zeros((90, 1)), np.arange(90), grouped_folds(np.arange(90), 5, 0), ClosedFormSettings())
    found = stacked_reading(judge, members, u)
    wanted = nnls(np.stack([t.ravel() for t in told], axis=1), u.ravel())[0]
    np.testing.assert_allclose(found.weights, wanted, atol=1e-6)
    assert found.weights[2] == 0
    nested = np.zeros_like(u)
    for rows in judge.folds:  # slope and errors are those of people whom the weights did not see either
        others = np.setdiff1d(np.arange(90), rows)
        weights = nnls(np.stack([t[others].ravel() for t in told], axis=1), u[others].ravel())[0]
        nested[rows] = sum(w * t[rows] for w, t in zip(weights, told, strict=True))
    slope = (nested * u).sum() / (nested**2).sum()
    assert found.calibration.slope == pytest.approx(slope)
    np.testing.assert_allclose(found.predictive, np.mean((u - slope * nested) ** 2, axis=0), rtol=1e-6)


def test_where_genes_say_nothing_the_slope_is_near_zero() -> None:
    """Weights fitted on the very people would give a slope of one."""
    slopes = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        u = rng.normal(size=(80, 4))
        told = [0.3 * rng.normal(size=u.shape) for _ in range(6)]
        members = [Member("c", "dosages", str(i), t, np.zeros((1, 4)), 0.5) for i, t in enumerate(told)]
        judge = Judge(np.zeros((80, 1)), np.arange(80), grouped_folds(np.arange(80), 5, 0), ClosedFormSettings())
        slopes.append(stacked_reading(judge, members, u).calibration.slope)
    assert np.mean(slopes) < 0.5


def test_a_member_that_predicts_next_to_nothing_gets_no_huge_weight() -> None:
    rng = np.random.default_rng(0)
    u = rng.normal(size=(90, 3))
    members = [Member("c", "dosages", "entry", 1e-3 * u, np.zeros((1, 3)), 0.5)]
    judge = Judge(np.zeros((90, 1)), np.arange(90), grouped_folds(np.arange(90), 5, 0), ClosedFormSettings())
    assert stacked_reading(judge, members, u).weights.max() <= 1.2


@pytest.mark.parametrize(("grown", "kept"), [(1.0, 1.0), (1.3, 1.3), (1000.0, MOST_GROWN**0.5), (0.1, 0.1)])
def test_what_a_prior_finds_in_everybody_and_in_no_fold_does_not_enter_unjudged(grown: float, kept: float) -> None:
    rng = np.random.default_rng(0)
    one, rotation = 1e-3 * rng.normal(size=(5, 3)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    judge = Judge(rng.normal(size=(90, 5)), np.arange(90), grouped_folds(np.arange(90), 5, 0), ClosedFormSettings())
    mean = np.stack([*[one] * 5, grown * one])
    posterior = Posterior(mean, np.ones((6, 3)), np.ones_like(mean), np.stack([rotation] * 6))
    member = Member.of(judge, posterior, rng.normal(size=(90, 3)), "c", "dosages", "entry")
    np.testing.assert_allclose(member.coefficients, kept * one @ rotation.T)
    np.testing.assert_allclose(member.held_out, judge.x @ one @ rotation.T)


@pytest.mark.parametrize("seed", range(5))
def test_without_an_effect_the_stack_finds_nothing(seed: int) -> None:
    blocks, brain = cohort(seed, effect=0.0)
    train = np.arange(300)
    model = fit_closed_form(rows_of(blocks, train), {"scan": brain["scan"][train]}, train, settings=SETTINGS)
    assert abs(recall(model, blocks, brain) - 1 / 32) < 0.06
    assert abs(model.chosen["recall@1"] - 1 / 32) < 0.06


def test_sets_without_weight_are_not_kept(fitted) -> None:
    model, _, _ = fitted
    assert {one.name for one in model.columns.sets} <= {"variants", "vectors", "noise"}
    assert len(model.columns.window) == len(model.coefficients) == len(model.alone["embeddings"].coefficients)
    used = {r["columns"] for head in (model.chosen["genes"]["members"], *(h.members for h in model.alone.values()))
            for r in head if r["weight"]}  # fmt: skip
    assert {one.name for one in model.columns.sets} == used


def test_the_frequency_prior_keeps_frequent_columns_larger() -> None:
    rng = np.random.default_rng(2)
    rare, frequent = rng.binomial(2, 0.02, size=2000), rng.binomial(2, 0.4, size=2000)
    block = np.stack([rare, frequent], axis=1).astype(np.float32)
    columns = WindowColumns.fit([block], replace(PLAIN, power=0.5)).transform([block])
    np.testing.assert_allclose(columns.std(axis=0), block.std(axis=0) ** 0.5, rtol=1e-4)
    flat = ColumnSettings(item_width=2, variance=1.0, rotate=False, power=0.5)
    one, hundred = (WindowColumns.fit([scale * block], flat).transform([scale * block]) for scale in (1, 100))
    np.testing.assert_allclose(np.abs(one), np.abs(hundred), rtol=1e-3)
    assert one.var(axis=0).mean() == pytest.approx(1.0, rel=1e-3)
    assert one.std(axis=0)[0] / one.std(axis=0)[1] == pytest.approx(
        (block.std(0)[1] / block.std(0)[0]) ** 0.5, rel=0.05
    )


def test_all_components_of_an_item_are_kept_where_asked() -> None:
    rng = np.random.default_rng(3)
    block = (rng.normal(size=(100, 6)) * np.geomspace(1, 1e-3, 6)).astype(np.float32)
    few = WindowColumns.fit([block], ColumnSettings(item_width=6)).transform([block])
    every = WindowColumns.fit([block], ColumnSettings(item_width=6, variance=1.0)).transform([block])
    assert few.shape[1] < every.shape[1] == 6
    np.testing.assert_allclose(every.T @ every / 100, np.eye(6), atol=1e-3)


def test_sets_need_their_sources() -> None:
    blocks, _ = cohort()
    with pytest.raises(ValueError, match="no blocks of source d"):
        GeneBlocks({"e": blocks.sources["e"]}, blocks.sets)
    with pytest.raises(ValueError, match="need the blocks of their sources"):
        SetColumns.fit(blocks).transform(blocks.sources["e"])
