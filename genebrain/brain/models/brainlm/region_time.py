"""BrainLM, region x time family (13M): every token is one window of one parcel.

A parcel's series is cut into windows of ``timepoint_patching_size`` frames; a token is a linear map of its window,
plus one of the parcel's coordinates, plus a sinusoid of the window's number. Tokens run parcel by parcel, time
fastest. The encoder is a post-norm transformer whose attention adds a convolution along the token axis, so its
output depends on the order of the tokens: the published code shuffles them even when it masks none, which makes its
embeddings random. Here they keep their order unless a caller asks for the shuffle.

Parameters bear the names of the published checkpoints; equal inputs, noise and ``shuffled`` order give the published
model's numbers. Series may have any number of whole windows (up to 5,000) and of parcels. Source: Ortega Caro et
al., ICLR 2024; github.com/vandijklab/BrainLM at b591d88.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from genebrain.brain.models.base import Reconstruction, ScanEncoder, masked_mean, run_blocks
from genebrain.brain.models.brainlm.attention import ConvolvedAttention, ConvolvedBlock
from genebrain.brain.models.brainlm.config import MOST_PATCHES, BrainLMConfig
from genebrain.brain.models.masking import Masking, TokenOrder, mask_by_noise, masking_noise, n_kept
from genebrain.brain.models.parcel_input import ParcelInput

POSITION_DROPOUT = 0.1


class BrainLM(ScanEncoder):
    """The region x time masked autoencoder.

    Parameters
    ----------
    config : BrainLMConfig
    contract : ParcelInput, optional
        Needed by ``encode``.
    """

    def __init__(self, config: BrainLMConfig, contract: ParcelInput | None = None) -> None:
        super().__init__(contract)
        self.config = config
        self.hidden_size = config.hidden_size
        self.vit = _Encoder(config)
        self.decoder = _Decoder(config)

    def tokens(
        self, series: Tensor, final_norm: bool = True, coordinates: NDArray[np.float32] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Class token and all tokens of scaled series ``[batch, frames, parcels]``; the mask is all True.

        ``coordinates`` ``[parcels, 3]`` stand in for those of the contract.
        """
        if coordinates is None:
            if self.contract is None:
                raise ValueError("the coordinates of the parcels come from the contract, and there is none")
            coordinates = self.contract.coordinates
        centres = torch.as_tensor(coordinates).to(series)
        patches = self.vit.embeddings(series.mT, centres.expand(len(series), -1, -1))
        hidden = self.vit(patches, final_norm, self.recompute)
        return hidden, torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)

    def forward(
        self,
        signal: Tensor,
        coordinates: Tensor,
        *,
        mask_ratio: float = 0.0,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        order: TokenOrder = "raster",
    ) -> Reconstruction:
        """Reconstruct masked windows.

        Parameters
        ----------
        signal : Tensor
            ``[batch, parcels, frames]``, scaled; frames must be a multiple of the patch.
        coordinates : Tensor
            ``[batch, parcels, 3]``, mm.
        mask_ratio : float
            Share of the tokens to mask, in [0, 1).
        noise : Tensor, optional
            ``[batch, parcels * windows]``: the tokens of least noise are kept.
        generator : torch.Generator, optional
            Draws the noise where none is given and something is masked.
        order : {"raster", "shuffled"}
            Order in which the encoder sees the kept tokens; "shuffled" is that of the noise, as published.

        Returns
        -------
        Reconstruction
            ``prediction [batch, parcels, windows, patch]``, ``target_mask [batch, parcels, windows, 1]``.
        """
        tokens = self.vit.embeddings(signal, coordinates)
        shape = tokens.shape[0], tokens.shape[1]
        draw = masking_noise(shape, mask_ratio, noise, generator, tokens)
        masking = mask_by_noise(draw, n_kept(shape[1], mask_ratio), order)
        hidden = self.vit(masking.keep(tokens), recompute=self.recompute)
        prediction = self.decoder(hidden, masking, coordinates, self.recompute)
        target = signal.unflatten(-1, prediction.shape[2:])
        mask = masking.mask.view(*prediction.shape[:3], 1)
        loss = None
        if masking.kept.shape[1] < shape[1]:
            difference = prediction - target
            loss = masked_mean(difference.square() if self.config.loss_fn == "mse" else difference.abs(), mask)
        return Reconstruction(loss, prediction, mask, masking, hidden)

    def fixed_tables(self) -> dict[str, Tensor]:
        """The two sinusoid tables."""
        names = "vit.embeddings.pos_embedding.pe", "decoder.pos_embedding.pe"
        return {name: sinusoids(MOST_PATCHES, self.config.hidden_size) for name in names}


