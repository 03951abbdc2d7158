"""Choices of a closed form, in words for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told_choices(chosen: Mapping[str, Any]) -> list[str]:
    """Lines about the scan features and the gene columns of a fit; none where there was nothing to choose."""
    return [line for line in (told_readings(chosen), told_genes(chosen)) if line]


def told_readings(chosen: Mapping[str, Any]) -> str:
    """What each kind of scan features reached in cross-validation, in words; empty where there was only one."""
    kinds, race = chosen.get("kinds"), chosen.get("race")
    told = []
    if race:
        few, people = f"{race['people']:,}", f"{race['of']:,}"
        told.append(f"{_reached(race['kinds'])} on {few} of {people} people, and on all {', '.join(race['on'])}")
    if kinds:
        told.append(_reached(kinds))
    if not told:
        return ""
    return (
        f"scan features in cross-validation (recall@1, ridge): {'; '.join(told)}; in use: {chosen['brain']}, "
        f"{chosen['k']} dimensions"
    )


def _reached(kinds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in sorted(kinds.items(), key=lambda one: -one[1]))


def told_genes(chosen: Mapping[str, Any]) -> str:
    """What the families of gene columns reach in cross-validation, in words; empty where there is one set only."""
    if not (genes := chosen.get("genes")):
        return ""
    alone = ", ".join(f"{family} alone {value:.3f}" for family, value in genes["alone"].items())
    used, all_sets = with_weight(chosen, "columns"), {row["columns"] for row in genes["members"]}
    stacked = f"{f'{alone}; ' if alone else ''}stacked {chosen['recall@1']:.3f}"
    return f"gene columns in cross-validation (recall@1): {stacked}, {len(used)} of {len(all_sets)} sets in use"


def with_weight(chosen: Mapping[str, Any], key: str) -> list[str]:
    """Sets of columns (``columns``) or priors (``mode``) that have weight in a stack, each once."""
    return list(dict.fromkeys(str(row[key]) for row in chosen["genes"]["members"] if row["weight"] > 0))
