"""BrainLM, image family (111M, 650M): a scan is a picture of parcels x frames for a plain ViT autoencoder.

Rows are the parcels from back to front (ascending Y, a stable sort), columns the frames; one channel is repeated
three times and padded with -1 to a square. More than half of the patches are padding: the mask that ``encode``
returns leaves them out.

Parameters bear the names of the published checkpoints (those of Hugging Face ViTMAE); equal inputs and noise give
the published model's numbers. Tokens come back in raster order, whatever was masked. Source: Ortega Caro et al.,
ICLR 2024; github.com/vandijklab/BrainLM at b591d88; He et al. 2022, 2111.06377.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.brain.models.base import Reconstruction, ScanEncoder, masked_mean, run_blocks
from genebrain.brain.models.brainlm.canvas import Canvas, Mode
from genebrain.brain.models.brainlm.config import ViTMAEConfig
from genebrain.brain.models.masking import Masking, mask_by_noise, masking_noise, n_kept
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.parcels.a424 import order_by_y


class ViTMAE(ScanEncoder):
    """The padded image masked autoencoder.

    Parameters
    ----------
    config : ViTMAEConfig
    contract : ParcelInput, optional
        Needed by ``encode``; its coordinates give the order of the rows.
    """

    def __init__(self, config: ViTMAEConfig, contract: ParcelInput | None = None) -> None:
        super().__init__(contract)
        self.config = config
        self.hidden_size = config.hidden_size
        self.vit = _Encoder(config)
        self.decoder = _Decoder(config)

    def tokens(self, series: Tensor, final_norm: bool = True) -> tuple[Tensor, Tensor]:
        """Class token and all patches of scaled series ``[batch, frames, parcels]``, in raster order.

        The mask is True for the class token and for patches that hold data.
        """
        picture = self.picture(series)
        canvas = Canvas(picture.shape[2], picture.shape[3], self.config)
        hidden = self.vit(self.vit.embeddings(canvas.pad(picture)), final_norm, self.recompute)
        mask = functional.pad(canvas.data_patches(), (1, 0), value=True).to(hidden.device)
        return hidden, mask.expand(len(series), -1)

    def picture(self, series: Tensor) -> Tensor:
        """Scaled series ``[batch, frames, parcels]`` as pixels ``[batch, channels, parcels, frames]``."""
        if self.contract is None:
            raise ValueError("the order of the parcels comes from the contract, and there is none")
        rows = torch.as_tensor(order_by_y(self.contract.coordinates), device=series.device)
        return series.mT[:, None, rows].expand(-1, self.config.num_channels, -1, -1)

    def forward(
        self,
        picture: Tensor,
        *,
        mask_ratio: float = 0.0,
        mode: Mode = "auto_encode",
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Reconstruction:
        """Reconstruct masked patches.

        Parameters
        ----------
        picture : Tensor
            ``[batch, channels, parcels, frames]``, scaled and in row order.
        mask_ratio : float
            Share of the patches (``auto_encode``) or of the frames (``predict_last*``) to mask.
        mode : {"auto_encode", "predict_last", "predict_last_pixel"}
            Random patches; all patches that touch the last frames; or the last frames to the pixel.
        noise : Tensor, optional
            ``[batch, patches]``, for ``auto_encode``: the patches of least noise are kept.
        generator : torch.Generator, optional
            Draws the noise where none is given and something is masked.

        Returns
        -------
        Reconstruction
            ``prediction`` and ``target_mask`` are ``[batch, parcels, frames]``: padding cropped, mean over
            the channels. The loss sees the picture only, never the padding.
        """
        if picture.ndim != 4 or picture.shape[1] != self.config.num_channels:
            raise ValueError(
                f"picture must be [batch, {self.config.num_channels}, parcels, frames], got {list(picture.shape)}"
            )
        canvas = Canvas(picture.shape[2], picture.shape[3], self.config)
        image = canvas.pad(picture)
        extra = slice(0, 0)
        if mode == "auto_encode":
            shape = len(picture), canvas.grid[0] * canvas.grid[1]
            draw = masking_noise(shape, mask_ratio, noise, generator, picture)
            masking = mask_by_noise(draw, n_kept(shape[1], mask_ratio), "shuffled")
        else:
            masked, blanked, extra = canvas.last_columns(mask_ratio, mode)
            image[..., blanked] = 0
            kept = len(masked) - int(masked.sum())
            masking = mask_by_noise(masked.to(picture.device).expand(len(picture), -1).long(), kept)
        hidden = self.vit(masking.keep(self.vit.embeddings(image)), recompute=self.recompute)
        prediction = canvas.channel_mean(self.decoder(hidden, masking, self.recompute))
        mask = canvas.pixel_mask(masking.mask)
        mask[..., extra] = True
        nothing = masking.kept.shape[1] == masking.mask.shape[1] and extra.start == extra.stop
        loss = None if nothing else masked_mean((prediction - self._target(picture)).square(), mask)
        return Reconstruction(loss, prediction, mask, masking, hidden)

    def _target(self, picture: Tensor) -> Tensor:
        target = picture.mean(dim=1)
        if not self.config.norm_pix_loss:
            return target
        # The published code normalises each row (a parcel over its frames), not each patch.
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        return (target - mean) / (variance + 1e-6).sqrt()

    def fixed_tables(self) -> dict[str, Tensor]:
        """The position tables of encoder and decoder."""
        return {
            "vit.embeddings.position_embeddings": _positions(self.config, self.config.hidden_size),
            "decoder.decoder_pos_embed": _positions(self.config, self.config.decoder_hidden_size),
        }


def _positions(config: ViTMAEConfig, width: int) -> Tensor:
    """Sines and cosines of column and row, half the width each; zero for the class token: [1, 1 + N, width]."""
    rate = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    down, across = (side // config.patch_size for side in config.image_size)
    row, column = torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij")
    angles = [axis.flatten()[:, None] * rate for axis in (column, row)]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return functional.pad(table, (0, 0, 1, 0))[None].float()


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        parts = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        return functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)


class _Dense(nn.Module):
    """A linear map under the name ``dense``, as the checkpoints have it."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x)


