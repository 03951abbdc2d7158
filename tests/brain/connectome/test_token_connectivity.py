"""Covariance of tokens between places: against plain numpy, blind to gain and rotation, seeing what means miss."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from genebrain.brain.connectome.tangent import Lag0Tangent
from genebrain.brain.connectome.token_connectivity import (
    FLOOR,
    PEOPLE,
    ROUNDING,
    TokenTangent,
    places_of,
    token_connectivity,
    unpack,
)
from genebrain.brain.encoders.published import SCAN_ENCODERS
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.common.types import UserError
from tests.brain.encoders.test_encoders import build, windows

PLACES, MOMENTS, HIDDEN = 5, 7, 4


def draw(n: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (n, PLACES * MOMENTS, HIDDEN)
    mixing = torch.randn(HIDDEN, HIDDEN, generator=generator)
    tokens = torch.randn(shape, generator=generator) @ mixing
    return tokens, torch.randn(1, *shape[1:], generator=generator), torch.ones(shape[:2], dtype=torch.bool)


def test_equals_whitening_by_hand():
    tokens, still, mask = draw()
    found = unpack(token_connectivity(tokens, still, mask, PLACES).numpy())
    for own, matrix in zip(tokens.numpy().astype(float), found, strict=True):
        window = own - still[0].numpy()
        spread = window.T @ window / (PLACES * MOMENTS)
        floor = FLOOR * np.trace(spread) / HIDDEN + ROUNDING * np.mean(own**2)
        inverse = np.linalg.inv(spread + floor * np.eye(HIDDEN))
        x = window.reshape(PLACES, MOMENTS, HIDDEN)
        by_hand = np.einsum("pth,hk,qtk->pq", x, inverse, x) / MOMENTS
        np.testing.assert_allclose(matrix, by_hand, rtol=1e-5, atol=1e-7)


def test_places_of_padding_are_left_out_and_moments_of_padding_do_not_count():
    tokens, still, mask = draw()
    grid = mask.view(-1, PLACES, MOMENTS).clone()
    grid[:, [0, 4]] = False
    grid[:, :, -2:] = False
    padded = token_connectivity(tokens, still, grid.flatten(1), PLACES)
    inner = (tokens - still).view(-1, PLACES, MOMENTS, HIDDEN)[:, 1:4, :-2].flatten(1, 2)
    expected = token_connectivity(inner, torch.zeros(1, *inner.shape[1:]), torch.ones(inner.shape[:2]).bool(), 3)
    torch.testing.assert_close(padded, expected, rtol=1e-5, atol=1e-7)


def test_a_rotation_of_the_hidden_columns_and_the_size_of_tokens_say_nothing():
    tokens, still, mask = draw()
    turn = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(1))).Q
    plain = token_connectivity(tokens, still, mask, PLACES)
    torch.testing.assert_close(
        token_connectivity(7 * tokens @ turn, 7 * still @ turn, mask, PLACES), plain, rtol=1e-4, atol=1e-5
    )


def test_a_still_window_has_no_connectivity():
    tokens, _, mask = draw()
    assert not token_connectivity(tokens, tokens, mask, PLACES).any()


def test_it_tells_apart_what_a_mean_over_tokens_cannot():
    """Two kinds of people: places move together or against each other; every place alone does the same."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(200, 1, 30, HIDDEN, generator=generator)
    own = torch.randn(200, 2, 30, HIDDEN, generator=generator)
    kind = torch.arange(200) % 2
    signs = torch.stack([torch.ones(200), 1.0 - 2 * kind], dim=1)[:, :, None, None]
    tokens = (shared * signs + own).flatten(1, 2)
    vectors = token_connectivity(tokens, torch.zeros(1, 60, HIDDEN), torch.ones(200, 60).bool(), 2).numpy()
    train = np.arange(100)
    features = TokenTangent().fit(vectors[train]).transform(vectors[100:])
    said = features[:, 1] < 0  # the pair
    assert np.mean(said == kind[100:].numpy().astype(bool)) > 0.98
    means = tokens.mean(dim=1).numpy()
    gap = means[kind == 1].mean(axis=0) - means[kind == 0].mean(axis=0)
    assert np.abs(gap / means.std(axis=0)).max() < 0.5


