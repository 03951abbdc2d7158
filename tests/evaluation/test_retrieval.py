"""Laws of the retrieval metrics."""

from __future__ import annotations

import json

import numpy as np
import pytest

from genebrain.common.types import UserError
from genebrain.evaluation.retrieval import (
    chance,
    default_stratum_gallery,
    evaluate_retrieval,
    full_gallery,
    recall_curve,
    within_stratum,
)

METRICS = {
    "recall@1",
    "recall@5",
    "recall@10",
    "mrr",
    "median_rank",
    "mean_rank",
    "percentile_rank",
    "matched_auc",
}


def pair(n: int, d: int = 8, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gene = rng.standard_normal((n, d))
    return gene, gene + noise * rng.standard_normal((n, d))


def values(metrics: dict) -> dict:
    return {name: one["value"] for name, one in metrics.items()}


def plain_metrics(gene: np.ndarray, brain: np.ndarray) -> dict:
    """Full-gallery reference by sorting, one match per query, no ties: open_clip's definitions."""
    order = np.argsort(-(gene @ brain.T), axis=1)
    rank = 1 + np.argmax(order == np.arange(len(gene))[:, None], axis=1)
    return {
        "recall@1": np.mean(rank <= 1),
        "recall@5": np.mean(rank <= 5),
        "recall@10": np.mean(rank <= 10),
        "mrr": np.mean(1 / rank),
        "mean_rank": rank.mean(),
        "percentile_rank": np.mean(1 - (rank - 1) / (len(gene) - 1)),
    }


def test_agrees_with_sorting_on_the_full_gallery():
    gene, brain = pair(101)
    result = evaluate_retrieval(gene, brain, gallery_size=None)
    for direction, reference in (
        ("gene_to_brain", plain_metrics(gene, brain)),
        ("brain_to_gene", plain_metrics(brain, gene)),
    ):
        got = values(result[direction])
        assert set(got) == METRICS
        assert got == pytest.approx(got | reference)
        ranks = np.sort(np.argsort(np.argsort(-(gene @ brain.T), axis=1), axis=1).diagonal()) + 1
        if direction == "gene_to_brain":
            assert got["median_rank"] == np.median(ranks)


@pytest.mark.parametrize("with_ties", [False, True])
def test_expectation_equals_drawn_galleries(with_ties: bool):
    gene, brain = pair(40, d=3, noise=1.5)
    if with_ties:
        gene, brain = np.sign(gene), np.sign(brain)
    size, draws = 8, 4000
    result = values(evaluate_retrieval(gene, brain, gallery_size=size)["gene_to_brain"])
    rng = np.random.default_rng(1)
    scores = gene @ brain.T
    ranks = []
    for i in range(40):
        others = np.delete(np.arange(40), i)
        gallery = rng.permuted(np.tile(others, (draws, 1)), axis=1)[:, : size - 1]
        better = (scores[i, gallery] > scores[i, i]).sum(axis=1)
        ties = (scores[i, gallery] == scores[i, i]).sum(axis=1)
        ranks.append(1 + better + rng.integers(0, ties + 1))
    rank = np.concatenate(ranks)
    assert np.unique(np.sign(scores)).size > 1
    assert result["recall@1"] == pytest.approx(np.mean(rank <= 1), abs=0.006)
    assert result["recall@5"] == pytest.approx(np.mean(rank <= 5), abs=0.006)
    assert result["mrr"] == pytest.approx(np.mean(1 / rank), abs=0.006)
    assert result["mean_rank"] == pytest.approx(rank.mean(), abs=0.02)
    assert result["median_rank"] == np.median(rank)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
@pytest.mark.parametrize("size", [8, 64, None])
def test_collapsed_model_is_exactly_chance(value: float, size: int | None):
    flat = np.full((129, 7), value, dtype=np.float32)
    result = evaluate_retrieval(flat, flat, gallery_size=size, n_bootstrap=20)
    for direction in ("gene_to_brain", "brain_to_gene", "mean"):
        assert values(result[direction]) == pytest.approx(chance(size or 129), rel=1e-9)


def test_collapsed_brain_side_is_chance_whatever_the_genes():
    gene, _ = pair(300)
    flat = np.full_like(gene, 0.3)
    got = values(evaluate_retrieval(gene, flat)["gene_to_brain"])
    assert got == pytest.approx(chance(64), rel=1e-9)


def test_perfect_model_is_one_and_keeps_a_modest_interval():
    gene = np.linalg.qr(np.random.default_rng(0).standard_normal((80, 80)))[0]
    mean = evaluate_retrieval(gene, gene)["mean"]
    assert values(mean)["recall@1"] == values(mean)["percentile_rank"] == 1.0
    assert values(mean)["mrr"] == pytest.approx(1.0)
    assert mean["median_rank"] == {"value": 1.0, "ci": [1.0, 1.0]}
    low, high = mean["recall@1"]["ci"]
    assert high == pytest.approx(1.0)
    assert 0.9 < low < 0.99  # 80 people cannot show more


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_raise_and_name_the_rows(bad: float):
    gene, brain = pair(20)
    brain[[3, 7], 0] = bad
    with pytest.raises(UserError, match=r"2 of 20 brain embeddings \(rows 3, 7\)"):
        evaluate_retrieval(gene, brain, gallery_size=8)


def test_values_that_would_overflow_raise():
    gene, brain = pair(20)
    with pytest.raises(UserError, match="may overflow float32"):
        evaluate_retrieval(gene.astype(np.float32) * 1e30, brain.astype(np.float32) * 1e30, gallery_size=8)


def test_gallery_beyond_the_test_set_raises_with_both_numbers():
    gene, brain = pair(20)
    with pytest.raises(UserError, match=r"gallery of 64 .* at most 20"):
        evaluate_retrieval(gene, brain)


def test_shapes_that_disagree_raise():
    gene, brain = pair(20)
    with pytest.raises(UserError, match=r"\[20, 8\] and \[19, 8\]"):
        evaluate_retrieval(gene, brain[:-1], gallery_size=8)
    with pytest.raises(UserError, match="families has 3 labels for 20"):
        evaluate_retrieval(gene, brain, gallery_size=8, families=np.arange(3))


def test_order_of_subjects_does_not_matter():
    gene, brain = pair(150)
    families = np.arange(150) // 2
    order = np.random.default_rng(3).permutation(150)
    one = evaluate_retrieval(gene, brain, families=families)
    two = evaluate_retrieval(gene[order], brain[order], families=families[order])
    for direction in one:
        assert values(one[direction]) == pytest.approx(values(two[direction]), rel=1e-12)


def test_swapping_the_sides_swaps_the_directions():
    gene, brain = pair(90)
    one, two = evaluate_retrieval(gene, brain), evaluate_retrieval(brain, gene)
    assert one["gene_to_brain"] == two["brain_to_gene"]
    assert one["mean"] == two["mean"]
    middle = (one["gene_to_brain"]["recall@1"]["value"] + one["brain_to_gene"]["recall@1"]["value"]) / 2
    assert one["mean"]["recall@1"]["value"] == pytest.approx(middle)


def test_same_seed_same_intervals():
    gene, brain = pair(90)
    assert evaluate_retrieval(gene, brain, seed=4) == evaluate_retrieval(gene, brain, seed=4)


def test_identical_twins_are_matches_of_each_other():
    """A perfect model of 30 twin pairs and 20 others; the scans of twins may even be swapped."""
    genome = np.concatenate([np.repeat(np.arange(30), 2), np.arange(30, 50)])
    codes = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 50)))[0]
    gene = codes[genome]
    brain = gene.copy()
    known = evaluate_retrieval(gene, brain, genome_id=genome, gallery_size=None)["mean"]
    assert known["recall@1"]["value"] == 1.0
    unknown = evaluate_retrieval(gene, brain, gallery_size=None)["mean"]
    assert unknown["recall@1"]["value"] == pytest.approx((60 / 2 + 20) / 80)  # a coin per twin pair
    assert full_gallery(80, genome) == 79


