"""What BrainMT asks of a scan: intensity scaling, order of the axes, and the check before encoding.

Stored volumes are ``[X, Y, Z, T]`` with exact zeros as background; the network reads ``[T, 1, Y, X, Z]``. Source:
github.com/arunkumar-kannan/BrainMT-fMRI at 977e486, preprocessing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.common.types import UserError

LARGEST = 1000.0
"""Scaled scans stay far below; raw scanner units lie above."""


def check_scan(scan: Tensor, config: BrainMTConfig) -> None:
    """Refuse a batch ``[batch, frames, channels, depth, height, width]`` that the network cannot read.

    Raises
    ------
    UserError
        All that does not fit: axes, sizes, type, values that are not finite, constant or unscaled.
    """
    expected = (config.num_frames, config.in_chans, *config.img_size)
    names = ("frames", "channels", "depth", "height", "width")
    if scan.ndim != 6 or not scan.is_floating_point() or len(scan) == 0:
        raise UserError(
            f"BrainMT reads floating-point scans [batch, {', '.join(names)}] with at least one scan, "
            f"got {str(scan.dtype).removeprefix('torch.')} {list(scan.shape)}"
        )
    problems = [
        f"{have} {name} where the encoder has {want}"
        for name, have, want in zip(names, scan.shape[1:], expected, strict=True)
        if have != want
    ]
    if not bool(scan.isfinite().all()):
        problems.append("values that are not finite")
    elif not problems:
        low, high = scan.detach().flatten(1).aminmax(dim=1)
        if constant := int((low == high).sum()):
            problems.append(f"{constant} of {len(scan)} scans are constant")
        if (largest := float(torch.maximum(high, -low).max())) > LARGEST:
            problems.append(f"values up to {largest:.0f}, which look unscaled: scale each scan as the weights saw it")
    if problems:
        raise UserError("the scan does not fit BrainMT: " + "; ".join(problems) + "; crop or resample it to fit")
