"""Functional-connectivity features from summaries of scans: the classical brain tower.

All features share one interface: ``fit(C0, C1)`` on training subjects only, ``transform(C0, C1)`` on any,
``state()`` / ``from_state()`` for checkpoints. They take :class:`~genebrain.brain.connectome.moments.Moments` unpacked
(``feature.fit(*moments)``), or only the two matrices per subject.

- :class:`InnovationTangent`: tangent space of the covariance of what a group autoregression cannot predict.
- :class:`Lag0Tangent`: tangent space of the ordinary covariance.
- :class:`WithoutGlobalSignal`: the same of what the global signal does not explain.
- :class:`LogSpectrum`: log power of every parcel in frequency bands.
- :class:`DirectedCoupling`, :class:`Coherence`, :class:`Envelopes`: who leads, how networks hold together, and when.
- :class:`Correlation`, :class:`PartialCorrelation`: Fisher-z of the (partial) correlations.
"""

from __future__ import annotations

from collections.abc import Callable

from genebrain.brain.connectome.base import FEATURES, ConnectomeFeature
from genebrain.brain.connectome.correlation import Correlation, PartialCorrelation
from genebrain.brain.connectome.dynamics.kinds import Coherence, DirectedCoupling, Envelopes
from genebrain.brain.connectome.moments import (
    Moments,
    ScanSummary,
    scan_moments,
    stack_moments,
    subject_moments,
)
from genebrain.brain.connectome.side_by_side import SideBySide
from genebrain.brain.connectome.spectrum import LogSpectrum
from genebrain.brain.connectome.stored_moments import moments_from_store, summaries_from_store
from genebrain.brain.connectome.tangent import InnovationTangent, Lag0Tangent, innovation_covariance
from genebrain.brain.connectome.without_global import WithoutGlobalSignal

__all__ = [
    "FEATURES",
    "Coherence",
    "Correlation",
    "DirectedCoupling",
    "Envelopes",
    "InnovationTangent",
    "Lag0Tangent",
    "LogSpectrum",
    "Moments",
    "PartialCorrelation",
    "ScanSummary",
    "SideBySide",
    "WithoutGlobalSignal",
    "innovation_covariance",
    "moments_from_store",
    "register_kind",
    "scan_moments",
    "stack_moments",
    "subject_moments",
    "summaries_from_store",
]


def register_kind(name: str) -> Callable[[type[ConnectomeFeature]], type[ConnectomeFeature]]:
    """Enter a feature under a name for ``brain.kind`` (class decorator).

    Parameters
    ----------
    name : str
        One word without ``-`` and ``+``, which stand between words of the names of candidates.

    Raises
    ------
    ValueError
        The name is taken, or has one of the two signs.
    """

    def enter(kind: type[ConnectomeFeature]) -> type[ConnectomeFeature]:
        if name in FEATURES or not name.isidentifier():
            raise ValueError(f"a kind of scan features cannot be called {name!r}: taken, or not one word")
        return FEATURES.add(name, kind)

    return enter


for _name, _kind in {
    "innovation": InnovationTangent,
    "lag0": Lag0Tangent,
    "without_global": WithoutGlobalSignal,
    "spectrum": LogSpectrum,
    "directed": DirectedCoupling,
    "coherence": Coherence,
    "envelopes": Envelopes,
    "correlation": Correlation,
    "partial_correlation": PartialCorrelation,
}.items():
    FEATURES.add(_name, _kind)
