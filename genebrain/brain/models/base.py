"""Base of the published scan encoders: input contract, one call to tokens, seeded weights.

``encode`` gives ``(tokens [batch, tokens, hidden], mask [batch, tokens])``, the class token first, then the patches
in raster order, the same bits for the same scan in evaluation mode: nothing is masked and nothing is drawn. The mask
says which tokens stand for data. ``embed`` is the usual summary of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genebrain.brain.models.masking import Masking
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.common.types import UserError


@dataclass(frozen=True)
class Reconstruction:
    """Outcome of one masked pass.

    Attributes
    ----------
    loss
        Mean error over the masked elements, scalar; None where nothing is masked (a mean over nothing).
    prediction
        Predicted signal, in the shape of the (cropped) target.
    target_mask
        bool, True where the loss looks; broadcasts against the prediction.
    masking
        Which tokens were kept.
    hidden
        ``[batch, 1 + kept, hidden]``: class token and kept tokens after the final norm of the encoder.
    """

    loss: Tensor | None
    prediction: Tensor
    target_mask: Tensor
    masking: Masking
    hidden: Tensor


class ScanEncoder(nn.Module, ABC):
    """Base of the masked autoencoders over parcel series.

    Parameters
    ----------
    contract : ParcelInput, optional
        What ``encode`` asks of a scan; the masked pass used in pretraining does not need it.

    Attributes
    ----------
    hidden_size : int
        Width of a token.
    recompute : bool
        Set it to drop the activations inside each block and make them again in the backward pass: a fraction
        of the memory, the same gradients.
    """

    hidden_size: int
    recompute: bool = False

    def __init__(self, contract: ParcelInput | None = None) -> None:
        super().__init__()
        self.contract = contract

    @abstractmethod
    def tokens(self, series: Tensor, final_norm: bool = True) -> tuple[Tensor, Tensor]:
        """Tokens and mask of series ``[batch, frames, parcels]`` that are checked and scaled already."""

    @abstractmethod
    def fixed_tables(self) -> dict[str, Tensor]:
        """Key of the state -> values, for all entries that are computed and not learned."""

    def encode(self, series: Tensor, tr: float | Sequence[float], *, final_norm: bool = True) -> tuple[Tensor, Tensor]:
        """Tokens of a batch of scan windows.

        Parameters
        ----------
        series : Tensor
            ``[batch, frames, parcels]``, as the contract describes it.
        tr : float or sequence of float
            Seconds per frame, one for all or one per scan.
        final_norm : bool
            Whether the last layer norm is applied.

        Returns
        -------
        tokens : Tensor
            ``[batch, 1 + patches, hidden]``: class token, then the patches in raster order.
        mask : Tensor
            bool ``[batch, 1 + patches]``: the class token and the patches that hold data.

        Raises
        ------
        UserError
            The scan does not meet the contract, or there is none.
        """
        if self.contract is None:
            raise UserError("this encoder has no input contract: give it a ParcelInput with a scaling")
        dtype = next(self.parameters()).dtype
        return self.tokens(self.contract.prepare(series, tr).to(dtype), final_norm)

    def embed(
        self,
        series: Tensor,
        tr: float | Sequence[float],
        *,
        summary: Literal["cls", "mean"] = "cls",
        final_norm: bool = True,
    ) -> Tensor:
        """The class token, or the mean over the patches that hold data: ``[batch, hidden]``."""
        tokens, mask = self.encode(series, tr, final_norm=final_norm)
        if summary == "cls":
            return tokens[:, 0]
        if summary != "mean":
            raise ValueError(f"summary must be cls or mean, got {summary!r}")
        weight = mask[:, 1:].to(tokens.dtype)
        return torch.einsum("bth,bt->bh", tokens[:, 1:], weight) / weight.sum(dim=1, keepdim=True)

    @torch.no_grad()
    def initialise(self, seed: int, standard_deviation: float = 0.02) -> None:
        """Fill all weights, also those that came from the meta device: normal, norms one, biases zero."""
        generator = torch.Generator().manual_seed(seed)
        tables = self.fixed_tables()
        for key, value in sorted(self.state_dict().items()):
            if key in tables:
                value.copy_(tables[key])
            elif value.ndim == 1:
                value.fill_(1.0 if key.endswith("weight") else 0.0)
            else:
                value.copy_(torch.randn(value.shape, generator=generator) * standard_deviation)


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, recompute: bool) -> Tensor:
    """Apply blocks one after the other, ``[batch, tokens, hidden]`` in and out."""
    for block in blocks:
        if recompute and torch.is_grad_enabled():
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        else:
            x = block(x)
    return x


def masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``error`` where the (broadcast) mask is True; zero where a draw happens to mask no element."""
    weight = mask.to(error.dtype).expand_as(error)
    return (error * weight).sum() / weight.sum().clamp(min=1)
