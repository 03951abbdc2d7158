"""Brain latents of one candidate, or of several where each later one is freed of what the earlier tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from genebrain.alignment.closed_form.spectral import PrincipalComponents, principal_components
from genebrain.common.types import FloatArray

JOINED = "+"
"""Between the names of the candidates of a stack."""


def kind_of(candidate: str) -> str:
    """Kind of a candidate: the first word of its name, as ``lag0`` of ``lag0-25``."""
    return candidate.split("-")[0]


@dataclass(frozen=True)
class Latents:
    """Whitened latents of training people, linear in the features of their candidates.

    Attributes
    ----------
    parts : tuple of (name, dimensions)
    values : array [people, dimensions]
        Uncorrelated, unit variance.
    mean : array [features]
        Of the candidates side by side.
    map : array [features, dimensions]
        ``values = (features - mean) @ map``.
    """

    parts: tuple[tuple[str, int], ...]
    values: FloatArray
    mean: FloatArray
    map: FloatArray

    @property
    def name(self) -> str:
        """The names of the candidates, joined."""
        return JOINED.join(name for name, _ in self.parts)

    @classmethod
    def of_components(cls, name: str, components: PrincipalComponents, scores: FloatArray, k: int) -> Latents:
        """The ``k`` leading components of one candidate."""
        axes = components.axes[:, :k] / np.sqrt(components.variances[:k])
        return cls(((name, k),), scores[:, :k], components.mean, axes)

    def extended(self, name: str, features: FloatArray, most: int) -> Latents:
        """Up to ``most`` components of what another candidate tells beyond these latents, behind them."""
        centre = features.mean(axis=0, dtype=np.float64)
        freed = features - centre
        told = self.values.T @ freed / len(freed)
        freed -= self.values @ told
        rest = principal_components(freed, most)
        axes = rest.axes / np.sqrt(rest.variances)
        values = rest.scores(freed)
        below = np.zeros((len(centre), self.map.shape[1]))
        whole = np.block([[self.map, -self.map @ (told @ axes)], [below, axes]])
        return Latents(
            (*self.parts, (name, values.shape[1])),
            np.concatenate([self.values, values], axis=1),
            np.concatenate([self.mean, centre]),
            whole,
        )

    def leading(self, k: int) -> Latents:
        """The same with only ``k`` dimensions of the last candidate."""
        (*before, (name, size)) = self.parts
        if k >= size:
            return self
        kept = self.values.shape[1] - size + k
        return Latents((*before, (name, k)), self.values[:, :kept], self.mean, self.map[:, :kept])


def with_unpaired(features: FloatArray, unpaired: Mapping[str, FloatArray], name: str) -> FloatArray:
    """Features of a candidate, and below them those of people without genes."""
    return np.concatenate([features, unpaired[name]]) if name in unpaired else features


def fixed_latents(
    candidates: Mapping[str, FloatArray],
    parts: tuple[tuple[str, int], ...],
    most: int,
    unpaired: Mapping[str, FloatArray] = MappingProxyType({}),
) -> Latents:
    """Latents of given candidates and dimensions, as another fit has chosen them; at most ``most`` of each."""
    (first, k), *others = parts
    components = principal_components(with_unpaired(candidates[first], unpaired, first), min(k, most))
    scores = components.scores(candidates[first])
    found = Latents.of_components(first, components, scores, scores.shape[1])
    for name, size in others:
        found = found.extended(name, candidates[name], min(size, most))
    return found
