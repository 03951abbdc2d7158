"""Latent trait from genotypes: which variants act, how, and with what noise.

The genetic value is whitened over the cohort, so that the closed-form ceiling holds on linked genomes where the
dimensions would be correlated otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.simulation.tiers import Architecture

MINIMUM_MAF = 0.05
STEPS = ((0.2, 0.1), (0.2, 0.3), (0.2, 0.6), (0.1, 0.6), (0.05, 0.6), (0.05, 1.0))
"""Smallest minor allele frequency of causal variants and largest squared correlation among them, relaxed until
there are enough. The ceiling takes genetic values to be normal; rare alleles of large effect would not be."""

BASES_PER_DIMENSION = 2_500
"""Bases of gene windows for every dimension of the trait that hold enough common variants in nearly every draw."""
FEWEST_BASES_PER_DIMENSION = 500
"""With fewer, hardly any draw holds them (1 to 2 common variants in 1,000 bases, many of them linked)."""

LARGER = "take more or longer windows, more people or a smaller k"

Floats = NDArray[np.float64]


def variants_needed(k: int, architecture: Architecture) -> int:
    """Causal variants without which a trait of k dimensions cannot be made."""
    return 2 * k if architecture == "epistasis" else k


def bases_wanted(k: int, architecture: Architecture) -> str:
    """In words, how long the gene windows should be."""
    bases = BASES_PER_DIMENSION * variants_needed(k, architecture)
    return f"take more or longer windows (n_windows x window_bp = {bases:,} bases suffice as a rule)"


def choose_causal(
    dosages: Iterable[NDArray[np.integer]], usable: Sequence[NDArray[np.bool_]], wanted: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Pick causal variants in turn from the windows, little linked among each other.

    Parameters
    ----------
    dosages : one int ``[sites, people]`` per window
        Read once, one window at a time.
    usable : one bool ``[sites]`` per window
        Records that lie wholly inside their window.
    wanted : int
        Number of variants; all candidates when there are fewer.

    Returns
    -------
    list of (window, site)
        Sorted.
    """
    columns: list[dict[int, Floats]] = []
    frequency: list[Floats] = []
    for dosage, usable_here in zip(dosages, usable, strict=True):
        share = dosage.mean(axis=1) / 2
        frequency.append(np.minimum(share, 1 - share))
        # Of a biobank nearly all variants are rare: only candidates are kept.
        sites = np.flatnonzero((frequency[-1] >= MINIMUM_MAF) & usable_here)
        columns.append({int(site): _unit_column(dosage[site], share[site]) for site in sites})
    chosen: list[tuple[int, int]] = []
    for maf, linkage in STEPS:
        taken = [[site for window, site in chosen if window == here] for here in range(len(columns))]
        queues = [
            [
                site
                for site in rng.permutation(np.flatnonzero((frequency[w] >= maf) & usable[w]))
                if site not in taken[w]
            ]
            for w in range(len(columns))
        ]
        while any(queues) and len(chosen) < wanted:
            for window in rng.permutation(len(queues))[: wanted - len(chosen)]:
                while queues[window]:
                    site = int(queues[window].pop())
                    here = columns[window]
                    # One product for all: the last bit decides where two variants are the same in everybody.
                    others = np.array([here[other] for other in taken[window]]).reshape(-1, len(here[site]))
                    if np.all((others @ here[site]) ** 2 <= linkage):
                        taken[window].append(site)
                        chosen.append((int(window), site))
                        break
    return sorted(chosen)


def _unit_column(dosage: NDArray[np.integer], share: float) -> Floats:
    """Centred dosages of one site as a vector of length 1, so that products are correlations."""
    spread = float(dosage.std() * np.sqrt(len(dosage)))
    return np.asarray((dosage - 2 * share) / (spread if spread > 0 else 1))


