"""Recessive effects: who carries an allele once is as who does not carry it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.genome.sources import Genomes
from genebrain.simulation.mechanisms.modes import ModeMechanism
from genebrain.simulation.mechanisms.registry import GeneticPart, Streams, register_mechanism
from genebrain.simulation.tiers import Tier
from genebrain.simulation.traits import choose_causal, mixed, whitened


@register_mechanism
class Recessive(ModeMechanism):
    """Four variants per dimension act where both copies are the minor allele; scans as in ``modes``."""

    name = "recessive"
    summary = "a few variants that act only where both copies are the minor allele"
    tier = Tier(k=8, h2=0.8, rel=0.96, n_active=12, causal_per_dim=4)

    def genetics(self, source: Genomes, tier: Tier, groups: NDArray[np.int64], rng: Streams) -> GeneticPart:
        """Effects of either sign and a size of 0.5 to 1.5, as in ``modes``."""
        n, wanted = source.n_fitted, tier.k * tier.causal_per_dim
        causal = choose_causal((d[:, :n] for d in source.dosages), source.usable, wanted, rng["causal"])
        columns = []
        for window, dosages in enumerate(source.dosages):
            for site in (site for here, site in causal if here == window):
                copies = dosages[site] if dosages[site, :n].mean() <= 1 else 2 - dosages[site]
                homozygous = (copies == 2).astype(np.float64)
                homozygous -= homozygous[:n].mean()
                columns.append(homozygous / max(homozygous[:n].std(), 1e-9))
        values = mixed(np.stack(columns, axis=1), tier.k, rng["trait"])
        values = whitened(values, groups, n, f"homozygotes of {len(columns)} variants")
        return GeneticPart(values, causal)
