"""Stacks of brain features of several kinds: accepted where they pay, refused where not, and repeatable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genebrain.alignment.closed_form.column_sets import ColumnSet, GeneBlocks
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedForm, ClosedFormSettings, fit_closed_form
from genebrain.alignment.closed_form.latents import Latents, kind_of
from genebrain.alignment.closed_form.spectral import principal_components

N, K = 400, 6
SETTINGS = ClosedFormSettings(columns=ColumnSettings(item_width=None), dimensions=(2, 4), modes=("ridge",), stack=True)


def cohort(seed: int = 0) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Genes act on six dimensions; each of two kinds of features tells three of them, a third kind none."""
    rng = np.random.default_rng(seed)
    genes = rng.normal(size=(N, 12))
    z = genes[:, :K] + 0.3 * rng.normal(size=(N, K))
    brain = {
        "one-4": z[:, :3] @ rng.normal(size=(3, 20)) + 0.3 * rng.normal(size=(N, 20)),
        "two": z[:, 3:] @ rng.normal(size=(3, 15)) + 0.3 * rng.normal(size=(N, 15)),
        "noise": rng.normal(size=(N, 10)),
    }
    return [genes.astype(np.float32)], {name: f.astype(np.float32) for name, f in brain.items()}


def test_later_parts_are_free_of_earlier_ones_and_linear_in_the_features() -> None:
    _, brain = cohort()
    components = principal_components(brain["one-4"], 4)
    first = Latents.of_components("one-4", components, components.scores(brain["one-4"]), 3)
    both = first.extended("two", brain["two"], 5)
    np.testing.assert_allclose(both.values.T @ both.values / N, np.eye(8), atol=1e-8)
    features = np.concatenate([brain["one-4"], brain["two"]], axis=1)
    np.testing.assert_allclose((features - both.mean) @ both.map, both.values, atol=1e-8)
    assert both.name == "one-4+two"
    assert both.parts == (("one-4", 3), ("two", 5))
    shorter = both.leading(2)
    np.testing.assert_array_equal(shorter.values, both.values[:, :5])
    assert shorter.parts[-1] == ("two", 2)
    assert kind_of("lag0-25") == "lag0"


def test_two_kinds_that_tell_different_things_are_stacked_and_noise_is_not() -> None:
    genes, brain = cohort()
    model = fit_closed_form(genes, brain, np.arange(N), settings=SETTINGS)
    assert set(model.chosen["brain"].split("+")) == {"one-4", "two"}
    assert model.chosen["k"] == sum(k for _, k in model.chosen["parts"])
    single = max(row["recall@1"] for row in model.cv if "+" not in row["brain"])
    assert model.chosen["recall@1"] > single + 0.1
    assert set(model.chosen["kinds"]) == {"one", "two", "noise"}
    assert model.chosen["kinds"]["noise"] < 0.1 < 0.2 < model.chosen["kinds"]["two"]
    features = np.concatenate([brain[name] for name in model.chosen["brain"].split("+")], axis=1)
    latents = model.observed_latents(features)
    np.testing.assert_allclose(latents.T @ latents / N, np.eye(latents.shape[1]), atol=1e-6)


def test_a_stack_that_does_not_pay_is_refused() -> None:
    genes, brain = cohort()
    del brain["two"]
    model = fit_closed_form(genes, brain, np.arange(N), settings=SETTINGS)
    assert model.chosen["brain"] == "one-4"
    assert "parts" not in model.chosen
    assert any(row["brain"] == "one-4+noise" for row in model.cv), "it was tried"


def test_without_the_setting_nothing_is_stacked() -> None:
    genes, brain = cohort()
    model = fit_closed_form(genes, brain, np.arange(N), settings=replace(SETTINGS, stack=False))
    assert "+" not in "".join(row["brain"] for row in model.cv)
    assert "kinds" not in model.chosen


def test_a_stack_is_repeated_on_other_people_and_restored_to_the_last_bit() -> None:
    genes, brain = cohort()
    model = fit_closed_form(genes, brain, np.arange(N), settings=SETTINGS)
    parts = tuple((name, k) for name, k in model.chosen["parts"])
    some = np.arange(N) % 4 > 0
    again = fit_closed_form(
        [block[some] for block in genes],
        {name: brain[name][some] for name, _ in parts},
        np.arange(some.sum()),
        settings=replace(SETTINGS, parts=parts, modes=(model.chosen["mode"],)),
    )
    assert again.chosen["brain"] == model.chosen["brain"]
    assert again.chosen["k"] == model.chosen["k"]
    restored = ClosedForm.from_state(model.state())
    features = np.concatenate([brain[name] for name, _ in parts], axis=1)
    np.testing.assert_array_equal(restored.brain_vectors(features), model.brain_vectors(features))


def test_among_nearly_equal_numbers_of_latents_the_smallest_is_taken() -> None:
    genes, brain = cohort()
    wide = replace(SETTINGS, dimensions=(3, 8, 10), tolerance=0.5, stack_gain=2.0)
    assert fit_closed_form(genes, brain, np.arange(N), settings=wide).chosen["k"] == 3
    exact = replace(wide, tolerance=0.0)
    best = fit_closed_form(genes, brain, np.arange(N), settings=exact)
    assert best.chosen["recall@1"] == pytest.approx(max(row["recall@1"] for row in best.cv if "+" not in row["brain"]))


def test_where_dosages_tell_nothing_heterozygotes_choose_the_latents() -> None:
    """Two kinds of scan features, one of noise: the deviation of heterozygotes alone knows which is which."""
    rng = np.random.default_rng(3)
    people, variants = 400, 12
    dosages = rng.binomial(2, 0.5, (people, variants)).astype(np.float32)  # heterozygotes are as likely as not
    deviation = np.where(dosages == 1, 1.0, -1.0)
    traits = deviation @ np.linalg.qr(rng.normal(size=(variants, 6)))[0]
    brains = {"noise-1": rng.normal(size=(people, 6)), "signal-1": traits + 0.3 * rng.normal(size=(people, 6))}
    plain = ColumnSettings("dosages", min_maf=0.0)
    sets = [ColumnSet("plain", "d", "dosages", plain)]
    sets.append(ColumnSet("heterozygotes", "d", "dosages", replace(plain, effects="deviation")))
    chosen = {}
    for number in (1, 2):
        blocks = GeneBlocks({"d": [dosages]}, tuple(sets[:number]))
        model = fit_closed_form(blocks, brains, np.arange(people), settings=ClosedFormSettings(stack=True))
        chosen[number] = model.chosen
        again = ClosedForm.from_state(model.state())
        columns = model.gene_columns(blocks)
        np.testing.assert_array_equal(again.gene_vectors(again.gene_columns(blocks)), model.gene_vectors(columns))
    assert chosen[1]["recall@1"] < 0.1
    assert chosen[2]["brain"] == "signal-1"
    assert chosen[2]["recall@1"] > 0.6
