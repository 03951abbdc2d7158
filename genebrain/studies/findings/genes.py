"""Windows of the genome that carry the match: weight of each in the prediction, and a test on held-out people.

The closed form predicts brain latents by ``ghat = X @ B``. Columns belong to windows, so ghat is a sum of one part per
window. A part is tested on people whom nothing was fitted on: it must go with what their scans show.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from genebrain.alignment.closed_form.column_sets import Blocks, GeneBlocks, SetColumns
from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.alignment.closed_form.motifs.members import MOTIFS
from genebrain.common.types import FloatArray, IntArray
from genebrain.evaluation.intervals import FamilyBootstrap, interval
from genebrain.evaluation.nulls import deal, p_value

DEALS_AT_ONCE = 20
GENE_COLUMNS = ("window", "share", "r", "low", "high", "p", "q")


def gene_findings(
    closed: ClosedForm,
    columns: FloatArray,
    observed: FloatArray,
    names: list[str],
    families: IntArray,
    *,
    window: IntArray | None = None,
    n: int,
) -> pd.DataFrame:
    """One row per window, the best first.

    Parameters
    ----------
    columns : float array [people, columns]
        Standardised gene columns of held-out people.
    observed : float array [people, dims]
        Their brain latents.
    names : list of str
        One per window.
    families : int array [people]
        Dealt and drawn as wholes.
    window : int array [columns], optional
        Row of ``names`` of every column, where that is another one than the model says.
    n : int
        Deals of the test, and draws of the interval.

    Returns
    -------
    DataFrame
        ``window``; ``share`` of the variance of the prediction (in units of the model's noise, parts taken by
        themselves); ``r``: correlation of the window's part of the prediction with the brain latents, over people and
        latents, with its 95 % interval ``low``, ``high`` over families; ``p``: share of ``n`` deals of the scans to
        other people that do as well; ``q``: p after Benjamini and Hochberg over the windows.
    """
    if not observed.shape[1] or not names:
        return pd.DataFrame(columns=list(GENE_COLUMNS))
    window = closed.columns.window if window is None else window
    parts, latents = _parts(closed, columns, observed, window, len(names))
    products = np.einsum("wnd,nd->wn", parts, latents)
    squares, power = np.einsum("wnd,wnd->wn", parts, parts), np.einsum("nd,nd->n", latents, latents)
    boot = FamilyBootstrap(families, n)
    means, draws = boot.means(boot.sums(np.concatenate([products, squares, power[None]])))
    w = len(names)
    r, drawn = _correlation(means[None], w)[0], _correlation(draws, w)
    null = _dealt(parts, latents, families, n)
    p = np.array([p_value(float(own), null[:, i]) for i, own in enumerate(products.sum(axis=1))])
    limits = np.array([interval(drawn[:, i]) for i in range(w)])
    weight = squares.sum(axis=1)
    found = pd.DataFrame(
        {
            "window": names,
            "share": weight / max(float(weight.sum()), 1e-300),
            "r": r,
            "low": limits[:, 0],
            "high": limits[:, 1],
            "p": p,
            "q": false_discovery_control(p),
        }
    )
    return found.sort_values(["p", "share"], ascending=[True, False], kind="stable", ignore_index=True)


def windows_of_columns(closed: ClosedForm, blocks: Blocks) -> tuple[int, IntArray]:
    """How many windows there are, and the one of every gene column; one behind the last: a block of all windows."""
    columns = closed.columns
    if not isinstance(columns, SetColumns) or not isinstance(blocks, GeneBlocks):
        return len(blocks), columns.window
    n = max(len(blocks.sources[one.source]) for one in blocks.sets if one.family != MOTIFS)
    found = [
        part.window if one.family == MOTIFS or len(blocks.sources[one.source]) == n else np.full(len(part.window), n)
        for one, part in zip(columns.sets, columns.parts, strict=True)
    ]
    return n, np.concatenate(found)


def _parts(
    closed: ClosedForm, columns: FloatArray, observed: FloatArray, window: IntArray, n_windows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Part of every window ``[windows, people, dims]`` and the latents, centred, in units of the noise."""
    scale = 1 / np.sqrt(closed.predictive)
    parts = np.stack(
        [columns[:, window == w].astype(np.float64) @ closed.coefficients[window == w] for w in range(n_windows)]
    )
    return (parts - parts.mean(axis=1, keepdims=True)) * scale, (observed - observed.mean(axis=0)) * scale


def _correlation(sums: NDArray[np.float64], w: int) -> NDArray[np.float64]:
    """Correlations ``[draws, windows]`` of products, squares of the parts and power of the latents."""
    size = np.sqrt(np.maximum(sums[:, w : 2 * w] * sums[:, -1:], 0.0))
    return np.divide(sums[:, :w], size, out=np.zeros_like(size), where=size > 1e-12)


def _dealt(parts: NDArray[np.float64], latents: NDArray[np.float64], families: IntArray, n: int) -> NDArray[np.float64]:
    """The same sum of products with scans dealt to other families, ``[deals, windows]``."""
    rng = np.random.default_rng(0)
    deals = deal(np.asarray(families), np.zeros(len(latents), np.int64), n, rng)
    flat = parts.reshape(len(parts), -1)
    found = [
        latents[deals[start : start + DEALS_AT_ONCE]].reshape(-1, flat.shape[1]) @ flat.T
        for start in range(0, n, DEALS_AT_ONCE)
    ]
    return np.concatenate(found)
