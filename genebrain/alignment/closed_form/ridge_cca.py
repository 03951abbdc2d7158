"""The baseline that every result is shown beside: ridge CCA, its two ridges and its rank chosen by cross-validation.

The choice is made inside the rows that are given, by families, so the baseline is honest and not flattered by
the test people. The score is cosine, each canonical direction weighted by the square root of its correlation. One thin
decomposition per side; a ridge only rescales its singular values.

Source: ridge CCA as in Vinod (1976); both sides are shrunk towards the identity,
``R = (1 - gamma) X'X/n + gamma I``, the form used for imaging genetics by Zhuang et al. (2020).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from scipy.linalg import eigh

from genebrain.alignment.closed_form.score import unit_rows
from genebrain.alignment.closed_form.spectral import PrincipalComponents, grouped_folds, principal_components
from genebrain.common.types import FloatArray, IntArray
from genebrain.evaluation.rank_metrics import expected_recall_at_1

GENE_RIDGES = (0.05, 0.2, 0.5, 0.8, 0.95)
BRAIN_RIDGES = (0.05, 0.2, 0.5, 0.8)
RANKS = (4, 8, 12, 16, 24)
MAX_BRAIN_COMPONENTS = 200
N_FOLDS = 5


@dataclass(frozen=True)
class CanonicalBasis:
    """Thin decompositions of two tables, from which every ridge CCA solution follows at little cost."""

    gene: PrincipalComponents
    brain: PrincipalComponents
    cross: FloatArray  # correlation of whitened gene with whitened brain components [gene rank, brain rank]

    @classmethod
    def fit(cls, gene: FloatArray, brain: FloatArray, max_brain_components: int) -> CanonicalBasis:
        """Decompose ``gene [people, columns]`` and ``brain [people, features]``."""
        gene_pc, brain_pc = principal_components(gene), principal_components(brain, max_brain_components)
        return cls(gene_pc, brain_pc, gene_pc.scores(gene).T @ brain_pc.scores(brain) / len(gene))

    def solve(self, gamma_gene: float, gamma_brain: float, k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Leading ``k`` canonical directions in component coordinates.

        Returns
        -------
        gene_map [gene rank, k], brain_map [brain rank, k]
            They act on *unwhitened* component scores and give unit variance on the fitted rows.
        correlations [k]
            Singular values of the regularised cross-covariance (above 1 is possible: ridges below 1 scale down the
            variances that they divide by).
        """
        if not self.cross.size:  # a constant table has no direction
            return np.zeros((len(self.gene.variances), 1)), np.zeros((len(self.brain.variances), 1)), np.zeros(1)
        variance_x = self.gene.variances / self.gene.variances.mean()
        variance_f = self.brain.variances / self.brain.variances.mean()
        shrunk_x = np.sqrt((1 - gamma_gene) * variance_x + gamma_gene)
        shrunk_f = np.sqrt((1 - gamma_brain) * variance_f + gamma_brain)
        table = (np.sqrt(variance_x) / shrunk_x)[:, None] * self.cross * (np.sqrt(variance_f) / shrunk_f)
        left, correlations, right = _leading(table, k)
        gene_map, brain_map = left / shrunk_x[:, None], right / shrunk_f[:, None]
        gene_sd = np.sqrt(np.sum(gene_map**2 * self.gene.variances[:, None], axis=0))
        brain_sd = np.sqrt(np.sum(brain_map**2 * self.brain.variances[:, None], axis=0))
        return gene_map / np.maximum(gene_sd, 1e-12), brain_map / np.maximum(brain_sd, 1e-12), correlations


