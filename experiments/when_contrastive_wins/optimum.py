"""Optima of contrastive losses over linear maps, without stochastic training.

Genes and scans are whitened by ridges, ``x`` and ``y``; a pair scores ``x' W y``.

- *Linear loss* (every stranger weighs the same): its optimum is the cross-covariance of ``x`` and ``y``, cut to its
  leading singular vectors; that is ridge CCA (Nakada et al. 2023, arXiv 2302.06232).
- *InfoNCE*: strangers weigh by how alike they look. ``InfoNCE(W) + rho/2 |W|^2`` is convex, so that it has one optimum,
  where ``rho W = x' S y / n`` with ``S`` the identity less the mean of both softmaxes: the fixed point of UniCon (Sui
  et al. 2026, arXiv 2604.16678). It is found by L-BFGS from the optimum of the linear loss, and cut to its leading
  singular vectors as well.

Ridges, ``rho``, the number of dimensions and whether vectors get unit length are chosen on validation people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from genebrain.alignment.closed_form.score import unit_rows
from genebrain.alignment.closed_form.spectral import PrincipalComponents, principal_components
from genebrain.evaluation.rank_metrics import expected_recall_at_1

GENE_RIDGES, BRAIN_RIDGES = (0.2, 0.5, 0.8, 0.95), (0.05, 0.2, 0.8)
RANKS = (4, 8, 12, 16, 24)
RHOS = (0.1, 0.3, 1.0, 3.0)
STEPS = 60
MOST = 200
"""Components of the scans."""


@dataclass(frozen=True)
class Whitened:
    """One side: its components, each divided by the root of its shrunken variance."""

    components: PrincipalComponents
    ridge: float

    def __call__(self, values: Any) -> Any:
        """Whitened scores ``[people, components]``."""
        variance = self.components.variances / self.components.variances.mean()
        scale = 1 / np.sqrt((1 - self.ridge) * variance + self.ridge) / np.sqrt(self.components.variances.mean())
        return self.components.scores(values, whiten=False) * scale


def linear_optimum(x: Any, y: Any) -> Any:
    """Optimum of the linear loss, whole: the cross-covariance."""
    return (x - x.mean(axis=0)).T @ (y - y.mean(axis=0)) / len(x)


def infonce(x: Any, y: Any, w: Any, rho: float) -> tuple[float, Any]:
    """Symmetric InfoNCE of scores ``x w y'`` plus the penalty, and its gradient."""
    n = len(x)
    scores = x @ w @ y.T
    rows, columns = logsumexp(scores, axis=1, keepdims=True), logsumexp(scores, axis=0, keepdims=True)
    loss = ((rows.sum() + columns.sum()) / 2 - np.trace(scores)) / n
    strangers = (np.exp(scores - rows) + np.exp(scores - columns)) / 2
    gradient = x.T @ (strangers - np.eye(n)) @ y / n + rho * w
    return float(loss + rho / 2 * (w**2).sum()), gradient


def infonce_optimum(x: Any, y: Any, rho: float) -> Any:
    """Optimum of InfoNCE with a penalty, whole."""
    start = linear_optimum(x, y)

    def of(flat: Any) -> tuple[float, Any]:
        loss, gradient = infonce(x, y, flat.reshape(start.shape), rho)
        return loss, gradient.ravel()

    return minimize(of, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x.reshape(start.shape)


def halves(w: Any, k: int) -> tuple[Any, Any]:
    """Maps of both sides into the ``k`` leading dimensions of ``w``."""
    left, values, right = np.linalg.svd(w, full_matrices=False)
    root = np.sqrt(values[:k])
    return left[:, :k] * root, right[:k].T * root


def candidates(gene: Any, brain: Any, rhos: tuple[float, ...]) -> Iterator[tuple[tuple[Any, ...], Any, Any, Any]]:
    """Choices, both whitened sides and the optimum; ``rhos`` is empty for the linear loss."""
    parts = principal_components(gene), principal_components(brain, min(MOST, len(gene) // 3))
    for gene_ridge in GENE_RIDGES:
        for brain_ridge in BRAIN_RIDGES:
            sides = Whitened(parts[0], gene_ridge), Whitened(parts[1], brain_ridge)
            x, y = sides[0](gene), sides[1](brain)
            for rho in rhos or (None,):
                w = linear_optimum(x, y) if rho is None else infonce_optimum(x, y, rho)
                yield (gene_ridge, brain_ridge, rho), *sides, w


def vectors(maps: tuple[Any, Any], sides: tuple[Any, Any], people: tuple[Any, Any], unit: bool) -> tuple[Any, Any]:
    """Score vectors of people, whose genes and scans are given."""
    gene, brain = (side(values) @ one for side, values, one in zip(sides, people, maps, strict=True))
    return (unit_rows(gene), unit_rows(brain)) if unit else (gene, brain)


def optimum(
    train: tuple[Any, Any], validation: tuple[Any, Any], test: tuple[Any, Any], rhos: tuple[float, ...] = ()
) -> tuple[Any, Any, dict[str, Any]]:
    """Vectors of the test people: chosen on ``validation``, fitted again on both; genes and scans of each."""
    best: tuple[float, Any, int, bool] = (-1.0, None, 0, True)
    ids = np.arange(len(validation[0]))
    for choice, *sides, w in candidates(*train, rhos):
        for k in RANKS:
            for unit in (True, False):
                gene, brain = vectors(halves(w, k), tuple(sides), validation, unit)
                reached = expected_recall_at_1(gene @ brain.T, ids, relatives="rivals", gallery=min(32, len(ids)))
                if reached > best[0]:
                    best = reached, choice, k, unit
    reached, (gene_ridge, brain_ridge, rho), k, unit = best
    both = tuple(np.concatenate(parts) for parts in zip(train, validation, strict=True))
    parts = principal_components(both[0]), principal_components(both[1], min(MOST, len(both[0]) // 3))
    sides = Whitened(parts[0], gene_ridge), Whitened(parts[1], brain_ridge)
    x, y = sides[0](both[0]), sides[1](both[1])
    w = linear_optimum(x, y) if rho is None else infonce_optimum(x, y, rho)
    chosen = {"ridges": (gene_ridge, brain_ridge), "rho": rho, "k": k, "unit": unit, "reached": reached}
    return *vectors(halves(w, k), sides, test, unit), chosen
