"""Masks of a masked autoencoder: tokens that it keeps, and the full sequence put together again.

Ranks of a noise vector decide which tokens stay; nothing is drawn here, so equal noise gives equal masks. ``raster``
keeps the survivors in their own order; ``shuffled`` leaves them in order of their noise, as the published training
code does (He et al. 2022, arXiv 2111.06377).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TokenOrder = Literal["raster", "shuffled"]


@dataclass(frozen=True)
class Masking:
    """A choice of tokens.

    Attributes
    ----------
    kept
        int64 ``[batch, kept]``: position of every kept token, in the order the encoder sees them.
    ids_restore
        int64 ``[batch, tokens]``: where each token lies in (kept, then masked).
    mask
        bool ``[batch, tokens]``: True where the token is masked, in raster order.
    """

    kept: Tensor
    ids_restore: Tensor
    mask: Tensor

    def keep(self, tokens: Tensor) -> Tensor:
        """The kept tokens, ``[batch, tokens, hidden] -> [batch, kept, hidden]``."""
        return tokens.gather(1, self.kept[..., None].expand(-1, -1, tokens.shape[2]))

    def restore(self, kept: Tensor, mask_token: Tensor) -> Tensor:
        """All tokens in raster order, ``[batch, kept, hidden] -> [batch, tokens, hidden]``.

        ``mask_token [1, 1, hidden]`` stands in for every masked token.
        """
        batch, n_kept, hidden = kept.shape
        fill = mask_token.to(kept.dtype).expand(batch, self.mask.shape[1] - n_kept, hidden)
        return torch.cat([kept, fill], dim=1).gather(1, self.ids_restore[..., None].expand(-1, -1, hidden))


def n_kept(n_tokens: int, mask_ratio: float) -> int:
    """Tokens that survive a mask ratio, rounded down.

    Raises
    ------
    ValueError
        The ratio is outside [0, 1) or leaves no token.
    """
    kept = int(n_tokens * (1 - mask_ratio)) if 0 <= mask_ratio < 1 else 0
    if kept < 1:
        raise ValueError(f"mask ratio {mask_ratio} of {n_tokens} tokens leaves none to encode; choose one in [0, 1)")
    return kept


def mask_by_noise(noise: Tensor, kept: int, order: TokenOrder = "raster") -> Masking:
    """Keep the ``kept`` tokens of least noise; ties go to the earlier token.

    Parameters
    ----------
    noise : Tensor
        ``[batch, tokens]``.
    kept : int
        How many tokens stay.
    order : {"raster", "shuffled"}
        Order of the kept tokens.
    """
    if order not in ("raster", "shuffled"):
        raise ValueError(f"token order must be raster or shuffled, got {order!r}")
    ids = noise.argsort(dim=1, stable=True)
    if order == "raster":
        ids = torch.cat([ids[:, :kept].sort(dim=1).values, ids[:, kept:].sort(dim=1).values], dim=1)
    ids_restore = ids.argsort(dim=1)
    return Masking(ids[:, :kept], ids_restore, ids_restore >= kept)


def masking_noise(
    shape: tuple[int, int], mask_ratio: float, noise: Tensor | None, generator: torch.Generator | None, like: Tensor
) -> Tensor:
    """The given noise, checked; else a ramp (nothing masked) or a draw from ``generator``.

    Parameters
    ----------
    shape : (batch, tokens)
        What the noise must fit.
    mask_ratio : float
        Share of the tokens to mask.
    noise : Tensor, optional
        ``[batch, tokens]``.
    generator : torch.Generator, optional
        Source of the draw, on any device.
    like : Tensor
        Its device is used.

    Raises
    ------
    ValueError
        The noise has another shape, or masking is asked for without noise and without generator.
    """
    if noise is not None:
        if noise.shape != shape:
            raise ValueError(f"noise has shape {list(noise.shape)}, but there are {list(shape)} (batch, tokens)")
        return noise.to(like.device)
    if mask_ratio == 0:
        return torch.arange(shape[1], device=like.device).expand(shape)
    if generator is None:
        raise ValueError(f"mask ratio {mask_ratio} needs noise=... or generator=...: no global random state is used")
    return torch.rand(shape, generator=generator, device=generator.device).to(like.device)