def test_features_are_those_of_the_tangent_space_and_come_back_from_a_checkpoint():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(30, 40, 6)) @ rng.normal(size=(6, 6))
    matrices = np.swapaxes(series, 1, 2) @ series / 40
    vectors = matrices[:, *np.triu_indices(6)]
    assert places_of(vectors.shape[1]) == 6
    np.testing.assert_array_equal(unpack(vectors), unpack(unpack(vectors)[:, *np.triu_indices(6)]))
    fitted = TokenTangent(4).fit(vectors[:20])
    zero = np.zeros_like(matrices)
    expected = Lag0Tangent(4).fit(matrices[:20], zero[:20]).transform(matrices, zero)
    np.testing.assert_allclose(fitted.transform(vectors), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(TokenTangent.from_state(fitted.state()).transform(vectors), fitted.transform(vectors))


class Drawn:
    """Covariances that exist while they are read: ``[n, places (places + 1) / 2]``."""

    def __init__(self, n: int, places: int) -> None:
        self.shape, self.places = (n, places * (places + 1) // 2), places

    def __getitem__(self, rows: slice) -> np.ndarray:
        numbers = range(*rows.indices(self.shape[0]))
        series = np.stack([np.random.default_rng(n).normal(size=(80, self.places)) for n in numbers])
        covariances = np.swapaxes(series, 1, 2) @ series / 80
        return covariances[:, *np.triu_indices(self.places)].astype(np.float32)


def test_blocks_of_people_learn_what_all_of_them_together_do():
    drawn = Drawn(3 * PEOPLE + 7, 10)
    vectors = drawn[:]
    vectors[:5, :10] = 0  # five people lack the first place
    fitted = TokenTangent(6).fit(vectors)
    matrices = unpack(vectors)
    whole = Lag0Tangent(6).fit(matrices, np.zeros_like(matrices))
    assert fitted.report == whole.report
    assert fitted.report["subjects_filled"] == 5
    for name, values in whole.state().items():
        np.testing.assert_allclose(fitted.state()[name], values, rtol=1e-10, atol=1e-12)
    expected = whole.transform(matrices, np.zeros_like(matrices))
    np.testing.assert_allclose(fitted.transform(vectors), expected, rtol=1e-5, atol=1e-6)
    assert fitted.report["subjects_filled"] == 5


def test_memory_does_not_grow_with_people():
    def peak(n: int) -> int:
        drawn = Drawn(n, 60)
        tracemalloc.start()
        TokenTangent(4).fit(drawn).transform(drawn)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    few, many = peak(2 * PEOPLE), peak(12 * PEOPLE)
    assert many < 1.1 * few
    assert many < 12 * PEOPLE * 60 * 60 * 4  # the matrices of all of them


@pytest.mark.parametrize("name", [n for n, family in SCAN_ENCODERS.items() if "connectivity" in family.summaries])
def test_every_encoder_of_tokens_gives_it(name):
    encoder = build(name, summary="connectivity")
    x = windows(encoder, 3)
    with torch.no_grad():
        y = encoder(x)
        assert y.shape == (3, encoder.width)
        assert encoder.width == encoder.places * (encoder.places + 1) // 2
        assert torch.equal(y, encoder(x))
        torch.testing.assert_close(encoder(x[1:2]), y[1:2], rtol=1e-4, atol=1e-5)
        assert np.linalg.eigvalsh(unpack(y.numpy())).min() > -1e-5, "a covariance"
        assert np.abs(y[0] - y[1]).max() > 1e-3
        still = encoder.still(x).expand_as(x)
        assert encoder(still).abs().max() < 1e-2 * y.abs().max(), "a scan in which nothing moves"
    assert encoder.fingerprint() != build(name).fingerprint()


def test_the_still_window_of_parcels_is_encoded_once_until_the_weights_change(monkeypatch):
    encoder, twin = build("brainlm", summary="connectivity"), build("brainlm", summary="connectivity")
    x, seen, tokens = windows(encoder, 2), [], type(encoder).tokens
    monkeypatch.setattr(type(encoder), "tokens", lambda self, given: seen.append(len(given)) or tokens(self, given))
    with torch.inference_mode():
        first = encoder(x)
        assert torch.equal(encoder(x), first)
        assert seen == [2, 1, 2]
    for changed in (encoder, twin):
        with torch.no_grad():
            for parameter in changed.encoder.parameters():
                parameter.mul_(1.5)
    with torch.inference_mode():
        assert torch.equal(encoder(x), twin(x)), "nothing is left of the weights of before"
        assert not torch.equal(encoder(x), first)


def test_an_encoder_of_parcels_sees_who_moves_together():
    encoder = build("brainlm", summary="connectivity")
    x = windows(encoder, 40)
    x[:, :, 1] = x[:, :, 0] + 0.3 * x[:, :, 1]
    with torch.no_grad():
        mean = unpack(encoder(x).double().numpy()).mean(axis=0)
    scale = np.sqrt(np.diagonal(mean))
    correlation = np.abs(mean / np.outer(scale, scale) - np.eye(len(mean)))
    assert correlation[0, 1] == correlation[0].max()
    assert correlation[0, 1] > 2 * np.sort(correlation[0])[-2]


def test_a_summary_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UserError, match="summary=covariance is none of own, cls, mean, connectivity"):
        EncoderSettings("brainlm", summary="covariance")  # type: ignore[arg-type]


def test_where_parcels_lie_says_nothing_of_what_they_do_together():
    encoder, moved = (build("brainlm", summary="connectivity") for _ in range(2))
    x = windows(encoder, 4)
    order = np.random.default_rng(0).permutation(encoder.places)
    moved.contract = replace(moved.contract, coordinates=encoder.contract.coordinates[order])
    with torch.no_grad():
        here = unpack(encoder(x).numpy())
        np.testing.assert_allclose(unpack(moved(x).numpy()), here, rtol=1e-3, atol=1e-4)
    assert encoder.contract.coordinates.std() > 0, "what is saved with the weights is where they do lie"


def test_the_loudest_patterns_of_the_tokens_are_those_of_the_series():
    encoder = build("brainlm", summary="connectivity")
    generator = torch.Generator().manual_seed(0)
    x = windows(encoder, 60)
    loud = torch.linalg.qr(torch.randn(x.shape[2], 2, generator=generator)).Q
    x = x + 3 * torch.randn(*x.shape[:2], 2, generator=generator) @ loud.T
    with torch.no_grad():
        mean = unpack(encoder(x).double().numpy()).mean(axis=0)
    found = np.linalg.eigh(mean)[1][:, -2:]
    assert ((found.T @ loud.numpy()) ** 2).sum() / 2 > 0.9
