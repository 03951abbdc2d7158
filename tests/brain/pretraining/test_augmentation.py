"""Laws of the random views: the clip stays as it is, frames move together, noise is each frame's own."""

from __future__ import annotations

import math

import pytest
import torch

from genebrain.brain.pretraining import augmentation
from genebrain.brain.pretraining.augmentation import rotations
from genebrain.brain.pretraining.settings import VolumeAugmentation
from genebrain.common.types import UserError

NOTHING = {"rotation": 0.0, "scaling": 0.0, "noise": 0.0, "smoothing": 0.0}


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(3, 1, 8, 10, 6, 4, generator=draw(9))


def test_the_input_is_unchanged_and_equal_seeds_give_equal_views(clips):
    before = clips.clone()
    augment = VolumeAugmentation(noise_share=1, smoothing_share=1)
    first, second, other = augment(clips, draw(1)), augment(clips, draw(1)), augment(clips, draw(2))
    assert torch.equal(clips, before)
    assert first.shape == clips.shape
    assert first.dtype == clips.dtype
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)


def test_no_strength_is_no_change(clips):
    assert torch.equal(VolumeAugmentation(**NOTHING)(clips, draw()), clips)


def test_all_frames_of_a_clip_move_alike_and_clips_move_differently(clips):
    still = clips[..., :1].expand_as(clips).contiguous()
    still[:] = still[:1]
    view = VolumeAugmentation(noise=0, smoothing=0)(still, draw())
    for frame in range(1, 4):
        assert torch.equal(view[..., 0], view[..., frame])
    assert not torch.allclose(view[0], view[1], atol=1e-2)
    assert not torch.allclose(view[0], still[0], atol=1e-2)


def test_every_frame_has_its_own_noise_of_the_stated_size():
    clips = torch.zeros(200, 1, 6, 6, 6, 3)
    view = VolumeAugmentation(**{**NOTHING, "noise": 0.2}, noise_share=0.5)(clips, draw())
    noisy = view[view.flatten(1).any(dim=1)]
    assert 70 < len(noisy) < 130
    assert float(noisy.flatten(1).std(dim=1).max()) <= 0.22
    first, second = noisy[..., 0].flatten(), noisy[..., 1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.05


def test_smoothing_keeps_constants_and_lowers_the_variance(clips):
    augment = VolumeAugmentation(**{**NOTHING, "smoothing": 2.0}, smoothing_share=1)
    torch.testing.assert_close(augment(torch.full_like(clips, 3.0), draw()), torch.full_like(clips, 3.0))
    assert bool((augment(clips, draw()).flatten(1).var(dim=1) < clips.flatten(1).var(dim=1)).all())


def test_smoothing_equals_a_gaussian_filter_along_each_axis():
    from scipy.ndimage import gaussian_filter1d

    clips = torch.randn(1, 1, 9, 8, 7, 2, generator=draw(3))
    augment = VolumeAugmentation(**{**NOTHING, "smoothing": 0.8}, smoothing_share=1)
    width = (0.8 * (2 * torch.rand(1, 3, generator=draw(5)) - 1 + 1) / 2)[0]
    expected = clips[0, 0].double().numpy()
    for axis in range(3):
        expected = gaussian_filter1d(expected, float(width[axis]), axis, mode="nearest", radius=2)
    got = augment(clips, draw(5))[0, 0]
    torch.testing.assert_close(got, torch.from_numpy(expected).float(), rtol=0, atol=1e-5)


def test_an_oblong_box_is_turned_as_voxels(monkeypatch):
    """A quarter turn around Z of a box 8 x 4 moves a voxel to where a rigid turn takes it."""
    monkeypatch.setattr(augmentation, "_uniform", lambda *_: torch.tensor([[0.0, 0.0, 1.0]]))
    clips = torch.zeros(1, 1, 8, 4, 3, 1)
    clips[0, 0, 5, 1, 1, 0] = 1.0  # 1.5 voxels along X from the centre, -0.5 along Y
    view = VolumeAugmentation(**{**NOTHING, "rotation": math.pi / 2})(clips, draw())
    # Sampling at R x puts the voxel at R^T x: (1.5, -0.5) -> (-0.5, -1.5).
    assert (view[0, 0, ..., 0] > 0.5).nonzero().tolist() == [[3, 0, 1]]


def test_rotations_are_rotations():
    turns = rotations(torch.rand(5, 3, generator=draw(), dtype=torch.float64))
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3, dtype=torch.float64).expand(5, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(5, dtype=torch.float64))


def test_impossible_strengths_are_named_together():
    with pytest.raises(UserError, match=r"noise=-1.*noise_share=2"):
        VolumeAugmentation(noise=-1, noise_share=2)
