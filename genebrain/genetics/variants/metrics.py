"""Areas under ROC and precision-recall curves of scores against labelled variants, with counts.

Scores and 0/1 labels in, JSON-ready numbers out; unscored and unlabelled variants are counted by the caller. The
area under the precision-recall curve is the step-wise average precision; the trapezoid of the published script
interpolates between points and is too kind to ties, so it stands under ``parity`` alone.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from genebrain.common.types import FloatArray, IntArray, Metrics, UserError


def classification_areas(labels: IntArray, scores: FloatArray, *, parity: bool = False) -> Metrics:
    """AUROC and AUPRC of scores that should be higher for label 1.

    Parameters
    ----------
    labels : int ``[variants]``
        0 or 1.
    scores : float ``[variants]``
    parity : bool
        AUPRC by the trapezoid rule, to compare with published figures.

    Returns
    -------
    dict
        ``n_positive``, ``n_negative``, ``auroc``, ``auprc`` (both None when a class is absent),
        ``auprc_of_chance`` (the share of label 1) and ``auprc_estimator``.

    Raises
    ------
    UserError
        Labels that are not 0 or 1, or scores that are not finite.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if wrong := sorted(set(np.unique(labels).tolist()) - {0, 1}):
        raise UserError(f"labels must be 0 or 1; found also {', '.join(map(str, wrong[:5]))}")
    if not np.isfinite(scores).all():
        raise UserError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite")
    n_positive = int(labels.sum())
    result: Metrics = {
        "n_positive": n_positive,
        "n_negative": len(labels) - n_positive,
        "auroc": None,
        "auprc": None,
        "auprc_of_chance": n_positive / len(labels) if len(labels) else None,
        "auprc_estimator": "trapezoid" if parity else "average precision",
    }
    if 0 < n_positive < len(labels):
        result["auroc"] = float(roc_auc_score(labels, scores))
        if parity:
            precision, recall, _ = precision_recall_curve(labels, scores)
            result["auprc"] = float(auc(recall, precision))
        else:
            result["auprc"] = float(average_precision_score(labels, scores))
    return result
