"""Directed coupling, coherence and envelopes: what they tell, and that they tell nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from genebrain.brain.connectome import stored_moments
from genebrain.brain.connectome.base import needed
from genebrain.brain.connectome.dynamics.networks import network_labels, network_statistics
from genebrain.brain.connectome.features import FEATURES, summaries_from_store
from genebrain.common.types import UserError

PEOPLE, FRAMES, PARCELS, TR = 40, 160, 16, 0.8
GROUP = np.arange(PARCELS) // 4
OF_SERIES = ["coherence", "envelopes"]


class Store:
    """Series by key; parcels of a key that are named do not count."""

    def __init__(self, series: dict[str, np.ndarray], invalid: dict[str, list[int]] | None = None) -> None:
        self.series, self.invalid, self.reads = series, invalid or {}, 0

    def read(self, key: str) -> np.ndarray:
        self.reads += 1
        return self.series[key]

    def valid(self, key: str) -> np.ndarray:
        return ~np.isin(np.arange(PARCELS), self.invalid.get(key, []))

    def frame_numbers(self, key: str) -> np.ndarray:
        return np.arange(len(self.series[key]))


def smooth(rng: np.random.Generator, frames: int, width: int, memory: float = 0.6) -> np.ndarray:
    noise = rng.normal(size=(frames, width))
    for t in range(1, frames):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return noise


def grouped(seed: int, loudness: np.ndarray | None = None) -> np.ndarray:
    """Four groups of parcels that share a signal, louder and quieter by ``exp(loudness [frames, groups])``."""
    rng = np.random.default_rng(seed)
    signal = smooth(rng, FRAMES, 4)
    if loudness is not None:
        signal = signal * np.exp(loudness)
    return signal[:, GROUP] + 0.4 * smooth(rng, FRAMES, PARCELS)


def summary(series: list[np.ndarray], invalid: dict[str, list[int]] | None = None):
    store = Store({str(i): one for i, one in enumerate(series)}, invalid)
    keys = list(store.series)
    return store, summaries_from_store(store, keys, dict.fromkeys(keys, TR), despike=False)


def values(kind: str, made, rows: slice = slice(None)) -> np.ndarray:
    """Features of everybody, learned from ``rows``."""
    ((_, feature),) = FEATURES[kind].candidates(kind, (6,), PARCELS, 0.05).items()
    return feature.fit(*needed(feature, [one[rows] for one in made])).transform(*needed(feature, made))


def told(features: np.ndarray, trait: np.ndarray) -> float:
    """Correlation of the trait of the second half with what ridge on the first half says."""
    half = len(trait) // 2
    x = features - features[:half].mean(axis=0)
    gram = x[:half] @ x[:half].T
    weights = np.linalg.solve(gram + 0.3 * np.trace(gram) / half * np.eye(half), trait[:half] - trait[:half].mean())
    return float(np.corrcoef(x[half:] @ (x[:half].T @ weights), trait[half:])[0, 1])


@pytest.fixture(scope="module")
def trait() -> np.ndarray:
    return np.random.default_rng(5).normal(size=2 * PEOPLE)


def test_directed_coupling_tells_who_leads_and_a_covariance_does_not(trait: np.ndarray) -> None:
    def one(seed: int, ahead: float) -> np.ndarray:
        rng = np.random.default_rng(seed)
        source = smooth(rng, 4 * FRAMES + 80, 1, 0.95)[:, 0]
        shift = np.rint(6 * np.tanh(ahead) * np.where(GROUP < 2, 1, -1)).astype(int)
        series = np.stack([source[40 + s : 40 + s + 4 * FRAMES : 4] for s in shift], axis=1)
        return series + 0.5 * rng.normal(size=series.shape)

    _, made = summary([one(seed, ahead) for seed, ahead in enumerate(trait)])
    assert told(values("directed", made), trait) > 0.5
    assert abs(told(values("lag0", made), trait)) < 0.4


def test_coherence_tells_how_long_a_network_holds_together(trait: np.ndarray) -> None:
    def one(seed: int, slow: float) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coupled = np.cumsum(rng.random((FRAMES, 1)) < 0.15 * np.exp(-1.2 * slow), axis=0) % 2
        share = 0.9 * np.where(GROUP == 0, coupled, 0.5)
        noise = np.sqrt(share) * smooth(rng, FRAMES, 4)[:, GROUP]
        return noise + np.sqrt(1 - share) * smooth(rng, FRAMES, PARCELS)

    _, made = summary([one(seed, slow) for seed, slow in enumerate(trait)])
    assert told(values("coherence", made), trait) > 0.6
    assert abs(told(values("lag0", made), trait)) < 0.4


def test_envelopes_tell_who_is_loud_together_without_any_correlation(trait: np.ndarray) -> None:
    def one(seed: int, together: float) -> np.ndarray:
        r = np.tanh(together)
        loud = smooth(np.random.default_rng([seed, 1]), FRAMES, 4, 0.8)
        loud[:, 1] = r * loud[:, 0] + np.sqrt(1 - r**2) * loud[:, 1]
        return grouped(seed, loud)

    _, made = summary([one(seed, together) for seed, together in enumerate(trait)])
    assert told(values("envelopes", made), trait) > 0.6
    assert abs(told(values("lag0", made), trait)) < 0.4


@pytest.fixture(scope="module")
def cohort() -> list[np.ndarray]:
    return [grouped(seed, smooth(np.random.default_rng([seed, 2]), FRAMES, 4, 0.8)) for seed in range(PEOPLE)]


@pytest.mark.parametrize("name", OF_SERIES)
def test_features_do_not_see_the_unit_of_the_scanner(name: str, cohort: list[np.ndarray]) -> None:
    units = np.random.default_rng(2).uniform(0.01, 100, PEOPLE)
    plain, scaled = (summary([u * one + 3 * shift for u, one in zip(by, cohort, strict=True)])[1]
                     for shift, by in ((0, np.ones(PEOPLE)), (1, units)))  # fmt: skip
    feature = FEATURES[name]().fit(*plain)
    np.testing.assert_allclose(feature.transform(*scaled), feature.transform(*plain), atol=1e-3)


@pytest.mark.parametrize("name", OF_SERIES)
def test_fit_uses_only_the_rows_it_is_given_and_state_restores_it(name: str, cohort: list[np.ndarray]) -> None:
    _, made = summary(cohort)
    feature = FEATURES[name]().fit(*(one[:20] for one in made))
    before = feature.transform(*made)
    _, others = summary([*cohort[:20], *(one[::-1] for one in cohort[20:])])
    again = FEATURES[name]().fit(*(one[:20] for one in others))
    assert all(np.array_equal(again.state()[key], value) for key, value in feature.state().items())
    restored = FEATURES[name].from_state(feature.state())
    np.testing.assert_array_equal(restored.transform(*made), before)
    np.testing.assert_allclose(restored.transform(*(one[25:26] for one in made)), before[25:26], atol=1e-6)


def test_both_kinds_read_the_scans_once(cohort: list[np.ndarray]) -> None:
    store, made = summary(cohort)
    read = store.reads
    for name in OF_SERIES:
        values(name, made, slice(0, 20))
    assert store.reads == read + PEOPLE


def test_networks_are_found_and_missing_parcels_are_left_out_or_filled(cohort: list[np.ndarray]) -> None:
    labels = network_labels(np.mean([np.cov(one.T) for one in cohort], axis=0))
    assert len({(a, b) for a, b in zip(labels, GROUP, strict=True)}) == len(set(labels)) == 4
    invalid = {str(i): [2] for i in range(10)} | {"30": [4, 5, 6, 7]}  # the last lacks a whole network
    _, made = summary(cohort, invalid)
    for name in OF_SERIES:
        feature = FEATURES[name]()
        found = feature.fit(*made).transform(*made)
        assert np.isfinite(found).all()
        assert feature.report["parcels_dropped"] == 1
        assert feature.report["subjects_filled"] == 1


def test_scans_that_are_too_short_are_refused_by_name_and_a_slow_scan_is_read() -> None:
    _, short = summary([grouped(seed)[:8] for seed in range(12)])
    with pytest.raises(UserError, match="frames and parcels enough"):
        FEATURES["coherence"]().fit(*short)
    for tr in (0.4, 3.0, 10.0):
        assert np.isfinite(network_statistics(grouped(1)[:30], np.ones(PARCELS, bool), tr, GROUP)).all()
    assert np.isnan(network_statistics(grouped(1)[:20], np.ones(PARCELS, bool), 0.1, GROUP)).all()  # two seconds


@pytest.mark.parametrize("name", OF_SERIES)
def test_a_run_that_tells_nothing_takes_nothing_from_another_run(name: str, cohort: list[np.ndarray]) -> None:
    """The last person's second run is too short, the one before lacks a network in the second run."""
    short, poor = {"short": cohort[0][:8]}, {"poor": cohort[1]}
    store = Store({str(i): one for i, one in enumerate(cohort)} | short | poor, {"poor": [0, 1, 2, 3]})
    single = [[str(i)] for i in range(len(cohort))]
    both = [*single[:-2], [*single[-2], "poor"], [*single[-1], "short"]]
    made, alone = (
        summaries_from_store(store, keys, dict.fromkeys(store.series, TR), despike=False) for keys in (both, single)
    )
    feature = FEATURES[name]().fit(*alone)
    found, wanted = feature.transform(*made), feature.transform(*alone)
    np.testing.assert_array_equal(found[:-2], wanted[:-2])
    np.testing.assert_allclose(found[-1], wanted[-1], atol=1e-5)
    assert feature.report["subjects_filled"] == 0
    assert not np.allclose(found[-2], wanted[-2], atol=1e-3)  # what the poor run tells of other networks counts


