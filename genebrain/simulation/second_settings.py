"""Settings of a second cohort: what differs from the first, besides the people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from genebrain.common.types import UserError, built


@dataclass(frozen=True)
class SecondCohort:
    """What differs between a second cohort and the first, besides the people.

    Parameters
    ----------
    gain : float
        Factor of all signals.
    noise : float
        Standard deviation of white noise that the scanner adds, in units of each parcel's own.
    sites : {"same", "new"}
        The scanners of the first cohort, or as many others, with effects of their own (where the tier has any).
    mix : list of float, optional
        Shares of the ancestry groups; None: equal ones.
    fst : float
        Distance of the allele frequencies from those of the first cohort.
    """

    gain: float = 1.0
    noise: float = 0.0
    sites: Literal["same", "new"] = "same"
    mix: tuple[float, ...] | None = None
    fst: float = 0.0

    def __post_init__(self) -> None:
        if self.mix is not None:
            object.__setattr__(self, "mix", tuple(float(share) for share in self.mix))
        wrong = [
            (self.gain <= 0, f"second.gain={self.gain} must be above 0"),
            (self.noise < 0, f"second.noise={self.noise} must be at least 0"),
            (self.sites not in ("same", "new"), f"second.sites={self.sites}: use same or new"),
            (not 0 <= self.fst < 0.5, f"second.fst={self.fst} must lie in [0, 0.5)"),
            (
                self.mix is not None and (min(self.mix, default=-1) < 0 or sum(self.mix) <= 0),
                f"second.mix={list(self.mix or ())}: shares of the ancestry groups, none negative, not all 0",
            ),
        ]
        if problems := [text for bad, text in wrong if bad]:
            raise UserError("; ".join(problems))

    def changed(self) -> list[str]:
        """Options that are not at their defaults, as they are typed."""
        plain = SecondCohort()
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return [f"second.{name}={value}" for name, value in values.items() if value != getattr(plain, name)]


def second_settings(given: SecondCohort | Mapping[str, Any] | None) -> SecondCohort:
    """Settings from what a caller gives: them, a mapping of their fields, or nothing.

    Raises
    ------
    UserError
        An unknown field, or a value of another type.
    """
    if isinstance(given, SecondCohort):
        return given
    known = [one.name for one in fields(SecondCohort)]
    if unknown := [str(name) for name in given or () if name not in known]:
        raise UserError(f"second: no field {', '.join(unknown)}; there are {', '.join(known)}")
    try:
        return built(SecondCohort, dict(given or {}))
    except ValueError as error:
        raise UserError(f"second: {error}") from error