class _Block(nn.Module):
    """Pre-norm transformer block, ``[batch, tokens, width]`` in and out."""

    def __init__(self, width: int, heads: int, intermediate: int, eps: float) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"attention": _Attention(width, heads), "output": _Dense(width, width)})
        self.intermediate = _Dense(width, intermediate)
        self.output = _Dense(intermediate, width)
        self.layernorm_before = nn.LayerNorm(width, eps=eps)
        self.layernorm_after = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention["output"](self.attention["attention"](self.layernorm_before(x)))
        return x + self.output(functional.gelu(self.intermediate(self.layernorm_after(x))))


class _Embeddings(nn.Module):
    def __init__(self, config: ViTMAEConfig) -> None:
        super().__init__()
        hidden, p = config.hidden_size, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.position_embeddings = nn.Parameter(_positions(config, hidden), requires_grad=False)
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(config.num_channels, hidden, p, stride=p)})

    def forward(self, image: Tensor) -> Tensor:
        """Padded image to patches with positions, ``[batch, patches, hidden]``."""
        patches = self.patch_embeddings["projection"](image).flatten(2).transpose(1, 2)
        return patches + self.position_embeddings[:, 1:]


class _Encoder(nn.Module):
    def __init__(self, config: ViTMAEConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        sizes = config.hidden_size, config.num_attention_heads, config.intermediate_size, config.layer_norm_eps
        layers = nn.ModuleList(_Block(*sizes) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, patches: Tensor, final_norm: bool = True, recompute: bool = False) -> Tensor:
        """``[batch, kept, hidden]`` to ``[batch, 1 + kept, hidden]``, the class token first."""
        cls_token = self.embeddings.cls_token + self.embeddings.position_embeddings[:, :1]
        x = torch.cat([cls_token.to(patches.dtype).expand(len(patches), -1, -1), patches], dim=1)
        x = run_blocks(self.encoder["layer"].children(), x, recompute)
        return self.layernorm(x) if final_norm else x


class _Decoder(nn.Module):
    def __init__(self, config: ViTMAEConfig) -> None:
        super().__init__()
        width, eps = config.decoder_hidden_size, config.layer_norm_eps
        sizes = width, config.decoder_num_attention_heads, config.decoder_intermediate_size, eps
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(_positions(config, width), requires_grad=False)
        self.decoder_embed = nn.Linear(config.hidden_size, width)
        self.decoder_layers = nn.ModuleList(_Block(*sizes) for _ in range(config.decoder_num_hidden_layers))
        self.decoder_norm = nn.LayerNorm(width, eps=eps)
        self.decoder_pred = nn.Linear(width, config.patch_size**2 * config.num_channels)

    def forward(self, hidden: Tensor, masking: Masking, recompute: bool) -> Tensor:
        """``[batch, 1 + kept, hidden]`` to pixels of all patches, ``[batch, patches, patch * patch * channels]``."""
        x = self.decoder_embed(hidden)
        x = torch.cat([x[:, :1], masking.restore(x[:, 1:], self.mask_token)], dim=1) + self.decoder_pos_embed
        x = run_blocks(self.decoder_layers, x, recompute)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]
