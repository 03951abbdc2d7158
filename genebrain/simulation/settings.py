"""Settings of the simulator: which mechanism they name, and what is impossible about them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from genebrain.common.types import UserError
from genebrain.simulation.genome.genomes import window_lengths
from genebrain.simulation.genome.sources import REAL_GENOMES
from genebrain.simulation.mechanisms import MECHANISMS, Mechanism
from genebrain.simulation.tiers import Tier, get_tier
from genebrain.simulation.traits import FEWEST_BASES_PER_DIMENSION, bases_wanted, variants_needed

REAL_SUBJECTS = 300
GENOMES = ("msprime", REAL_GENOMES)
MOST_BASES = 10**9
"""Of all windows; coalescent trees of more take days."""
COUNTS = ("n_windows", "window_bp", "n_contigs")
DEFAULT_TIER, DEFAULT_MECHANISM = "smoke", "modes"


def mechanism_of(settings: dict[str, Any]) -> Mechanism:
    """The mechanism that settings name."""
    return MECHANISMS[settings.get("mechanism", DEFAULT_MECHANISM)]


def cohort_name(settings: dict[str, Any]) -> str:
    """What a cohort is called: its tier, or the mechanism that brings its own settings."""
    name = str(settings.get("mechanism", settings["tier"]))
    return f"{name}-null" if settings.get("null_twin") else name


def checked(settings: dict[str, Any]) -> Tier:
    """The tier with the user's changes; raises one UserError that names everything impossible."""
    mechanism = mechanism_of(settings)
    tier = mechanism.tier or get_tier(settings["tier"])
    if mechanism.tier is not None and settings["tier"] != DEFAULT_TIER:
        raise UserError(
            f"tier={settings['tier']} with mechanism={mechanism.name}: it has settings of its own; change single ones "
            "by name, such as h2=0.3 (+h2=0.3 on the command line)"
        )
    known = {field.name for field in fields(Tier)}
    if unknown := sorted(set(settings["model"]) - known):
        raise UserError(f"unknown settings {', '.join(unknown)}; a tier has {', '.join(sorted(known))}")
    tier = replace(tier, **settings["model"])
    real, n = settings["genomes"] == REAL_GENOMES, settings["n_subjects"]
    # Genetic values are centred within groups, and identical twins have one genome.
    people = max(2 * tier.n_groups, tier.k + tier.n_groups + round(n * tier.twins / 2))
    needed, bases = variants_needed(tier.k, tier.architecture), sum(_lengths(settings))
    wrong = [
        (settings["genomes"] not in GENOMES, f"genomes={settings['genomes']} is not one of {GENOMES}"),
        (settings["scans"] not in ("parcels", "nifti"), f"scans={settings['scans']} is not parcels or nifti"),
        (real and n > REAL_SUBJECTS, f"n_subjects={n}, but {REAL_GENOMES} has {REAL_SUBJECTS} people"),
        (
            real and (tier.n_groups > 1 or tier.siblings + tier.twins > 0 or settings["awkward"]),
            f"{REAL_GENOMES} has no ancestry groups, families or awkward records: use genomes=msprime for this",
        ),
        (
            n < people,
            f"n_subjects={n} is too few: a trait of k={tier.k} dimensions in n_groups={tier.n_groups} groups, with "
            f"twins={tier.twins:g}, needs {people}",
        ),
        (
            not real and 0 < bases < FEWEST_BASES_PER_DIMENSION * needed,
            f"n_windows={settings['n_windows']} of window_bp={settings['window_bp']} are {bases:,} bases, too few for "
            f"the {needed} independent causal variants of k={tier.k}: {bases_wanted(tier.k, tier.architecture)}",
        ),
        (bases > MOST_BASES, f"the windows are {bases:,} bases; at most {MOST_BASES:,} can be simulated"),
        (settings["n_parcels"] % 2 == 1, f"n_parcels={settings['n_parcels']} must be even (two hemispheres)"),
        *((True, text) for text in mechanism.problems(tier, settings)),
        (real and mechanism.sequences, f"mechanism={mechanism.name} needs simulated genomes: use genomes=msprime"),
        (settings["n_frames"] < 2, f"n_frames={settings['n_frames']} must be at least 2"),
        (not 0 < settings["tr"] <= 10, f"tr={settings['tr']} s must lie in (0, 10]"),
        (min(settings[key] for key in COUNTS) < 1, f"{', '.join(COUNTS)} must be at least 1"),
        (
            settings.get("longest_bp", settings["window_bp"]) < settings["window_bp"],
            f"longest_bp={settings.get('longest_bp')} is shorter than window_bp={settings['window_bp']}",
        ),
        (not 0 <= tier.h2 < 1 or not 0 < tier.rel < 1, f"need 0 <= h2 < 1 and 0 < rel < 1, got {tier.h2}, {tier.rel}"),
        (not 0 <= tier.siblings + tier.twins <= 1, "siblings and twins are shares and sum to at most 1"),
    ]  # fmt: skip
    if problems := [text for bad, text in wrong if bad]:
        raise UserError("this cohort cannot be simulated: " + "; ".join(problems))
    return tier


def _lengths(settings: dict[str, Any]) -> list[int]:
    """Bases of each window."""
    return window_lengths(settings["window_bp"], settings.get("longest_bp"), settings["n_windows"])