def sinusoids(length: int, width: int) -> Tensor:
    """Interleaved sines and cosines of base 10,000 (Vaswani et al. 2017), float32 ``[length, width]``."""
    rate = torch.exp(torch.arange(0, width, 2) * (-torch.log(torch.tensor(10_000.0)) / width))
    angle = torch.arange(length)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class _TimePosition(nn.Module):
    """Adds the sinusoid of the window's number to tokens ``[batch, parcels, windows, hidden]``."""

    pe: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(MOST_PATCHES, hidden))

    def forward(self, tokens: Tensor) -> Tensor:
        windows = tokens.shape[2]
        if windows > MOST_PATCHES:
            raise ValueError(f"{windows} windows per parcel; the position table ends at {MOST_PATCHES}")
        return functional.dropout(tokens + self.pe[:windows], POSITION_DROPOUT, self.training)


class _Embeddings(nn.Module):
    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        self.patch = config.timepoint_patching_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.signal_embedding_projection = nn.Linear(self.patch, config.hidden_size)
        self.xyz_embedding_projection = nn.Linear(3, config.hidden_size)
        self.pos_embedding = _TimePosition(config.hidden_size)

    def forward(self, signal: Tensor, coordinates: Tensor) -> Tensor:
        """``[batch, parcels, frames]`` and ``[batch, parcels, 3]`` to ``[batch, parcels * windows, hidden]``."""
        batch, parcels, frames = signal.shape
        if frames == 0 or frames % self.patch:
            raise ValueError(f"{frames} frames are no multiple of the patch of {self.patch}: cut the series")
        if coordinates.shape != (batch, parcels, 3):
            raise ValueError(f"coordinates {list(coordinates.shape)} do not fit signal {list(signal.shape)}")
        tokens = self.signal_embedding_projection(signal.unflatten(-1, (-1, self.patch)))
        tokens = tokens + self.xyz_embedding_projection(coordinates)[:, :, None]
        return self.pos_embedding(tokens).flatten(1, 2)


class _Encoder(nn.Module):
    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        width, heads = config.intermediate_size, config.num_attention_heads
        self.encoder = nn.ModuleDict({"layer": _blocks(config, config.num_hidden_layers, heads, width)})
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, tokens: Tensor, final_norm: bool = True, recompute: bool = False) -> Tensor:
        """``[batch, kept, hidden]`` to ``[batch, 1 + kept, hidden]``, the class token first, without position."""
        x = torch.cat([self.embeddings.cls_token.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)
        x = run_blocks(self.encoder["layer"].children(), x, recompute)
        return self.layernorm(x) if final_norm else x


class _Decoder(nn.Module):
    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        width, patch = config.decoder_hidden_size, config.timepoint_patching_size
        self.use_tanh = config.use_tanh_decoder
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_embed = nn.Linear(config.hidden_size, width)
        self.decoder_xyz_projection = nn.Linear(3, width)
        self.pos_embedding = _TimePosition(width)
        self.decoder_layers = _blocks(
            config,
            config.decoder_num_hidden_layers,
            config.decoder_num_attention_heads,
            config.decoder_intermediate_size,
        )
        self.decoder_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        # Published checkpoints carry this layer of an image model; nothing uses it.
        self.decoder_pred = nn.Linear(width, config.patch_size**2 * config.num_channels)
        self.decoder_pred1 = nn.Linear(width, width // 2)
        self.decoder_pred2 = nn.Linear(width // 2, patch)

    def forward(self, hidden: Tensor, masking: Masking, coordinates: Tensor, recompute: bool) -> Tensor:
        """``[batch, 1 + kept, hidden]`` to the predicted windows ``[batch, parcels, windows, patch]``."""
        x = self.decoder_embed(hidden)
        tokens = masking.restore(x[:, 1:], self.mask_token).unflatten(1, (coordinates.shape[1], -1))
        windows = tokens.shape[1:3]
        tokens = self.pos_embedding(tokens + self.decoder_xyz_projection(coordinates)[:, :, None])
        x = torch.cat([x[:, :1], tokens.flatten(1, 2)], dim=1)
        x = run_blocks(self.decoder_layers, x, recompute)
        x = functional.leaky_relu(self.decoder_pred1(self.decoder_norm(x)), 0.1)
        x = self.decoder_pred2(x)[:, 1:].unflatten(1, windows)
        return x.tanh() if self.use_tanh else x


def _blocks(config: BrainLMConfig, layers: int, heads: int, width: int) -> nn.ModuleList:
    def attention() -> ConvolvedAttention:
        return ConvolvedAttention(
            config.hidden_size, heads, config.conv_kernel_size, config.landmarks, config.inv_coeff_init_option
        )

    return nn.ModuleList(
        ConvolvedBlock(attention(), config.hidden_size, width, config.layer_norm_eps) for _ in range(layers)
    )
