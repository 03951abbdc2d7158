"""Retrieval metrics between genomes and brain scans: both directions, overall and within strata.

One row per subject on both sides, row i of one side matches row i of the other; the score of a pair is the dot
product of its two rows. Returns nested dictionaries ready for ``metrics.json``; all rates lie in 0..1. Trains
nothing, draws no gallery (expectations over galleries are exact, see `ranks`), reads no file, knows no ids.

Rank conventions (mid-rank ties, expectation over galleries of stated size) are stricter than those of open_clip's
``metrics.py``, which rewards NaN and knows one match per query; on distinct finite scores they agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.evaluation.intervals import FamilyBootstrap, rate_interval
from genebrain.evaluation.rank_metrics import RECALL_AT, recalls, summarise
from genebrain.evaluation.ranks import RankCounts, check_embeddings, rank_counts

DIRECTIONS = ("gene_to_brain", "brain_to_gene")
USUAL_GALLERY = 64
"""Candidates per query when none is asked for and the test set offers as many."""


def chance(gallery_size: int) -> Metrics:
    """What a model that knows nothing gets in a gallery of this size."""
    n = gallery_size
    return {
        **{f"recall@{k}": min(k / n, 1.0) for k in RECALL_AT},
        "mrr": float((1.0 / np.arange(1, n + 1)).mean()),
        "median_rank": (n + 1) / 2,
        "mean_rank": (n + 1) / 2,
        "percentile_rank": 0.5,
        "matched_auc": 0.5,
    }


def evaluate_retrieval(
    gene: FloatArray,
    brain: FloatArray,
    *,
    families: IntArray | None = None,
    genome_id: IntArray | None = None,
    gallery_size: int | None = 64,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Metrics:
    """Retrieval in both directions and their mean.

    Parameters
    ----------
    gene, brain
        ``[subjects, columns]`` test embeddings, matched by row.
    families
        int ``[subjects]``, the units of the bootstrap; default: every subject on its own.
    genome_id
        int ``[subjects]``; subjects with the same genome (monozygotic twins) are matches of each other and
        the best match counts. Default: all genomes differ.
    gallery_size
        Candidates per query, the match included; None: everybody (`full_gallery`).

    Returns
    -------
    ``{"gene_to_brain": M, "brain_to_gene": M, "mean": M}``, M: metric -> ``{"value", "ci": [low, high]}``
    for recall@1/5/10, mrr, median_rank, mean_rank (in a gallery of ``gallery_size``), and
    percentile_rank, matched_auc (against all candidates). ``mean`` averages the two ranks of each subject
    before the bootstrap. ``matched_auc`` is the chance that the match beats a random other candidate of the
    same query (two-way identification), numerically the percentile rank.

    Raises
    ------
    UserError
        If values are not finite, shapes differ or the gallery is larger than the test set.
    """
    gene, brain = check_embeddings(gene, brain)
    n = len(gene)
    genome = _labels(genome_id, n, "genome_id")
    largest = full_gallery(n, genome)
    size = largest if gallery_size is None else gallery_size
    _check_gallery(size, largest, "the test set offers")
    counts = {
        "gene_to_brain": rank_counts(gene, brain, genome),
        "brain_to_gene": rank_counts(brain, gene, genome),
    }
    return summarise(counts, size, FamilyBootstrap(_labels(families, n, "families"), n_bootstrap, seed))


def full_gallery(n_subjects: int, genome_id: IntArray | None = None) -> int:
    """Largest gallery that every query can be given: one match and all candidates of other genomes."""
    if genome_id is None:
        return n_subjects
    return int(n_subjects - np.unique(genome_id, return_counts=True)[1].max() + 1)


def usual_gallery(asked: int | None, largest: int) -> int:
    """The gallery size that was asked for; by default `USUAL_GALLERY`, or ``largest`` where that is fewer."""
    if asked is None:
        return min(USUAL_GALLERY, largest)
    if not isinstance(asked, (int, np.integer)) or asked < 2:
        raise UserError(f"gallery_size={asked}: a whole number of candidates is wanted, 2 at least")
    return asked


def recall_curve(
    gene: FloatArray,
    brain: FloatArray,
    *,
    families: IntArray | None = None,
    genome_id: IntArray | None = None,
    gallery_size: int = 64,
    n_bootstrap: int = 1000,
) -> Metrics:
    """Recall at every k up to ``gallery_size``, mean of both directions: lists k, recall, low, high."""
    gene, brain = check_embeddings(gene, brain)
    genome = _labels(genome_id, len(gene), "genome_id")
    _check_gallery(gallery_size, full_gallery(len(gene), genome), "the test set offers")
    bootstrap = FamilyBootstrap(_labels(families, len(gene), "families"), n_bootstrap)
    ks = list(range(1, gallery_size + 1))
    hits = [
        bootstrap.sums(recalls(rank_counts(*pair, genome), gallery_size, ks)) for pair in ((gene, brain), (brain, gene))
    ]
    value, draws = bootstrap.means(np.mean(hits, axis=0))
    low, high = rate_interval(value, draws, bootstrap.n_subjects, bootstrap.n_families)
    return {"k": ks, "recall": value.tolist(), "low": low.tolist(), "high": high.tolist()}


def within_stratum(
    gene: FloatArray,
    brain: FloatArray,
    *,
    strata: Sequence[str] | IntArray,
    families: IntArray | None = None,
    genome_id: IntArray | None = None,
    gallery_size: int | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Metrics | None:
    """Retrieval among candidates of the query's own stratum (site, ancestry, sex, ...).

    What tells strata apart cannot help here, so what is left is not explained by them.

    Parameters
    ----------
    strata
        ``[subjects]`` labels.
    gallery_size
        Same gallery size in every stratum, so that chance is the same everywhere; strata that cannot fill it
        are left out and counted. Default: `default_stratum_gallery`.

    Returns
    -------
    ``strata`` (names kept), ``gallery_size``, ``chance``, ``n_subjects``, ``left_out``
    (``subjects``, ``strata``), the three M of `evaluate_retrieval`, and ``per_stratum`` (name, n, recall@1,
    recall@5, percentile_rank; mean of both directions). None when no stratum holds two subjects.
    """
    gene, brain = check_embeddings(gene, brain)
    n = len(gene)
    names, stratum = np.unique(np.asarray(strata), return_inverse=True)
    if len(stratum) != n:
        raise UserError(f"strata has {len(stratum)} labels for {n} subjects.")
    genome, family = _labels(genome_id, n, "genome_id"), _labels(families, n, "families")
    members = [np.flatnonzero(stratum == s) for s in range(len(names))]
    offers = np.array([full_gallery(len(rows), genome[rows]) for rows in members])
    sizes = np.array([len(rows) for rows in members])
    size = default_stratum_gallery(sizes, offers) if gallery_size is None else gallery_size
    if size < 2:
        return None
    _check_gallery(size, int(offers.max()), "the largest stratum offers")
    kept = np.flatnonzero(offers >= size)
    rows = np.concatenate([members[s] for s in kept])
    counts = {}
    for direction, (query, candidate) in zip(DIRECTIONS, ((gene, brain), (brain, gene)), strict=True):
        parts = [rank_counts(query[members[s]], candidate[members[s]], genome[members[s]]) for s in kept]
        counts[direction] = RankCounts(
            *(np.concatenate([getattr(p, field) for p in parts]) for field in ("better", "ties", "negatives"))
        )
    result = summarise(counts, size, FamilyBootstrap(family[rows], n_bootstrap, seed))
    return {
        "strata": [str(names[s]) for s in kept],
        "gallery_size": int(size),
        "chance": chance(size),
        "n_subjects": len(rows),
        "left_out": {"subjects": int(n - len(rows)), "strata": int(len(names) - len(kept))},
        **result,
        "per_stratum": _per_stratum(counts, size, stratum[rows], family[rows], names, n_bootstrap, seed),
    }


def default_stratum_gallery(sizes: IntArray, offers: IntArray, most: int = 16, cover: float = 0.8) -> int:
    """Largest gallery up to ``most`` that strata with ``cover`` of the subjects can fill; 1 when none can."""
    for size in range(most, 1, -1):
        if sizes[offers >= size].sum() >= cover * sizes.sum():
            return size
    return min(most, int(offers.max()))


def _per_stratum(
    counts: dict[str, RankCounts],
    size: int,
    stratum: IntArray,
    family: IntArray,
    names: NDArray[np.str_],
    n_bootstrap: int,
    seed: int,
) -> list[Metrics]:
    table = []
    for s in np.unique(stratum):
        rows = np.flatnonzero(stratum == s)
        part = {k: RankCounts(c.better[rows], c.ties[rows], c.negatives[rows]) for k, c in counts.items()}
        mean = summarise(part, size, FamilyBootstrap(family[rows], n_bootstrap, seed))["mean"]
        table.append(
            {"name": str(names[s]), "n": len(rows)} | {k: mean[k] for k in ("recall@1", "recall@5", "percentile_rank")}
        )
    return table


def _labels(labels: IntArray | None, n: int, name: str) -> IntArray:
    values = np.arange(n) if labels is None else np.asarray(labels)
    if len(values) != n:
        raise UserError(f"{name} has {len(values)} labels for {n} subjects.")
    return values


def _check_gallery(size: int, largest: int, who: str) -> None:
    if not 2 <= size <= largest:
        raise UserError(
            f"A gallery of {size} was asked for, {who} at most {largest} (and 2 at least). "
            f"Choose gallery_size between 2 and {largest}."
        )
