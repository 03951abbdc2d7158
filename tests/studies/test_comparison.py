"""Paired arms: the corrected test, its honesty under the null, and intervals that few seeds cannot shrink."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genebrain.studies.comparison import compare, figure, markdown


def table(values: dict[str, list[float]], half: float = 0.04) -> pd.DataFrame:
    rows = [
        {"arm": arm, "seed": seed, "r": v, "r_low": v - half, "r_high": v + half, "n_train": 200, "n_test": 100}
        for arm, series in values.items()
        for seed, v in enumerate(series)
    ]
    return pd.DataFrame(rows)


def test_the_p_value_is_that_of_nadeau_and_bengio():
    a, b = [0.50, 0.55, 0.52, 0.60], [0.56, 0.58, 0.60, 0.64]
    found = compare(table({"a": a, "b": b}), "a", "r").set_index("arm").loc["b"]
    d = np.subtract(b, a)
    t = d.mean() / np.sqrt(d.var(ddof=1) * (1 / 4 + 100 / 200))
    assert found["p"] == pytest.approx(2 * stats.t.sf(t, 3))
    assert found["difference"] == pytest.approx(d.mean())


def test_seeds_that_agree_by_luck_do_not_shrink_the_interval_below_that_of_the_people():
    found = compare(table({"a": [0.5, 0.5, 0.5]}), "a", "r").iloc[0]
    assert found["high"] - found["low"] == pytest.approx(0.08)


def test_holm_is_over_the_tested_arms_and_the_reference_has_no_p():
    rng = np.random.default_rng(0)
    arms = {
        name: list(0.5 + shift + 0.01 * rng.standard_normal(5)) for name, shift in zip("abc", (0, 0.1, 0), strict=True)
    }
    found = compare(table(arms), "a", "r").set_index("arm")
    assert np.isnan(found.loc["a", "p"])
    tested = found.loc[["b", "c"]]
    assert (tested["p_holm"] >= tested["p"]).all()
    assert tested["p_holm"].min() == pytest.approx(min(1, 2 * tested["p"].min()))


def test_a_missing_cell_compares_on_the_shared_seeds_only():
    cells = table({"a": [0.5, 0.6, 0.7], "b": [0.5, 0.6, 0.9]})
    found = compare(cells[~((cells["arm"] == "b") & (cells["seed"] == 2))], "a", "r").set_index("arm")
    assert found.loc["b", "difference"] == pytest.approx(0)
    assert found.loc["b", "seeds"] == 2


def test_a_reference_without_results_is_an_error():
    with pytest.raises(ValueError, match="reference arm 'z'"):
        compare(table({"a": [0.5]}), "z", "r")


def test_table_and_figure_say_chance_and_reference(tmp_path):
    found = compare(table({"a": [0.5, 0.6], "b": [0.4, 0.45]}), "a", "r")
    text = markdown(found, 64)
    assert "chance 0.016" in text
    assert "reference" in text
    assert "ceiling" not in text
    assert "| ceiling | | 0.700 | +0.150 | |" in markdown(found, 64, {"ceiling": 0.7})
    figure(found, 64, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_intervals_of_few_seeds_stay_within_what_a_rate_can_be():
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "recall@1": value,
            "recall@1_low": 0.1,
            "recall@1_high": 0.6,
            "n_train": 60,
            "n_test": 40,
        }
        for arm, values in {"a": (0.2, 0.9), "b": (0.4, 0.4)}.items()
        for seed, value in enumerate(values)
    ]
    text = markdown(compare(pd.DataFrame(rows), "a", "recall@1"), 40)
    assert "| a | 2 | 0.550 (0.000 to 1.000) | reference |  |" in text
