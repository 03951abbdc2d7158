"""Registry of estimators of scan features: names, and functions that make one unfitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genebrain.common.registry import Registry

SCAN_ESTIMATORS: Registry[Callable[[], Any]] = Registry("scan estimator")
"""Makers by the names that ``brain.estimator`` takes.

Each gives an unfitted estimator that is fitted on a list of series ``[frames, parcels]``, one per scan, and transforms
such a list into ``[scans, columns]``.
"""


def _nilearn(kind: str) -> Callable[[], Any]:
    def make() -> Any:
        from nilearn.connectome import ConnectivityMeasure

        return ConnectivityMeasure(kind=kind, vectorize=True, discard_diagonal=kind != "tangent")

    return make


for _kind in ("tangent", "correlation", "partial correlation", "covariance"):
    SCAN_ESTIMATORS.add(f"nilearn_{_kind.replace(' ', '_')}", _nilearn(_kind))
