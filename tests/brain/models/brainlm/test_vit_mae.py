"""Image family: raster tokens, padding left out, masks and losses in pixels of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genebrain.brain.models.brainlm.canvas import Canvas
from genebrain.brain.models.brainlm.config import ViTMAEConfig
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.parcels.a424 import order_by_y
from genebrain.common.types import UserError

PATCH, SIDE, PARCELS, FRAMES = 4, 24, 13, 10
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 20,
    "patch_size": PATCH,
    "image_size": (SIDE, SIDE),
}
N = (SIDE // PATCH) ** 2


def contract() -> ParcelInput:
    xyz = np.random.default_rng(0).integers(-4, 4, size=(PARCELS, 3)).astype(np.float32)
    return ParcelInput("window", coordinates=xyz, frames=FRAMES)


def model(**settings: object) -> ViTMAE:
    built = ViTMAE(ViTMAEConfig(**{**SIZES, **settings}), contract())  # type: ignore[arg-type]
    built.initialise(seed=3, standard_deviation=0.3)
    return built.eval()


def series(batch: int = 2) -> Tensor:
    return torch.randn(batch, FRAMES, PARCELS, generator=torch.Generator().manual_seed(0))


def picture(height: int = PARCELS, width: int = FRAMES) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_equal_scans_give_equal_tokens_whatever_the_batch():
    encoder = model()
    tokens, mask = encoder.encode(series(), 0.735)
    assert tokens.shape == (2, 1 + N, 16)
    assert mask.shape == (2, 1 + N)
    assert torch.equal(encoder.encode(series(), 0.735)[0], tokens)
    torch.testing.assert_close(encoder.encode(series()[1:], 0.735)[0], tokens[1:], rtol=0, atol=1e-5)


def test_the_picture_is_parcels_by_ascending_y():
    scaled = series()
    image = model().picture(scaled)
    assert image.shape == (2, 3, PARCELS, FRAMES)
    for channel in range(3):
        assert torch.equal(image[:, channel], scaled[:, :, order_by_y(contract().coordinates)].mT)


def test_tokens_are_in_raster_order_and_the_mask_is_where_the_data_lie():
    """Without mixing layers exactly the unmasked patches change when all of the picture changes."""
    encoder = model(num_hidden_layers=0)
    before, mask = encoder.tokens(series())
    after, _ = encoder.tokens(series() + 1)
    assert torch.equal((before != after).any(dim=2)[:, 1:], mask[:, 1:])
    assert mask[:, 0].all()
    # 13 rows from row 5 touch patch rows 1-4; 10 columns from column 7 touch patch columns 1-4.
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[1:5, 1:5] = True
    assert torch.equal(mask[0, 1:].view(6, 6), expected)
    scaled = series()
    first = int(order_by_y(contract().coordinates)[0])
    scaled[:, 0, first] += 1  # the top left pixel of the picture: patch row 1, patch column 1
    moved = (encoder.tokens(scaled)[0] != before).any(dim=2).any(dim=0).nonzero().flatten().tolist()
    assert moved == [1 + 6 + 1]


def test_mean_leaves_the_padding_out():
    encoder = model()
    tokens, mask = encoder.encode(series(), 0.735)
    expected = torch.stack([t[1:][m[1:]].mean(dim=0) for t, m in zip(tokens, mask, strict=True)])
    torch.testing.assert_close(encoder.embed(series(), 0.735, summary="mean"), expected)
    assert torch.equal(encoder.embed(series(), 0.735), tokens[:, 0])


def test_tokens_before_the_final_norm():
    encoder = model()
    raw, _ = encoder.encode(series(), 0.735, final_norm=False)
    torch.testing.assert_close(encoder.vit.layernorm(raw), encoder.encode(series(), 0.735)[0])
    assert not torch.allclose(raw, encoder.encode(series(), 0.735)[0])


def test_the_order_of_kept_patches_does_not_matter():
    """Kept patches come back by position: with everything kept, any noise gives the tokens of ``encode``."""
    encoder = model()
    image = encoder.picture(series())
    noise = torch.rand(2, N, generator=torch.Generator().manual_seed(0))
    result = encoder(image, noise=noise)
    back = result.masking.restore(result.hidden[:, 1:], torch.zeros(1, 1, 16))
    torch.testing.assert_close(back, encoder.tokens(series())[0][:, 1:], rtol=0, atol=1e-5)


def test_the_loss_is_the_mean_over_masked_pixels_of_the_picture():
    encoder, image = model(), picture()
    result = encoder(image, mask_ratio=0.5, generator=torch.Generator().manual_seed(0))
    error = (result.prediction - image.mean(dim=1)).detach().numpy()
    assert result.loss.item() == pytest.approx(np.square(error[result.target_mask.numpy()]).mean(), rel=1e-5)
    assert encoder(image).loss is None


def test_norm_pix_loss_standardises_each_row():
    image = picture()
    result = model(norm_pix_loss=True)(image, mask_ratio=0.5, generator=torch.Generator().manual_seed(0))
    target = image.mean(dim=1).numpy()
    target = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, keepdims=True, ddof=1) + 1e-6)
    error = (result.prediction.detach().numpy() - target)[result.target_mask.numpy()]
    assert result.loss.item() == pytest.approx(np.square(error).mean(), rel=1e-4)


def test_a_draw_that_masks_only_padding_has_a_zero_loss_not_nan():
    image = picture(4, 4)  # in the patches around the centre
    noise = torch.arange(float(N)).flip(0).expand(2, -1)  # the first patches, all padding, are masked
    result = model()(image, mask_ratio=0.1, noise=noise)
    assert result.masking.mask.any()
    assert not result.target_mask.any()
    assert result.loss.item() == 0


@pytest.mark.parametrize("mode", ["auto_encode", "predict_last", "predict_last_pixel"])
@pytest.mark.parametrize("size", [(13, 10), (24, 24), (1, 3), (24, 7)])
def test_every_size_up_to_the_model(mode, size):
    result = model()(picture(*size), mask_ratio=0.34, mode=mode, generator=torch.Generator().manual_seed(0))
    assert result.prediction.shape == result.target_mask.shape == (2, *size)
    assert torch.isfinite(result.loss)


@pytest.mark.parametrize("size", [(13, 10), (24, 24), (1, 3), (23, 24)])
def test_cropping_undoes_padding(size):
    canvas, image = Canvas(*size, model().config), picture(*size)
    padded = canvas.pad(image)
    assert padded.shape == (2, 3, SIDE, SIDE)
    assert torch.equal(canvas.crop(padded), image)
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    canvas.crop(outside)[:] = False
    assert (padded[..., outside] == -1).all()


def test_weights_in_half_the_precision_encode_too():
    exact, _ = model().encode(series(), 0.735)
    rounded, _ = model().bfloat16().encode(series(), 0.735)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.15)


def test_larger_pictures_are_refused():
    with pytest.raises(ValueError, match="25 x 10"):
        model()(picture(25))
    with pytest.raises(ValueError, match=r"\[2, 1, 13, 10\]"):
        model()(picture()[:, :1])


@pytest.mark.parametrize("width", [9, 10, 24])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("mode", ["predict_last", "predict_last_pixel"])
def test_forecasts_never_see_the_frames_they_predict(mode, width, count):
    encoder, image = model(), picture(width=width)
    ratio = (count + 0.5) / width
    result = encoder(image, mask_ratio=ratio, mode=mode)
    columns = result.target_mask[0].any(dim=0).nonzero().flatten().tolist()
    assert columns[-1] == width - 1
    left = (SIDE - width) // 2
    if mode == "predict_last_pixel":
        assert columns == list(range(width - count, width))
    else:
        assert columns == list(range(max(0, (left + width - count) // PATCH * PATCH - left), width))
    changed = image.clone()
    changed[..., width - count :] += 5
    assert torch.equal(encoder(changed, mask_ratio=ratio, mode=mode).hidden, result.hidden)
    changed = image.clone()
    if columns[0] > 0:
        changed[..., columns[0] - 1] += 5
        assert not torch.equal(encoder(changed, mask_ratio=ratio, mode=mode).hidden, result.hidden)


@pytest.mark.parametrize(
    ("width", "count", "first", "blanked"),
    [
        (9, 4, 3, slice(12, 12)),  # frames 12-15 of the padded image are patch column 3 exactly
        (9, 6, 3, slice(10, 12)),  # columns 10 and 11 share their patch with frames that are seen
        (12, 1, 5, slice(17, 18)),  # inside one patch: no patch is masked, and padding is not blanked
    ],
)
def test_columns_of_a_forecast_to_the_pixel(width, count, first, blanked):
    canvas = Canvas(PARCELS, width, model().config)
    masked, columns, extra = canvas.last_columns((count + 0.5) / width, "predict_last_pixel")
    end = -(-(canvas.left + width) // PATCH)
    assert masked.view(canvas.grid).any(dim=0).nonzero().flatten().tolist() == list(range(first, end))
    assert columns == blanked
    assert extra == slice(blanked.start - canvas.left, blanked.stop - canvas.left)


def test_a_forecast_of_nothing_is_refused():
    with pytest.raises(ValueError, match="masks 0"):
        model()(picture(), mask_ratio=0.01, mode="predict_last")
    with pytest.raises(ValueError, match="mode"):
        model()(picture(), mask_ratio=0.5, mode="predict_first")  # type: ignore[arg-type]


def test_recomputing_gives_the_same_gradients():
    gradients = []
    for recompute in (False, True):
        encoder = model()
        encoder.recompute = recompute
        encoder(picture(), mask_ratio=0.5, generator=torch.Generator().manual_seed(0)).loss.backward()
        gradients.append({k: p.grad for k, p in encoder.named_parameters() if p.requires_grad})
    for key, value in gradients[0].items():
        assert value is not None, key
        torch.testing.assert_close(value, gradients[1][key])


def test_a_bad_configuration_names_everything():
    with pytest.raises(UserError) as error:
        model(hidden_size=18, image_size=(24, 25), num_attention_heads=4)
    for part in ("width 18", "18 and 8 must be multiples of 4", "(24, 25)"):
        assert part in str(error.value)
    with pytest.raises(UserError, match="attention_probs_dropout_prob = 0"):
        ViTMAEConfig.from_json({**SIZES, "attention_probs_dropout_prob": 0.1})
    assert ViTMAEConfig.from_json({**SIZES, "image_size": 24}) == ViTMAEConfig(**SIZES)  # type: ignore[arg-type]


def test_an_encoder_without_contract_says_so():
    with pytest.raises(ValueError, match="order of the parcels"):
        ViTMAE(ViTMAEConfig(**SIZES)).tokens(series())  # type: ignore[arg-type]