def test_best_of_several_matches_counts():
    """Tables small enough to read: the query's own scan is last, its twin's scan is first."""
    gene = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    brain = np.array([[-1.0, 0.0], [2.0, 0.0], [1.0, 3.0], [1.5, -1.0]])
    result = evaluate_retrieval(gene, brain, genome_id=np.array([0, 0, 1, 2]), gallery_size=3)
    # ranks: twins 1 and 1 (their best scan scores 2, the others 1 and 1.5); third 1; fourth last
    assert result["gene_to_brain"]["recall@1"]["value"] == pytest.approx(3 / 4)


def test_families_widen_the_interval():
    gene, brain = pair(60, noise=2.0)
    families = np.repeat(np.arange(60), 4)
    gene, brain = np.repeat(gene, 4, axis=0), np.repeat(brain, 4, axis=0)
    gene += 1e-3 * np.random.default_rng(0).standard_normal(gene.shape)

    def width(labels: np.ndarray | None) -> float:
        low, high = evaluate_retrieval(gene, brain, families=labels)["mean"]["percentile_rank"]["ci"]
        return high - low

    assert width(families) > 1.6 * width(None)


def test_interval_holds_chance_at_the_nominal_rate_without_signal():
    rng = np.random.default_rng(5)
    held = {"recall@5": 0, "percentile_rank": 0, "recall@1": 0}
    repeats = 100
    for seed in range(repeats):
        gene, brain = rng.standard_normal((2, 120, 8))
        result = evaluate_retrieval(gene, brain, n_bootstrap=100, seed=seed)["gene_to_brain"]
        for name in held:
            low, high = result[name]["ci"]
            held[name] += low <= chance(64)[name] <= high
    rates = {name: count / repeats for name, count in held.items()}
    assert 0.88 <= rates["percentile_rank"] <= 1.0
    assert rates["recall@5"] >= 0.92  # nominal or more
    assert rates["recall@1"] >= 0.92


