"""The known-answer cohorts by name: how loud the brain signal is, how heritable, and what goes wrong in each.

Reliabilities hold at :data:`REFERENCE_FRAMES` frames per scan; other scan lengths keep the loudness, so their
reliability differs. Names, not files: nothing here simulates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from genebrain.common.types import UserError

REFERENCE_FRAMES = 200

Architecture = Literal["additive", "dominance", "epistasis"]


@dataclass(frozen=True)
class Tier:
    """Settings of the model ``genotype -> trait -> scan``.

    Attributes
    ----------
    k : int
        Latent dimensions shared by genome and brain.
    h2 : float
        Share of the trait's variance that the genome explains.
    rel : float
        Test-retest reliability per dimension of one scan of 200 frames.
    n_active : int
        Connectome modes whose power carries the trait.
    causal_per_dim : int
        Causal variants per dimension.
    n_groups, n_sites : int
        Ancestry groups and scanner sites.
    site_match : float
        Chance that a person is scanned at the site of their ancestry group (otherwise at any site).
    site_shift : float
        Standard deviation of the scanner's effect on the log power of each mode.
    n_sessions : int
        Scans per person.
    siblings, twins : float
        Shares of the people who come in pairs of siblings and of identical twins.
    mislabelled : float
        Share of the people whose genome is another person's.
    architecture : str
        How dosages make the genetic value: ``additive``; ``dominance`` (deviation of the heterozygote only);
        ``epistasis`` (half of the variance from products of two variants).
    """

    k: int
    h2: float
    rel: float
    n_active: int
    causal_per_dim: int
    n_groups: int = 1
    n_sites: int = 3
    site_match: float = 0.0
    site_shift: float = 0.0
    n_sessions: int = 1
    siblings: float = 0.0
    twins: float = 0.0
    mislabelled: float = 0.0
    architecture: Architecture = "additive"


_SMOKE = Tier(k=8, h2=0.8, rel=0.96, n_active=12, causal_per_dim=4)
_HARD = Tier(k=16, h2=0.6, rel=0.8, n_active=48, causal_per_dim=8)
_CONFOUNDED = Tier(
    k=16, h2=0.5, rel=0.96, n_active=24, causal_per_dim=4, n_groups=12, n_sites=12, site_match=0.9, site_shift=0.35
)

TIERS: dict[str, Tier] = {
    "smoke": _SMOKE,
    "default": Tier(k=16, h2=0.485, rel=0.99, n_active=20, causal_per_dim=4),
    "hard": _HARD,
    "null": replace(_SMOKE, h2=0.0),
    "null_confounded": replace(_CONFOUNDED, h2=0.0),
    "causal_confounded": _CONFOUNDED,
    "two_session": replace(_HARD, n_sessions=2),
    "families": replace(_SMOKE, siblings=0.3, twins=0.1),
    "mislabeled": replace(_SMOKE, mislabelled=0.2),
    "dominance": replace(_SMOKE, architecture="dominance"),
    "epistasis": replace(_SMOKE, architecture="epistasis"),
}


def get_tier(name: str) -> Tier:
    """Look a tier up.

    Raises
    ------
    UserError
        When there is none of this name.
    """
    if name not in TIERS:
        raise UserError(f"there is no tier `{name}`; choose one of: {', '.join(TIERS)}")
    return TIERS[name]
