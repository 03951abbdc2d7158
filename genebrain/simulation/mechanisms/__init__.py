"""Mechanisms of simulated cohorts: how genomes shape a trait, and the trait a scan; one file each."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from genebrain.simulation.mechanisms.registry import MECHANISMS, Mechanism, register_mechanism

for _module in iter_modules(__path__):  # a file in this folder is a mechanism: importing it registers it
    import_module(f"{__name__}.{_module.name}")

__all__ = ["MECHANISMS", "Mechanism", "register_mechanism"]
