"""Losses by the names that settings use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from genebrain.common.registry import Registry

if TYPE_CHECKING:
    from torch import nn

LOSSES: Registry[Callable[[str], nn.Module]] = Registry(
    "loss",
    {"infonce": "genebrain.alignment.losses.infonce", "siglip": "genebrain.alignment.losses.siglip"},
)
"""Name -> class called with ``relatives`` ("ignore" or "negative"); its module is called as
``loss(gene, brain, log_scale, genome_id, family_id)``."""
