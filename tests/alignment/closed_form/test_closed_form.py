"""The recipe as a whole, on small cohorts whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from genebrain.alignment.closed_form import choice
from genebrain.alignment.closed_form.choice import Judge
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedForm, ClosedFormSettings, TooManyColumnsError, fit_closed_form
from genebrain.alignment.closed_form.regression_data import PeopleRows
from genebrain.alignment.closed_form.ridge_cca import fit_ridge_cca
from genebrain.evaluation.rank_metrics import expected_recall_at_1

N, N_TEST = 500, 200
DOSAGES = ClosedFormSettings(columns=ColumnSettings(kind="dosages"), dimensions=(3, 6))


def cohort(seed: int, *, heritability: float = 0.9, n: int = N + N_TEST) -> dict[str, Any]:
    """Six windows of ten independent variants, three causal per latent; the brain shows latents and noise."""
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, 0.3, size=(n, 60)).astype(np.float32)
    standard = (dosage - 0.6) / np.sqrt(0.42)
    effects = np.zeros((60, 6))
    for d in range(6):
        effects[rng.choice(60, 3, replace=False), d] = 3**-0.5
    trait = np.sqrt(heritability) * standard @ effects + np.sqrt(1 - heritability) * rng.normal(size=(n, 6))
    mixing = np.linalg.qr(rng.normal(size=(40, 6)))[0]
    loud = trait @ mixing.T + 0.1 * rng.normal(size=(n, 40))
    quiet = trait @ mixing.T + 1.5 * rng.normal(size=(n, 40))
    blocks = [dosage[:, 10 * w : 10 * w + 10] for w in range(6)]
    return {"blocks": blocks, "brain": {"loud": loud, "quiet": quiet}, "families": np.arange(n)}


def held_out_recall(model: ClosedForm, data: dict[str, Any]) -> float:
    gene = model.gene_vectors(model.gene_columns([b[N:] for b in data["blocks"]]))
    brain = model.brain_vectors(data["brain"][model.chosen["brain"]][N:])
    return expected_recall_at_1(gene @ brain.T, relatives="rivals")


def fit(data: dict[str, Any], settings: ClosedFormSettings = DOSAGES, n: int = N) -> ClosedForm:
    brain = {name: f[:n] for name, f in data["brain"].items()}
    return fit_closed_form([b[:n] for b in data["blocks"]], brain, data["families"][:n], settings=settings)


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return cohort(0)


@pytest.fixture(scope="module")
def model(data: dict[str, Any]) -> ClosedForm:
    return fit(data)


def test_finds_the_signal_and_prefers_the_loud_brain(data: dict[str, Any], model: ClosedForm) -> None:
    assert model.chosen["brain"] == "loud"
    assert model.chosen["k"] == 6
    assert held_out_recall(model, data) > 0.85


def test_cross_validation_predicts_the_held_out_score(data: dict[str, Any], model: ClosedForm) -> None:
    assert abs(model.chosen["recall@1"] - held_out_recall(model, data)) < 0.07


def test_not_worse_than_ridge_cca(data: dict[str, Any], model: ClosedForm) -> None:
    columns = model.gene_columns(data["blocks"])
    brain = data["brain"]["loud"]
    baseline = fit_ridge_cca(columns[:N], brain[:N], data["families"][:N], seed=0)
    scores = baseline.gene_vectors(columns[N:]) @ baseline.brain_vectors(brain[N:]).T
    recall = expected_recall_at_1(scores, relatives="rivals")
    assert recall > 0.5
    assert held_out_recall(model, data) > recall - 0.01


def test_very_many_people_are_ranked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    gene = rng.normal(size=(900, 6))
    brain, rows = gene + rng.normal(size=gene.shape), np.arange(900)
    judge = Judge(gene[:0], rows, [rows], ClosedFormSettings())
    whole = judge.recall(gene, brain, rows)
    assert whole == expected_recall_at_1(gene @ brain.T, relatives="rivals")
    monkeypatch.setattr(choice, "RIVALS", 100)
    assert judge.recall(gene, brain, rows) == whole  # few people in all
    monkeypatch.setattr(choice, "MANY", 800)
    assert abs(judge.recall(gene, brain, rows) - whole) < 0.01
    parts = [expected_recall_at_1((gene @ brain.T)[i::9, i::9], relatives="rivals") for i in range(9)]
    assert judge.recall(gene, brain, rows) == pytest.approx(np.mean(parts))


def test_same_seed_same_model(data: dict[str, Any], model: ClosedForm) -> None:
    again = fit(data)
    np.testing.assert_array_equal(model.coefficients, again.coefficients)
    assert model.cv == again.cv


def test_state_round_trip(data: dict[str, Any], model: ClosedForm) -> None:
    restored = ClosedForm.from_state(model.state())
    columns = restored.gene_columns(data["blocks"])
    np.testing.assert_array_equal(restored.gene_vectors(columns), model.gene_vectors(columns))
    features = data["brain"]["loud"]
    np.testing.assert_array_equal(restored.brain_vectors(features), model.brain_vectors(features))


def test_null_signal_scores_chance_in_cross_validation() -> None:
    null = fit(cohort(3, heritability=0.0))
    assert null.chosen["recall@1"] < 0.08  # 1/32 is chance; the best of a dozen settings lies a little above


def test_shuffled_pairing_scores_chance_on_new_people(data: dict[str, Any]) -> None:
    shuffled = dict(data)
    order = np.random.default_rng(0).permutation(N)
    shuffled["brain"] = {name: np.concatenate([f[:N][order], f[N:]]) for name, f in data["brain"].items()}
    assert held_out_recall(fit(shuffled), shuffled) < 0.06


def test_identical_genomes_give_a_constant_score(data: dict[str, Any]) -> None:
    same = dict(data, blocks=[np.ones_like(b) for b in data["blocks"]])
    for kind in ("dosages", "components"):
        settings = ClosedFormSettings(columns=ColumnSettings(kind=kind), dimensions=(3, 6))
        collapsed = fit(same, settings)
        scores = collapsed.gene_vectors(collapsed.gene_columns(same["blocks"])) @ (
            collapsed.brain_vectors(same["brain"][collapsed.chosen["brain"]]).T
        )
        assert np.ptp(scores) == 0.0
        assert collapsed.calibration.slope == 0.0


def test_identical_brains_give_a_constant_score(data: dict[str, Any]) -> None:
    same = dict(data, brain={"one": np.ones((N + N_TEST, 40))})
    collapsed = fit(same)
    assert held_out_recall(collapsed, same) == pytest.approx(1 / 32)


def test_fewer_people_than_columns(data: dict[str, Any]) -> None:
    small = fit(data, n=40)
    assert np.isfinite(small.gene_vectors(small.gene_columns(data["blocks"]))).all()


def test_cosine_score_gives_unit_vectors(data: dict[str, Any]) -> None:
    settings = ClosedFormSettings(columns=DOSAGES.columns, dimensions=(6,), score="cosine")
    cosine = fit(data, settings)
    np.testing.assert_allclose(np.linalg.norm(cosine.brain_vectors(data["brain"]["loud"]), axis=1), 1.0, rtol=1e-5)
    assert held_out_recall(cosine, data) > 0.8


def test_families_stay_together_in_cross_validation() -> None:
    """Every person twice: splitting the copies would make memory look like skill."""
    data = cohort(5, heritability=0.0)
    double = {
        "blocks": [np.repeat(b, 2, axis=0) for b in data["blocks"]],
        "brain": {name: np.repeat(f, 2, axis=0) for name, f in data["brain"].items()},
        "families": np.repeat(data["families"], 2),
    }
    assert fit(double).chosen["recall@1"] < 0.1


def test_problems_are_named_with_both_numbers(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"700 family labels.*'window 0': 3"):
        fit_closed_form([data["blocks"][0][:3]], data["brain"], data["families"])
    broken = {"a": np.full((N + N_TEST, 4), np.nan)}
    with pytest.raises(ValueError, match=r"non-finite brain features.*700"):
        fit_closed_form(data["blocks"], broken, data["families"])
    with pytest.raises(ValueError, match="at least 2 families"):
        fit_closed_form(data["blocks"], data["brain"], np.zeros(N + N_TEST, dtype=int))


def test_too_many_columns_are_refused_with_a_way_that_leads_below_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genebrain.alignment.closed_form.memory.Size.most_columns", lambda *_: 150)
    monkeypatch.setattr(
        "genebrain.alignment.closed_form.memory.Size.of_rows", property(lambda size: size.columns * 1e6)
    )
    monkeypatch.setattr("genebrain.alignment.closed_form.fit.memory_budget", lambda: 150e6)
    monkeypatch.setattr("genebrain.alignment.closed_form.fit.form_for", lambda *_: PeopleRows)
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(90, 100)).astype(np.float32) for _ in range(2)]  # ten chunks of ten numbers each
    brain, families = {"one": rng.normal(size=(90, 4))}, np.arange(90)
    chunks = ClosedFormSettings(columns=ColumnSettings(item_width=10))
    with pytest.raises(
        TooManyColumnsError, match=r"^200 .* 2 windows need 0\.2 GB.*150\. pooling.chunk=mean .* 120 in all"
    ):
        fit_closed_form(blocks, brain, families, settings=chunks)
    whole = [block.reshape(90, 10, 10).mean(axis=1) for block in blocks]  # what pooling.chunk=mean gives
    fitted = fit_closed_form(whole, brain, families, settings=replace(chunks, columns=ColumnSettings()))
    assert fitted.gene_columns(whole).shape[1] <= 120
    with pytest.raises(TooManyColumnsError, match="holds 150: use at most 2 windows"):
        fit_closed_form(blocks * 3, brain, families, settings=replace(chunks, columns=ColumnSettings()))