def genetic_values(
    causal: NDArray[np.integer],
    k: int,
    architecture: Architecture,
    groups: NDArray[np.integer],
    rng: np.random.Generator,
    n_fitted: int | None = None,
) -> Floats:
    """Genetic values ``[people, k]``: mean 0 and identity covariance over the cohort.

    Variant j acts on dimension j mod k, with either sign and a weight of 0.5 to 1.5: with comparable effects
    four variants are near enough to normal for the ceiling (epistasis stays a few hundredths below it). Values
    are centred within ancestry groups: ancestry as such shifts no trait, so any gain from it is confounding.

    Parameters
    ----------
    causal : int ``[people, variants]``
        Dosages.
    groups : int ``[people]``
        Ancestry group.
    n_fitted : int, optional
        How many of the people, the first ones, decide means, scales and rotation; the others get the values that the
        same effects give them. None: everybody.

    Raises
    ------
    UserError
        With fewer than ``k`` causal variants (2 k for epistasis), or people than dimensions.
    """
    n_people, n_variants = len(causal[:n_fitted]), causal.shape[1]
    needed = variants_needed(k, architecture)
    if n_variants < needed or n_people <= k:
        raise UserError(
            f"{n_variants} causal variants (MAF >= {MINIMUM_MAF}) and {n_people} people for a trait of k={k} "
            f"dimensions, but {needed} variants and more than {k} people are needed: {bases_wanted(k, architecture)}, "
            "more people, or a smaller k"
        )
    additive = _standardised(causal.astype(np.float64), n_fitted)
    if architecture == "dominance":
        value = mixed(_dominance(causal, n_fitted), k, rng)
    elif architecture == "epistasis":
        half = n_variants // 2
        # Partners lie half the list apart, hence usually in different windows.
        products = _standardised(additive[:, :half] * additive[:, half : 2 * half], n_fitted)
        value = _unit(mixed(additive, k, rng), n_fitted) + _unit(mixed(products, k, rng), n_fitted)
    else:
        value = mixed(additive, k, rng)
    source = f"the {n_variants} causal variants of these {n_people} people"
    return whitened(value, groups, n_fitted, source, f"{bases_wanted(k, architecture)}, more people, or a smaller k")


def whitened(
    value: Floats, groups: NDArray[np.integer], n_fitted: int | None, source: str, remedy: str = LARGER
) -> Floats:
    """Values ``[people, k]`` centred within ancestry groups, with identity covariance.

    Means and covariance are those of the first ``n_fitted``.

    Raises
    ------
    UserError
        They span fewer than k dimensions; ``source`` and ``remedy`` say of what, and what helps.
    """
    for group in np.unique(groups):
        value[groups == group] -= value[:n_fitted][groups[:n_fitted] == group].mean(axis=0)
    fitted = value[:n_fitted]
    covariance = fitted.T @ fitted / len(fitted)
    power, axes = np.linalg.eigh(covariance)
    spanned, k = int((power > 1e-10 * power[-1]).sum()), len(power)
    if spanned < k:
        raise UserError(
            f"{source} span {spanned} dimensions only (what goes together counts once), and the trait has k={k}: "
            f"{remedy}"
        )
    # The symmetric root moves the dimensions least, so each stays near its own variants.
    return np.asarray(value @ (axes / np.sqrt(power)) @ axes.T)


def _dominance(causal: NDArray[np.integer], n_fitted: int | None) -> Floats:
    """Deviation of heterozygotes that no additive effect of the same variant explains, ``[people, variants]``."""
    dosage = causal.astype(np.float64)
    dosage -= dosage[:n_fitted].mean(axis=0)
    heterozygote = (causal == 1).astype(np.float64)
    heterozygote -= heterozygote[:n_fitted].mean(axis=0)
    slope = (dosage[:n_fitted] * heterozygote[:n_fitted]).sum(axis=0) / (dosage[:n_fitted] ** 2).sum(axis=0)
    return _standardised(heterozygote - slope * dosage, n_fitted)


def mixed(columns: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Values ``[people, k]``: column j acts on dimension j mod k, with either sign and a weight of 0.5 to 1.5."""
    weights = np.zeros((columns.shape[1], k))
    variant = np.arange(len(weights))
    weights[variant, variant % k] = rng.choice([-1.0, 1.0], len(weights)) * rng.uniform(0.5, 1.5, len(weights))
    return np.asarray(columns @ weights)


def _unit(values: Floats, n_fitted: int | None) -> Floats:
    return np.asarray(values / values[:n_fitted].std(axis=0))


def _standardised(columns: Floats, n_fitted: int | None) -> Floats:
    fitted = columns[:n_fitted]
    spread = fitted.std(axis=0)
    return np.asarray((columns - fitted.mean(axis=0)) / np.where(spread > 0, spread, 1))
