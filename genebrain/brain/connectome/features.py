"""Functional-connectivity features from lag moments: the classical brain tower.

Four features share one interface: ``fit(C0, C1)`` on training subjects only, ``transform(C0, C1)`` on any,
``state()`` / ``from_state()`` for checkpoints. They take :class:`~genebrain.brain.connectome.moments.Moments` unpacked
(``feature.fit(*moments)``), or only the two matrices per subject.

- :class:`InnovationTangent`: tangent space of the covariance of what a group autoregression cannot predict.
- :class:`Lag0Tangent`: tangent space of the ordinary covariance.
- :class:`Correlation`, :class:`PartialCorrelation`: Fisher-z of the (partial) correlations.
"""

from __future__ import annotations

from genebrain.brain.connectome.correlation import Correlation, PartialCorrelation
from genebrain.brain.connectome.moments import Moments, lag_moments, scan_moments, stack_moments, subject_moments
from genebrain.brain.connectome.stored_moments import ComponentProjection, moments_from_store
from genebrain.brain.connectome.tangent import InnovationTangent, Lag0Tangent, innovation_covariance

__all__ = [
    "FEATURES",
    "ComponentProjection",
    "Correlation",
    "InnovationTangent",
    "Lag0Tangent",
    "Moments",
    "PartialCorrelation",
    "innovation_covariance",
    "lag_moments",
    "moments_from_store",
    "scan_moments",
    "stack_moments",
    "subject_moments",
]

FEATURES: dict[str, type[InnovationTangent] | type[Correlation]] = {
    "innovation": InnovationTangent,
    "lag0": Lag0Tangent,
    "correlation": Correlation,
    "partial_correlation": PartialCorrelation,
}
"""The names that configurations and checkpoints use."""