def test_a_scan_of_unknown_time_step_is_not_read_as_if_it_had_the_usual_one(cohort: list[np.ndarray]) -> None:
    store = Store({str(i): one for i, one in enumerate(cohort)})
    steps = {key: 2.5 for key in store.series if key != "0"}
    keys = list(store.series)
    made, nobody = (summaries_from_store(store, keys, one, despike=False) for one in (steps, {}))
    feature = FEATURES["coherence"]().fit(*made)
    np.testing.assert_allclose(feature.transform(*made)[0], feature.mean, atol=1e-6)
    assert feature.report["subjects_filled"] == 1
    feature.fit(*nobody).transform(*nobody)
    assert feature.report["subjects_filled"] == 0  # nobody's is known: only the order counts


def test_tables_of_single_scans_are_made_with_one_thread(cohort: list[np.ndarray], monkeypatch) -> None:
    threads, made = [], stored_moments.scan_moments

    def seen(*given):
        threads.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return made(*given)

    monkeypatch.setattr(stored_moments, "scan_moments", seen)
    with threadpool_limits(2, user_api="blas"):
        store, _ = summary(cohort[:4])
        in_summaries = len(threads)
        stored_moments.moments_from_store(store, list(store.series))
    assert len(threads) == 2 * in_summaries
    assert set(threads) == {1}
