"""Ranks of one side for the queries of the other: the nearest, and the place of the own partner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from genebrain.cohort.tables.names import match_names
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.evaluation.ranks import rank_counts


def ranked(
    queries: pd.DataFrame, gallery: pd.DataFrame, k: int, called: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The ``k`` rows of a gallery that score best with each query; equal scores in the order of the gallery.

    Parameters
    ----------
    queries, gallery : DataFrame
        Score vectors of the two sides, ids as index.
    called : mapping, optional
        What people of the gallery are called in the genotypes, by ``participant_id``.

    Returns
    -------
    DataFrame
        ``query``, ``rank``, ``participant_id``, ``score``, ``own`` (same person), query by query; ``own`` only where
        somebody who asks is in the gallery.

    Raises
    ------
    UserError
        Vectors of other widths, which belong to other models, or an empty gallery.
    """
    if queries.shape[1] != gallery.shape[1]:
        raise UserError(
            f"vectors of {queries.shape[1]} and {gallery.shape[1]} columns belong to two models: they have no score"
        )
    if not len(gallery):
        raise UserError("nobody is in the gallery")
    scores = queries.to_numpy(np.float32) @ gallery.to_numpy(np.float32).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    names, asked = [str(one) for one in gallery.index], [str(one) for one in queries.index]
    found = [[names[column] for column in row] for row in best]
    n, called = best.shape[1], called or {}
    table = pd.DataFrame(
        {
            "query": np.repeat(asked, n),
            "rank": np.tile(np.arange(1, n + 1), len(asked)),
            "participant_id": [name for row in found for name in row],
            "score": np.take_along_axis(scores, best, axis=1).ravel(),
            "own": [who in (name, called.get(name)) for who, row in zip(asked, found, strict=True) for name in row],
        }
    )
    known = {*names, *(called[name] for name in names if name in called)}
    return table if known.intersection(asked) else table.drop(columns="own")


def row_of(wanted: str, everybody: list[str]) -> int:
    """Row number of a person.

    Raises
    ------
    UserError
        Nobody is called that.
    """
    row = int(match_names([wanted], everybody).rows[0])
    if row < 0:
        raise UserError(
            f"nobody of the {len(everybody)} people is called '{wanted}'; ids are written like "
            f"{', '.join(everybody[:2])}" + (", and there is no such file" if "/" in wanted or "." in wanted else "")
        )
    return row


def own_ranks(ids: list[str], genome: FloatArray, brain: FloatArray, who: IntArray) -> pd.DataFrame:
    """One row per person: score of the own pair, and its rank among all of these people in both directions.

    A rank of 1 is the best; ties count half. People of one genome (equal in ``who``) are never one another's rivals.
    """
    table: dict[str, Any] = {"participant_id": ids, "score": (genome * brain).sum(axis=1), "candidates": 0}
    for name, query, gallery in (("gene_to_brain", genome, brain), ("brain_to_gene", brain, genome)):
        counts = rank_counts(query, gallery, who)
        table[f"rank_{name}"] = 1 + counts.better + 0.5 * counts.ties
        table["candidates"] = counts.negatives + 1
    return pd.DataFrame(table)
