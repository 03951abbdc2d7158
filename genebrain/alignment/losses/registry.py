"""Losses by the names that settings use."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from genebrain.common.registry import Registry

LOSSES: Registry[Callable[[str], nn.Module]] = Registry("loss")
"""Name -> class called with ``relatives`` ("ignore" or "negative"); its module is called as
``loss(gene, brain, log_scale, genome_id, family_id)``."""
