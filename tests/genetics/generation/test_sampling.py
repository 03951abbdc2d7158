"""Draws of 6-mers: both policies have one distribution, truncation keeps the likely, control tokens have no chance."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.generation.sampling import SamplingSettings, choose
from genebrain.genetics.model.tokenizer import SixMerTokenizer

TOKENIZER = SixMerTokenizer()


@pytest.fixture
def logits() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(1, 4128)) * 3
    values[0, :32] = 50.0  # control tokens, far above all others
    return values


def draws(logits: np.ndarray, n: int, **settings: object) -> np.ndarray:
    chosen = SamplingSettings(**settings)  # type: ignore[arg-type]
    uniform = np.random.default_rng(1).random((n, chosen.draws_per_token))
    return choose(np.repeat(logits, n, 0), chosen, uniform)


def first_letter_shares(ids: np.ndarray) -> np.ndarray:
    return np.bincount((ids - 32) // 1024, minlength=4) / len(ids)


@pytest.mark.parametrize("policy", ["token", "base"])
def test_draws_follow_the_probabilities(logits: np.ndarray, policy: str) -> None:
    p = np.exp(logits[0, 32:])
    p /= p.sum()
    ids = draws(logits, 2000, policy=policy)
    assert ids.min() >= 32
    assert first_letter_shares(ids) == pytest.approx(p.reshape(4, -1).sum(1), abs=0.04)
    likely = np.argsort(-p)[:5]
    shares = np.array([(ids == 32 + i).mean() for i in likely])
    assert shares == pytest.approx(p[likely], abs=0.03)


def test_greedy_is_the_most_likely_six_mer_or_the_most_likely_bases_in_turn(logits: np.ndarray) -> None:
    p = np.exp(logits[0, 32:])
    assert draws(logits, 1, temperature=0)[0] == 32 + p.argmax()
    prefix = ""
    for _ in range(6):
        sums = {x: sum(p[i - 32] for t, i in TOKENIZER.token_to_id.items() if t.startswith(prefix + x)) for x in "ATCG"}
        prefix += max(sums, key=sums.__getitem__)
    assert TOKENIZER.id_to_token[draws(logits, 1, temperature=0, policy="base")[0]] == prefix


def test_truncation_keeps_the_most_likely(logits: np.ndarray) -> None:
    ranked = 32 + np.argsort(-logits[0, 32:])
    assert set(draws(logits, 500, top_k=3)) == set(ranked[:3])
    p = np.exp(logits[0, 32:])
    p = np.sort(p / p.sum())[::-1]
    enough = int(np.searchsorted(p.cumsum(), 0.3) + 1)
    found = set(draws(logits, 1000, top_p=0.3))
    assert found <= set(ranked[:enough])
    assert len(found) > enough // 2
    assert set(draws(logits, 100, top_p=1e-9)) == {ranked[0]}
    assert len(set(draws(logits, 300, policy="base", top_k=1))) == 1


def test_temperature_sharpens_and_flattens(logits: np.ndarray) -> None:
    best = 32 + logits[0, 32:].argmax()
    shares = [(draws(logits, 1000, temperature=t) == best).mean() for t in (0.5, 1.0, 2.0)]
    assert shares[0] > 2 * shares[1] > 4 * shares[2]
    assert (draws(logits, 50, temperature=1e-3) == best).all()


@pytest.mark.parametrize("policy", ["token", "base"])
def test_extreme_numbers_never_leave_what_is_possible(policy: str) -> None:
    logits = np.full((3, 4128), -1e4)
    logits[:, 32 + 100] = 0.0
    uniform = np.array([[0.0] * 6, [0.5] * 6, [np.nextafter(1, 0)] * 6])
    settings = SamplingSettings(policy=policy)  # type: ignore[arg-type]
    assert choose(logits, settings, uniform).tolist() == [132] * 3


def test_wrong_settings_are_named_together() -> None:
    with pytest.raises(UserError, match=r"policy='word'.*temperature=-1.*top_k=-2.*top_p=0"):
        SamplingSettings(policy="word", temperature=-1, top_k=-2, top_p=0)  # type: ignore[arg-type]