def _leading(table: FloatArray, k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Leading ``k`` left singular vectors in columns, singular values, right vectors; from the smaller side."""
    if len(table) < table.shape[1]:
        right, values, left = _leading(table.T, k)
        return left, values, right
    squares, right = eigh(table.T @ table, subset_by_index=(max(0, table.shape[1] - k), table.shape[1] - 1))
    values, right = np.sqrt(np.maximum(squares[::-1], 0.0)), right[:, ::-1]
    return table @ right / np.maximum(values, 1e-12), values, right


@dataclass
class RidgeCCA:
    """Fitted ridge CCA: two affine maps into one space, where the dot product of unit vectors is the score.

    Attributes
    ----------
    chosen : dict
        ``gamma_gene``, ``gamma_brain``, ``k`` and their cross-validated score.
    cv : list of dict
        Everything that was tried.
    """

    gene_mean: FloatArray
    gene_map: FloatArray
    brain_mean: FloatArray
    brain_map: FloatArray
    chosen: dict[str, Any] = field(default_factory=dict)
    cv: list[dict[str, Any]] = field(default_factory=list)

    def gene_vectors(self, columns: FloatArray) -> FloatArray:
        """Map gene columns ``[people, columns]`` to unit vectors ``[people, k]``."""
        return unit_rows((columns.astype(np.float64) - self.gene_mean) @ self.gene_map).astype(np.float32)

    def brain_vectors(self, features: FloatArray) -> FloatArray:
        """Map brain features ``[people, features]`` to unit vectors ``[people, k]``."""
        return unit_rows((features.astype(np.float64) - self.brain_mean) @ self.brain_map).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Arrays and JSON-ready settings from which `from_state` restores the model."""
        arrays = {name: getattr(self, name) for name in ("gene_mean", "gene_map", "brain_mean", "brain_map")}
        return {**arrays, "json": {"chosen": self.chosen, "cv": self.cv}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> RidgeCCA:
        """Restore what `state` gave."""
        arrays = {name: value for name, value in state.items() if name != "json"}
        return cls(**arrays, **state["json"])


def fit_ridge_cca(
    gene_columns: FloatArray,
    brain_features: FloatArray,
    families: IntArray,
    seed: int = 0,
    genomes: IntArray | None = None,
) -> RidgeCCA:
    """Choose the ridges and the rank by grouped cross-validation, then refit on all given rows.

    Parameters
    ----------
    gene_columns : array [people, columns]
        Standardised columns. More columns than people is fine (dual form).
    brain_features : array [people, features]
        Reduced to at most 200 principal components inside each fold.
    families : int array [people]
        Rows of one family are never split between fitting and scoring.
    genomes : int array [people], optional
        People of one genome are no rivals of each other in cross-validation. None: all differ.
    """
    n = len(gene_columns)
    genomes = np.arange(n) if genomes is None else genomes
    folds = grouped_folds(families, N_FOLDS, seed)
    settings = list(product(GENE_RIDGES, BRAIN_RIDGES))
    totals: dict[tuple[float, float, int], float] = {}
    for held_out in folds:
        fitting = np.setdiff1d(np.arange(n), held_out)
        basis = _basis(gene_columns[fitting], brain_features[fitting])
        gene = basis.gene.scores(gene_columns[held_out], whiten=False)
        brain = basis.brain.scores(brain_features[held_out], whiten=False)
        for gamma_gene, gamma_brain in settings:
            left, right, correlations = basis.solve(gamma_gene, gamma_brain, max(RANKS))
            weight = np.sqrt(correlations)
            x, f = gene @ (left * weight), brain @ (right * weight)
            for k in _ranks(min(left.shape[1], max(RANKS))):
                scores = unit_rows(x[:, :k]) @ unit_rows(f[:, :k]).T
                recall = expected_recall_at_1(scores, genomes[held_out], relatives="rivals")
                key = (gamma_gene, gamma_brain, k)
                totals[key] = totals.get(key, 0.0) + recall * len(held_out) / n
    cv: list[dict[str, Any]] = [
        {"gamma_gene": gx, "gamma_brain": gf, "k": k, "recall@1": value} for (gx, gf, k), value in totals.items()
    ]
    chosen = max(cv, key=lambda row: row["recall@1"])
    basis = _basis(gene_columns, brain_features)
    left, right, correlations = basis.solve(chosen["gamma_gene"], chosen["gamma_brain"], chosen["k"])
    weight = np.sqrt(correlations)
    return RidgeCCA(
        basis.gene.mean,
        basis.gene.axes @ (left * weight),
        basis.brain.mean,
        basis.brain.axes @ (right * weight),
        dict(chosen),
        cv,
    )


def _basis(gene: FloatArray, brain: FloatArray) -> CanonicalBasis:
    return CanonicalBasis.fit(gene, brain, min(MAX_BRAIN_COMPONENTS, max(1, len(gene) // 3)))


def _ranks(largest: int) -> list[int]:
    return [*(k for k in RANKS if k < largest), largest]
