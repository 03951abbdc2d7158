"""Sizes and options of the two BrainLM families, under the names of their ``config.json``.

``from_json`` takes the dictionary of a published configuration, uses the fields below, refuses what the encoders do
not implement, and lists all that is missing or refused at once. Fields it does not know are training options and are
ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, TypeVar

from genebrain.common.types import UserError, whole, wrong_types

Config = TypeVar("Config", bound="MaskedAutoencoderConfig")
MOST_PATCHES = 5000
"""Patches of a parcel that the position table of the region x time family holds."""


@dataclass(frozen=True, kw_only=True)
class MaskedAutoencoderConfig:
    """What both families share: sizes of encoder and decoder, eps of the layer norms, image patch fields."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    decoder_hidden_size: int
    decoder_num_hidden_layers: int
    decoder_num_attention_heads: int
    decoder_intermediate_size: int
    patch_size: int = 16
    num_channels: int = 3
    layer_norm_eps: float = 1e-12

    required: ClassVar[Mapping[str, Any]] = {"hidden_act": "gelu", "hidden_dropout_prob": 0.0, "qkv_bias": True}
    """The only values that the encoders implement of further options."""

    def __post_init__(self) -> None:
        if problems := wrong_types(type(self), vars(self)) or self.problems():
            raise UserError("the configuration cannot be built: " + "; ".join(problems))

    def problems(self) -> list[str]:
        """What does not hold together."""
        found = []
        for side, width, heads in (
            ("encoder", self.hidden_size, self.num_attention_heads),
            ("decoder", self.decoder_hidden_size, self.decoder_num_attention_heads),
        ):
            if width % 2 or width % heads:
                found.append(f"the {side} width {width} must be even and a multiple of its {heads} heads")
        return found

    @classmethod
    def from_json(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """Configuration from the dictionary of a ``config.json``.

        Raises
        ------
        UserError
            Fields without default are missing, or options have values that are not implemented.
        """
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in values]
        refused = [
            f"{key} = {values[key]!r} (only {only!r})"
            for key, only in cls.required.items()
            if key in values and values[key] != only
        ]
        if missing or refused:
            raise UserError(
                "the configuration cannot be used: "
                + "; ".join(
                    f"{what}: {', '.join(names)}"
                    for what, names in (("missing", missing), ("not implemented", refused))
                    if names
                )
            )
        known: dict[str, Any] = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        if "image_size" in known:
            size = known["image_size"]
            known["image_size"] = (size, size) if whole(size) else tuple(size)
        return cls(**known)


@dataclass(frozen=True, kw_only=True)
class BrainLMConfig(MaskedAutoencoderConfig):
    """The region x time family.

    ``inv_coeff_init_option`` True starts the pseudo-inverse of the Nystrom branch per matrix; False takes one
    number for the whole batch, as published, so that a scan's numbers depend on its batch mates.
    """

    timepoint_patching_size: int
    conv_kernel_size: int = 65
    num_landmarks: int = 64
    segment_means_seq_len: int = 64
    inv_coeff_init_option: bool = True
    loss_fn: str = "mse"
    use_tanh_decoder: bool = False

    @property
    def frame_lengths(self) -> range:
        """Numbers of frames that a window may have: whole patches."""
        patch = self.timepoint_patching_size
        return range(patch, patch * MOST_PATCHES + 1, patch)

    @property
    def landmarks(self) -> int | None:
        """Landmarks of the Nystrom approximation; None where the options select full attention."""
        return None if self.num_landmarks == self.segment_means_seq_len else self.num_landmarks

    def problems(self) -> list[str]:
        """What does not hold together."""
        found = super().problems()
        if self.decoder_hidden_size != self.hidden_size:
            found.append(f"decoder width {self.decoder_hidden_size} must equal the encoder's {self.hidden_size}")
        if self.conv_kernel_size % 2 == 0:
            found.append(f"conv_kernel_size {self.conv_kernel_size} must be odd")
        if self.loss_fn not in ("mse", "mae"):
            found.append(f"loss_fn {self.loss_fn!r} is neither 'mse' nor 'mae'")
        return found


LARGEST_TABLE = 2**26
"""Numbers in a table of positions, 256 MiB; the published models have less than a million."""


@dataclass(frozen=True, kw_only=True)
class ViTMAEConfig(MaskedAutoencoderConfig):
    """The image family; ``image_size`` is (height, width) after padding, multiples of ``patch_size``."""

    image_size: tuple[int, int]
    norm_pix_loss: bool = False

    required: ClassVar[Mapping[str, Any]] = {
        **MaskedAutoencoderConfig.required,
        "attention_probs_dropout_prob": 0.0,
    }

    @property
    def frame_lengths(self) -> range:
        """Numbers of frames that a window may have: what fits into the picture."""
        return range(1, self.image_size[1] + 1)

    def problems(self) -> list[str]:
        """What does not hold together."""
        found = super().problems()
        if self.hidden_size % 4 or self.decoder_hidden_size % 4:
            found.append(f"widths {self.hidden_size} and {self.decoder_hidden_size} must be multiples of 4")
        if any(side % self.patch_size for side in self.image_size):
            found.append(f"image_size {self.image_size} is no multiple of the patch of {self.patch_size}")
        elif (n := self.image_size[0] * self.image_size[1] // self.patch_size**2) * self.hidden_size > LARGEST_TABLE:
            found.append(f"image_size {self.image_size} has {n:,} patches of {self.hidden_size} numbers")
        return found
