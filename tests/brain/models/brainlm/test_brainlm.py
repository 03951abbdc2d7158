"""Region x time family: deterministic tokens, any length, honest losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genebrain.brain.models.brainlm.config import BrainLMConfig
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.common.types import UserError

PARCELS, PATCH = 6, 5
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 20,
    "timepoint_patching_size": PATCH,
    "conv_kernel_size": 7,
}


def contract(**settings: object) -> ParcelInput:
    xyz = np.random.default_rng(0).normal(0, 40, size=(PARCELS, 3)).astype(np.float32)
    return ParcelInput("window", coordinates=xyz, frames=None, **settings)  # type: ignore[arg-type]


def model(**settings: object) -> BrainLM:
    built = BrainLM(BrainLMConfig(**{**SIZES, **settings}), contract())  # type: ignore[arg-type]
    built.initialise(seed=3, standard_deviation=0.3)
    return built.eval()


def series(frames: int = 20, batch: int = 3) -> Tensor:
    return torch.randn(batch, frames, PARCELS, generator=torch.Generator().manual_seed(frames))


def masked_inputs(batch: int = 2) -> tuple[Tensor, Tensor]:
    xyz = torch.as_tensor(contract().coordinates).expand(batch, -1, -1)
    return series(20, batch).mT, xyz


def test_equal_scans_give_equal_tokens_whatever_the_batch():
    encoder = model()
    tokens, mask = encoder.encode(series(), 0.735)
    assert tokens.shape == (3, 1 + PARCELS * 4, 16)
    assert mask.shape == tokens.shape[:2]
    assert mask.all()
    torch.testing.assert_close(encoder.encode(series()[1:2], 0.735)[0], tokens[1:2], rtol=0, atol=1e-5)
    assert torch.equal(encoder.encode(series(), 0.735)[0], tokens)


def test_tokens_are_parcels_with_time_running_fastest():
    """Without mixing layers a token depends on its own parcel and window only."""
    encoder = model(num_hidden_layers=0)
    scaled = series()
    before, _ = encoder.tokens(scaled)
    scaled = scaled.clone()
    scaled[:, 10:15, 4] += 1
    after, _ = encoder.tokens(scaled)
    moved = (before != after).any(dim=2).any(dim=0).nonzero().flatten().tolist()
    assert moved == [1 + 4 * 4 + 2]


@pytest.mark.parametrize("frames", [5, 15, 60])
def test_any_whole_number_of_windows(frames):
    assert model().encode(series(frames), 0.735)[0].shape[1] == 1 + PARCELS * frames // PATCH


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match="12 frames are no multiple of the patch of 5"):
        model().encode(series(12), 0.735)


def test_summaries():
    encoder = model()
    tokens, _ = encoder.encode(series(), 0.735)
    assert torch.equal(encoder.embed(series(), 0.735), tokens[:, 0])
    torch.testing.assert_close(encoder.embed(series(), 0.735, summary="mean"), tokens[:, 1:].mean(dim=1))
    with pytest.raises(ValueError, match="'max'"):
        encoder.embed(series(), 0.735, summary="max")  # type: ignore[arg-type]


def test_tokens_before_the_final_norm():
    encoder = model()
    with torch.no_grad():  # a block ends with a norm: with the weights as they start the last one does nothing
        encoder.vit.layernorm.weight.fill_(2)
    raw, _ = encoder.encode(series(), 0.735, final_norm=False)
    torch.testing.assert_close(encoder.vit.layernorm(raw), encoder.encode(series(), 0.735)[0])
    assert not torch.allclose(raw, encoder.encode(series(), 0.735)[0])


def test_an_encoder_without_contract_says_so():
    encoder = BrainLM(BrainLMConfig(**SIZES))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="input contract"):
        encoder.encode(series(), 0.735)
    with pytest.raises(ValueError, match="coordinates"):
        encoder.tokens(series())


def test_the_published_shuffle_changes_the_tokens_and_the_default_does_not():
    encoder, (signal, xyz) = model(), masked_inputs()
    noise = torch.rand(2, 24, generator=torch.Generator().manual_seed(0))
    plain = encoder(signal, xyz).hidden
    assert torch.equal(encoder(signal, xyz, noise=noise).hidden, plain)
    shuffled = encoder(signal, xyz, noise=noise, order="shuffled").hidden
    assert (shuffled[:, 0] - plain[:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("loss_fn", ["mse", "mae"])
def test_the_loss_is_the_mean_over_the_masked_windows(loss_fn):
    encoder, (signal, xyz) = model(loss_fn=loss_fn), masked_inputs()
    result = encoder(signal, xyz, mask_ratio=0.4, generator=torch.Generator().manual_seed(0))
    error = (result.prediction - signal.reshape(2, PARCELS, 4, PATCH)).detach().numpy()
    error = error[result.masking.mask.view(2, PARCELS, 4).numpy()]
    expected = np.square(error).mean() if loss_fn == "mse" else np.abs(error).mean()
    assert result.loss.item() == pytest.approx(expected, rel=1e-5)
    assert encoder(signal, xyz).loss is None


def test_masked_windows_are_not_seen():
    encoder, (signal, xyz) = model(), masked_inputs()
    first = encoder(signal, xyz, mask_ratio=0.5, generator=torch.Generator().manual_seed(1))
    hidden = first.masking.mask.view(2, PARCELS, 4).repeat_interleave(PATCH, dim=2)
    again = encoder(signal + 100 * hidden, xyz, mask_ratio=0.5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first.prediction, again.prediction)
    assert again.loss.item() > 10 * first.loss.item()


def test_tanh_bounds_the_prediction():
    signal, xyz = masked_inputs()
    open_ended = model()(signal, xyz).prediction
    torch.testing.assert_close(model(use_tanh_decoder=True)(signal, xyz).prediction, open_ended.tanh())


def test_recomputing_gives_the_same_gradients_with_fewer_tensors_kept():
    signal, xyz = masked_inputs()
    outcomes = []
    for recompute in (False, True):
        encoder, kept = model(), []
        encoder.recompute = recompute
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.numel()) or x, lambda x: x):
            loss = encoder(signal, xyz, mask_ratio=0.4, generator=torch.Generator().manual_seed(0)).loss
        count = sum(kept)
        loss.backward()
        outcomes.append((count, {k: p.grad for k, p in encoder.named_parameters()}))
    (much, plain), (little, recomputed) = outcomes
    assert little < much / 2
    assert plain.keys() == recomputed.keys()
    unused = {k for k, v in plain.items() if v is None}
    assert unused == {"decoder.decoder_pred.weight", "decoder.decoder_pred.bias"}
    for key in plain.keys() - unused:
        torch.testing.assert_close(plain[key], recomputed[key])


def test_positions_are_dropped_out_in_training_only():
    encoder, (signal, xyz) = model().train(), masked_inputs()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = encoder.vit.embeddings(signal, xyz)
    assert 0.05 < float((dropped == 0).float().mean()) < 0.15
    assert float((encoder.eval().vit.embeddings(signal, xyz) == 0).float().mean()) == 0


def test_seeded_weights_also_from_the_meta_device():
    with torch.device("meta"):
        empty = BrainLM(BrainLMConfig(**SIZES))  # type: ignore[arg-type]
    empty = empty.to_empty(device="cpu")
    empty.initialise(seed=3, standard_deviation=0.3)
    for key, value in model().state_dict().items():
        assert torch.equal(value, empty.state_dict()[key]), key


def test_a_bad_configuration_names_everything():
    with pytest.raises(UserError) as error:
        BrainLMConfig(**{**SIZES, "hidden_size": 15, "conv_kernel_size": 8, "loss_fn": "huber"})  # type: ignore[arg-type]
    for part in ("encoder width 15", "decoder width 16 must equal the encoder's 15", "8 must be odd", "'huber'"):
        assert part in str(error.value)
    with pytest.raises(UserError) as error:
        BrainLMConfig.from_json({"hidden_size": 8, "hidden_act": "relu", "qkv_bias": False})
    for part in ("num_hidden_layers", "timepoint_patching_size", "hidden_act = 'relu'", "qkv_bias = False"):
        assert part in str(error.value)


def test_shapes_that_do_not_fit():
    signal, xyz = masked_inputs()
    with pytest.raises(ValueError, match=r"\[2, 5, 3\]"):
        model()(signal, xyz[:, :5])
    with pytest.raises(ValueError, match="position table"):
        model(timepoint_patching_size=1)(torch.zeros(1, 1, 5001), torch.zeros(1, 1, 3))
