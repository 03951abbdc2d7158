"""Poolings by the names that settings use, known without loading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genebrain.common.registry import Registry

if TYPE_CHECKING:
    from genebrain.alignment.towers.pooling import Pooling

_HOME = "genebrain.alignment.towers.pooling"
POOLINGS: Registry[type[Pooling]] = Registry(
    "pooling", dict.fromkeys(("mean", "max", "last", "attention", "gated_attention", "flatten", "gem"), _HOME)
)
"""Poolings by the names that settings use; ``POOLINGS.register(name)`` adds one."""
DIPLOID_KINDS = ("mean_absdiff", "mean", "sum", "max", "concat")
"""Ways to join the two haplotypes of a window."""
