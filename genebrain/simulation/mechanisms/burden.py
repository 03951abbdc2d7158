"""Burden of rare alleles: how many a gene window has, whichever they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.genome.sources import Genomes
from genebrain.simulation.mechanisms.modes import ModeMechanism
from genebrain.simulation.mechanisms.registry import GeneticPart, Streams, register_mechanism
from genebrain.simulation.tiers import Tier
from genebrain.simulation.traits import whitened

RARE = 0.01


@register_mechanism
class Burden(ModeMechanism):
    """Counts of alleles below 1 %, by window, with normal effects on every dimension; scans as in ``modes``."""

    name = "burden"
    summary = "how many alleles rarer than 1 % each gene window has"
    tier = Tier(k=8, h2=0.8, rel=0.96, n_active=12, causal_per_dim=4)

    def genetics(self, source: Genomes, tier: Tier, groups: NDArray[np.int64], rng: Streams) -> GeneticPart:
        """Independent normal effects of the windows."""
        columns, n = [], source.n_fitted
        for dosages, usable in zip(source.dosages, source.usable, strict=True):
            share = dosages[:, :n].mean(axis=1) / 2
            minor = np.where((share > 0.5)[:, None], 2 - dosages, dosages)
            count = minor[(np.minimum(share, 1 - share) < RARE) & usable].sum(axis=0, dtype=np.float64)
            count -= count[:n].mean()
            columns.append(count / max(count[:n].std(), 1e-9))
        table = np.stack(columns, axis=1)
        values = table @ rng["trait"].normal(size=(len(columns), tier.k))
        values = whitened(values, groups, n, f"rare alleles of {len(columns)} windows")
        return GeneticPart(values, [], table / np.sqrt(len(columns)))

    def problems(self, tier: Tier, settings: Mapping[str, Any]) -> list[str]:
        """Every dimension needs a window."""
        wrong = super().problems(tier, settings)
        if settings["n_windows"] < tier.k:
            wrong.append(f"n_windows={settings['n_windows']} is too few for k={tier.k} dimensions: at least as many")
        return wrong
