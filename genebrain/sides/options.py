"""Checks of the options of a brain side, in words.

Values in, a list of problems out, so that they are told together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Literal, get_args

from genebrain.common.types import UserError
from genebrain.training.settings import TUNINGS

if TYPE_CHECKING:
    from genebrain.sides.genome import GeneSide

Positives = Literal["people", "scans"]
POSITIVES: tuple[Positives, ...] = get_args(Positives)
Aggregate = Literal["mean", "motion", "attention"]
ONLY_GENERATOR = ("model", "layer", "last_layers", "opening_mark", "closing_mark", "length_rule", "tuning", "lora")
"""Options of genomes that an encoder of a plugin does not have."""


def component_list(components: int | str | Iterable[int | str]) -> tuple[int | str, ...]:
    """Numbers of components to try; one may stand alone."""
    return (components,) if isinstance(components, (int, str)) else tuple(components)


def component_problems(components: Sequence[int | str]) -> list[str]:
    """What is wrong with ``brain.components``."""
    wrong = [c for c in components if c != "all" and (not isinstance(c, int) or c < 2)]
    if components and not wrong:
        return []
    return [f"brain.components={list(components)}: whole numbers of at least 2, or all"]


def count_problems(least: int, **counts: int) -> list[str]:
    """What is wrong with options that are whole numbers of at least ``least``."""
    wrong = [f"brain.{name}={n}" for name, n in counts.items() if not isinstance(n, int) or n < least]
    return [f"{' and '.join(wrong)} must be at least {least}, whole numbers"] if wrong else []


def positives_problems(positives: str, tuning: str = "frozen", aggregate: str = "mean") -> list[str]:
    """What is wrong with ``brain.positives``; nothing where it can be done."""
    if positives not in POSITIVES:
        return [f"brain.positives={positives} is none of {', '.join(POSITIVES)}"]
    trained = [f"brain.tuning={tuning}"] if tuning != "frozen" else []
    trained += ["brain.aggregate=attention"] if aggregate == "attention" else []
    if positives == "scans" and trained:
        return [
            f"brain.positives=scans with {' and '.join(trained)}: what is trained before the brain tower reads windows "
            "of people, not single scans; use brain.tuning=frozen with brain.aggregate=mean or motion, or "
            "brain.positives=people"
        ]
    return []


def encoder_problems(aggregate: str, summary: str, tuning: str, device: str) -> list[str]:
    """What is wrong with how an encoder of scans is used."""
    problems = []
    if aggregate not in get_args(Aggregate):
        problems.append(f"brain.aggregate={aggregate} is none of {', '.join(get_args(Aggregate))}")
    if summary == "connectivity" and (tuning != "frozen" or aggregate == "attention"):
        problems.append(
            f"brain.summary=connectivity with brain.tuning={tuning} and brain.aggregate={aggregate}: it "
            "is not trained in fit; use brain.tuning=frozen with mean or motion, or another summary"
        )
    if tuning not in TUNINGS:
        problems.append(f"brain.tuning={tuning} is none of {', '.join(TUNINGS)}")
    if device not in ("auto", "cpu", "cuda") and not _is_device(device):
        problems.append(f"brain.device={device} is none of auto, cpu, cuda")
    return problems


def _is_device(name: str) -> bool:
    import torch

    try:
        torch.device(name)
    except RuntimeError:
        return False
    return True


def refuse_options_of_generator(side: GeneSide) -> None:
    """Refuse options that GENERator alone has, for an encoder of a plugin.

    Raises
    ------
    UserError
        Some are not at their defaults; all are named.
    """
    usual = {one.name: one.default if one.default_factory is MISSING else one.default_factory() for one in fields(side)}
    changed = [f"genetics.{name}" for name in ONLY_GENERATOR if getattr(side, name) != usual[name]]
    if changed:
        raise UserError(
            f"genetics.name={side.name} reads chunks in its own way: leave out {', '.join(changed)}, which GENERator "
            "alone has"
        )