def test_curve_passes_through_the_metrics():
    gene, brain = pair(100)
    curve = recall_curve(gene, brain, gallery_size=32)
    mean = evaluate_retrieval(gene, brain, gallery_size=32)["mean"]
    for k in (1, 5, 10):
        assert curve["recall"][k - 1] == pytest.approx(mean[f"recall@{k}"]["value"])
    assert curve["recall"][-1] == pytest.approx(1.0)
    assert (np.diff(curve["recall"]) >= -1e-12).all()


def test_larger_galleries_are_harder_and_results_are_json():
    gene, brain = pair(400)
    recalls = [
        evaluate_retrieval(gene, brain, gallery_size=size, n_bootstrap=50)["mean"]["recall@1"]["value"]
        for size in (8, 64, 200, 400)
    ]
    assert recalls == sorted(recalls, reverse=True)
    json.dumps(within_stratum(gene, brain, strata=["a"] * 200 + ["b"] * 200), allow_nan=False)


def test_within_stratum_removes_what_only_the_stratum_explains():
    rng = np.random.default_rng(0)
    site = rng.integers(0, 5, 500)
    codes = 4 * rng.standard_normal((5, 6))
    gene = codes[site] + rng.standard_normal((500, 6))
    brain = codes[site] + rng.standard_normal((500, 6))
    everybody = evaluate_retrieval(gene, brain)["mean"]["percentile_rank"]
    inside = within_stratum(gene, brain, strata=site)
    assert everybody["ci"][0] > 0.7
    low, high = inside["mean"]["percentile_rank"]["ci"]
    assert low <= 0.5 <= high
    assert inside["gallery_size"] == 16
    assert inside["chance"]["recall@1"] == 1 / 16
    assert inside["left_out"] == {"subjects": 0, "strata": 0}
    assert sum(one["n"] for one in inside["per_stratum"]) == inside["n_subjects"] == 500


def test_small_strata_are_left_out_and_counted():
    gene, brain = pair(100)
    strata = ["large"] * 90 + ["small"] * 7 + ["single"] * 3
    inside = within_stratum(gene, brain, strata=strata, gallery_size=20)
    assert inside["strata"] == ["large"]
    assert inside["left_out"] == {"subjects": 10, "strata": 2}
    assert within_stratum(gene, brain, strata=np.arange(100)) is None
    with pytest.raises(UserError, match="gallery of 91"):
        within_stratum(gene, brain, strata=strata, gallery_size=91)


def test_stratum_gallery_covers_most_subjects():
    sizes = np.array([100, 12, 3])
    assert default_stratum_gallery(sizes, sizes) == 16  # the large one alone covers 87 %
    sizes = np.array([12, 9, 8, 3])
    assert default_stratum_gallery(sizes, sizes) == 8


def test_one_stratum_is_the_whole_set():
    gene, brain = pair(100)
    inside = within_stratum(gene, brain, strata=np.zeros(100, int), gallery_size=32)
    assert inside["mean"] == evaluate_retrieval(gene, brain, gallery_size=32)["mean"]


def test_a_model_that_found_nothing_shared_is_at_chance_by_ties():
    nothing = np.empty((40, 0))
    recall = np.asarray(recall_curve(nothing, nothing, gallery_size=16)["recall"])
    np.testing.assert_allclose(recall, np.arange(1, 17) / 16)
