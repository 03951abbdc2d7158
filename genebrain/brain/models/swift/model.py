"""SwiFT, the Swin 4D fMRI transformer: voxels and frames to space-time tokens.

A scan is ``[batch, channels, X, Y, Z, frames]`` of exactly the voxels of the configuration and at most its frames:
skull-stripped, in MNI space at 2 mm as the published weights saw it, z-scored over all brain voxels and frames of
the *run* with the background at the minimum (``volumes.normalise_volumes``, then :func:`clips`). No statistic of a
training set enters. Anything else is refused. Outputs are those of the published code, before any final norm (it
never applies one); the same bits for the same scan, as nothing is drawn. Source: Kim et al., NeurIPS 2023, arXiv
2307.05916; code github.com/Transconnectome/SwiFT (Apache-2.0), which this implements from its description.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from genebrain.brain.models.swift.blocks import PatchEmbedding, PositionTables, Stage
from genebrain.brain.models.swift.config import Four, SwiFTConfig
from genebrain.common.types import UserError


class SwiFT(nn.Module):
    """The encoder; parameters bear the names of the published checkpoints, without ``model.``.

    Parameters
    ----------
    config : SwiFTConfig
        Sizes; the default is the published one.

    Attributes
    ----------
    hidden_size : int
        Width of an output token.
    norm : nn.LayerNorm
        In the published checkpoints, never applied; frozen, so that distributed training finds no unused weight.
    """

    def __init__(self, config: SwiFTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SwiFTConfig()
        self.hidden_size = config.width(config.stages - 1)
        self.patch_embed = PatchEmbedding(config)
        self.pos_embeds = nn.ModuleList(
            PositionTables(config.width(i), config.grid(i), config.img_size[3]) for i in range(config.stages)
        )
        self.layers = nn.ModuleList(Stage(config, i) for i in range(config.stages))
        self.norm = nn.LayerNorm(self.hidden_size).requires_grad_(False)

    @property
    def recompute(self) -> bool:
        """Whether activations inside a block are made again in the backward pass; set it to save memory."""
        return any(stage.recompute for stage in self.layers)

    @recompute.setter
    def recompute(self, value: bool) -> None:
        for stage in self.layers:
            assert isinstance(stage, Stage)
            stage.recompute = value

    def forward(self, scan: Tensor) -> Tensor:
        """Feature map of a batch of clips, as published.

        Parameters
        ----------
        scan : Tensor
            ``[batch, channels, X, Y, Z, frames]``; any float type, computed in that of the weights.

        Returns
        -------
        Tensor
            ``[batch, hidden, x, y, z, frames]``; time is never reduced.

        Raises
        ------
        UserError
            The shape does not meet the configuration.
        """
        self._check(scan)
        x = self.patch_embed(scan.to(self.patch_embed.fc.weight.dtype))
        for position, stage in zip(self.pos_embeds, self.layers, strict=True):
            x = stage(position(x))
        return x.movedim(-1, 1)

    def encode(self, scan: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of a batch of clips.

        Parameters
        ----------
        scan : Tensor
            As for :meth:`forward`, finite.

        Returns
        -------
        tokens : Tensor
            ``[batch, x * y * z * frames, hidden]`` in raster order, time fastest.
        mask : Tensor
            bool ``[batch, tokens]``, all True: every token stands for data.

        Raises
        ------
        UserError
            The scan does not meet the contract.
        """
        self._check(scan)
        finite = scan.isfinite().flatten(1).all(dim=1)
        if not finite.all():
            raise UserError(f"{int((~finite).sum())} of {len(scan)} clips hold values that are not finite")
        tokens = self(scan).flatten(2).mT
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def embed(self, scan: Tensor, *, summary: Literal["mean", "frames"] = "mean") -> Tensor:
        """Mean over all tokens ``[batch, hidden]``, or over space only ``[batch, frames, hidden]``."""
        if summary not in ("mean", "frames"):
            raise ValueError(f"summary must be mean or frames, got {summary!r}")
        tokens, _ = self.encode(scan)
        if summary == "mean":
            return tokens.mean(dim=1)
        return tokens.unflatten(1, (-1, scan.shape[-1])).mean(dim=1)

    def resized(self, img_size: Four) -> SwiFT:
        """A copy for another number of voxels or frames, position tables interpolated, all else the same.

        Fewer frames than the tables hold need no copy: :meth:`forward` takes them as they are.

        Raises
        ------
        UserError
            The size is no multiple of patch and merging.
        """
        config = replace(self.config, img_size=img_size)
        state = self.state_dict()
        for i, tables in enumerate(self.pos_embeds):
            assert isinstance(tables, PositionTables)
            new = tables.resized(config.grid(i), config.img_size[3])
            state.update({f"pos_embeds.{i}.{name}": value for name, value in new.items()})
        copy = SwiFT(config).to(self.norm.weight)
        copy.load_state_dict(state)
        return copy.train(self.training)

    @torch.no_grad()
    def initialise(self, seed: int, standard_deviation: float = 0.02) -> None:
        """Fill all weights: truncated normal at two deviations, norms one, biases zero."""
        generator = torch.Generator().manual_seed(seed)
        for name, value in sorted(self.named_parameters()):
            if value.ndim == 1:
                value.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                start = torch.empty(value.shape)
                nn.init.trunc_normal_(
                    start,
                    std=standard_deviation,
                    a=-2 * standard_deviation,
                    b=2 * standard_deviation,
                    generator=generator,
                )
                value.copy_(start)

    def _check(self, scan: Tensor) -> None:
        *space, frames = self.config.img_size
        wanted = [self.config.in_chans, *space]
        if scan.ndim != 6 or list(scan.shape[1:5]) != wanted or not 1 <= scan.shape[5] <= frames:
            raise UserError(
                f"a scan must be [batch, {', '.join(map(str, wanted))}, 1 to {frames} frames], got "
                f"{list(scan.shape)}: bring it into that box, cut it into clips, or make the encoder fit with resized()"
            )
        if not scan.is_floating_point():
            raise UserError(f"a scan must hold normalised real numbers, got {scan.dtype}")


def clips(volumes: Tensor, length: int = 20, stride: int | None = None) -> tuple[Tensor, int]:
    """Clips of one run in the layout of the encoder.

    Parameters
    ----------
    volumes : Tensor
        ``[frames, X, Y, Z]``, one normalised run.
    length, stride : int
        Frames per clip, and between the starts of two clips (default: ``length``, no overlap).

    Returns
    -------
    clips : Tensor
        ``[clips, 1, X, Y, Z, length]``, views of the run.
    unused : int
        Frames at the end that are in no clip.

    Raises
    ------
    UserError
        The run is shorter than one clip.
    """
    stride = length if stride is None else stride
    if length < 1 or stride < 1:
        raise ValueError(f"length and stride must be at least 1 frame, got {length} and {stride}")
    if volumes.ndim != 4 or len(volumes) < length:
        raise UserError(f"a run must be [frames, X, Y, Z] of at least {length} frames, got {list(volumes.shape)}")
    cut = volumes.unfold(0, length, stride)
    used = (len(cut) - 1) * stride + length
    return cut[:, None], len(volumes) - used
