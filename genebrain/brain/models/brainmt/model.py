"""BrainMT: convolutions within frames, Mamba over all patches and frames, then attention.

A frame becomes a grid of patches; tokens run patch by patch, time fastest. With ``BrainMTConfig.parity`` the
parameters bear the published names and give the published numbers; ``encode`` gives the same bits for the same scan
in evaluation mode. Memory stays bounded: frames pass the stem ``stem_frames`` at a time, and with ``recompute``
layers keep no activations. Source: Kannan et al., MICCAI 2025 (arXiv 2506.22591);
github.com/arunkumar-kannan/BrainMT-fMRI at 977e486.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.init import kaiming_uniform_, trunc_normal_
from torch.utils.checkpoint import checkpoint

from genebrain.brain.models.brainmt.blocks import EPS, Attention, ConvBlock, Downsample, Mlp, PatchEmbed, drop_path
from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.brainmt.mixer import SelectiveMixer
from genebrain.common.types import UserError

LARGEST = 1000.0
"""Scaled scans stay far below; raw scanner units lie above."""

STANDARD_DEVIATION = 0.02


class MambaLayer(nn.Module):
    """Add, norm, mix; the running residual is float32 or wider."""

    def __init__(self, config: BrainMTConfig) -> None:
        super().__init__()
        two = config.directions == "two"
        self.norm = _norm(config)
        self.mixer = SelectiveMixer(config.hidden_size, two, config.d_state, config.d_conv, config.expand)

    def forward(self, hidden: Tensor, residual: Tensor | None, rate: float) -> tuple[Tensor, Tensor]:
        """Hidden and residual, ``[batch, tokens, hidden]`` each; ``rate`` drops the hidden of the layer before."""
        hidden = drop_path(hidden, rate, self.training)
        residual = hidden if residual is None else hidden + residual
        residual = residual.to(torch.promote_types(residual.dtype, torch.float32))
        return self.mixer(self.norm(residual).to(hidden.dtype)), residual


class BrainMT(nn.Module):
    """The encoder with its linear head.

    Parameters
    ----------
    config : BrainMTConfig

    Attributes
    ----------
    hidden_size : int
        Width of a token.
    stem_frames : int
        Frames, over all scans of a batch, that pass the convolutions at a time.
    recompute : bool
        Make activations again in the backward pass: a fraction of the memory, the same gradients.
    """

    def __init__(self, config: BrainMTConfig) -> None:
        super().__init__()
        self.config, width = config, config.hidden_size
        self.hidden_size, self.stem_frames, self.recompute = width, 8, False
        class_token = config.pooling == "cls"
        if class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.num_patches + class_token, width))
        self.temporal_pos_embedding = nn.Parameter(torch.zeros(1, config.num_frames, width))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.patch_embed = PatchEmbed(config.in_chans, config.stem_dim, config.width)
        self.conv_block0, self.downsample0 = ConvBlock(config.width), Downsample(config.width)
        self.conv_block1, self.downsample1 = ConvBlock(2 * config.width), Downsample(2 * config.width)
        self.layers = nn.ModuleList(MambaLayer(config) for _ in range(config.depth[0]))
        self.norm_f = _norm(config)
        self.blocks = nn.ModuleList(Attention(width, config.num_heads, config.qkv_bias) for _ in range(config.depth[1]))
        # One norm and one perceptron serve all attention blocks, as published.
        self.mlp = Mlp(width)
        if not class_token:
            self.norm_out = nn.LayerNorm(width, eps=EPS)
        if config.pooling == "attention":
            self.pool_query = nn.Linear(width, 1, bias=False)
        self.head = nn.Linear(width, config.num_classes)
        self.initialise()

    def encode(self, scan: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of checked scans.

        Parameters
        ----------
        scan : Tensor
            ``[batch, frames, channels, depth, height, width]``, scaled (``brainmt_input``).

        Returns
        -------
        tokens : Tensor
            ``[batch, tokens, hidden]``: the class token first where there is one, then patch by patch, time
            fastest; after the final norm where there is one.
        mask : Tensor
            bool ``[batch, tokens]``, all True: scans come whole, without padding.

        Raises
        ------
        UserError
            The scan is not what the configuration asks for.
        """
        check_scan(scan, self.config)
        tokens = self.attend(self.mamba(self.sequence(self.convolve(scan.to(self.pos_embed.dtype)))))
        if self.config.pooling != "cls":
            tokens = self.norm_out(tokens)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def embed(self, scan: Tensor) -> Tensor:
        """One vector per scan, ``[batch, hidden]``, by the configured pooling."""
        tokens, _ = self.encode(scan)
        if self.config.pooling == "cls":
            return tokens[:, 0]
        if self.config.pooling == "mean":
            return tokens.mean(dim=1)
        return (self.pool_query(tokens).softmax(dim=1) * tokens).sum(dim=1)

    def forward(self, scan: Tensor) -> Tensor:
        """Outputs of the head, ``[batch, num_classes]``."""
        return self.head(self.embed(scan))

    def convolve(self, scan: Tensor) -> Tensor:
        """Grid features of all frames, ``[batch, frames, hidden, d, h, w]``."""
        frames = scan.flatten(0, 1).split(self.stem_frames)
        return torch.cat([self._run(self._stem, part) for part in frames]).unflatten(0, scan.shape[:2])

    def _stem(self, frames: Tensor) -> Tensor:
        x = self.downsample0(self.conv_block0(self.patch_embed(frames)))
        return self.downsample1(self.conv_block1(x))

    def sequence(self, features: Tensor) -> Tensor:
        """Tokens with their positions, ``[batch, tokens, hidden]``."""
        batch, class_token = len(features), self.config.pooling == "cls"
        x = features.flatten(3).permute(0, 3, 1, 2)  # [batch, patches, frames, hidden]
        x = x + self.pos_embed[:, class_token:, None] + self.temporal_pos_embedding[:, None]
        if not class_token:
            return x.flatten(1, 2)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1)
        return torch.cat([first, x.flatten(1, 2)], dim=1)

    def mamba(self, tokens: Tensor) -> Tensor:
        """All Mamba layers and the norm behind them, ``[batch, tokens, hidden]`` in and out."""
        shape = tokens.shape
        hidden = tokens
        if self.config.sequence == "per_patch":
            hidden = tokens.reshape(-1, self.config.num_frames, shape[-1])
        residual: Tensor | None = None
        # A layer drops the output of the one before; the input itself is never dropped.
        rates = [0.0, *self._rates()]
        for layer, rate in zip(self.layers, rates, strict=False):
            hidden, residual = self._run(layer, hidden, residual, rate)
        hidden = drop_path(hidden, self.config.drop_path, self.training)
        assert residual is not None  # there is at least one layer
        return self.norm_f(hidden + residual).to(tokens.dtype).reshape(shape)

    def attend(self, tokens: Tensor) -> Tensor:
        """All attention blocks, ``[batch, tokens, hidden]`` in and out."""
        for number, block in enumerate(self.blocks):
            tokens = self._run(self._block, block, number, tokens)
        return tokens

    def _block(self, attention: nn.Module, number: int, x: Tensor) -> Tensor:
        rate = self._rates()[self.config.depth[0] + number]
        normed = self.norm(x)
        if self.config.attention == "full":
            y = attention(normed)
        else:
            grid = normed.unflatten(1, (self.config.num_patches, self.config.num_frames))
            if number % 2 == 0:  # within a frame
                y = attention(grid.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1)).transpose(1, 2)
            else:  # within a patch
                y = attention(grid.flatten(0, 1)).unflatten(0, (len(x), -1))
            y = y.reshape(x.shape)
        x = x + drop_path(y, rate, self.training)
        return x + drop_path(self.mlp(self.norm(x)), rate, self.training)

    def _rates(self) -> list[float]:
        depth = sum(self.config.depth)
        return [self.config.drop_path * i / max(depth - 1, 1) for i in range(depth)]

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Published start of linear maps and positions; step sizes by ``step_init``; convolutions as torch's."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=STANDARD_DEVIATION, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
                if name.endswith(("out_proj", "mlp.fc2")):
                    kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
                    module.weight /= math.sqrt(sum(self.config.depth))
        if self.config.step_init == "mixer":
            for module in self.modules():
                if isinstance(module, SelectiveMixer):
                    module.initialise_states(generator)
        trunc_normal_(self.pos_embed, std=STANDARD_DEVIATION, generator=generator)


def _norm(config: BrainMTConfig) -> nn.Module:
    kind = nn.RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.hidden_size, eps=EPS)


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
