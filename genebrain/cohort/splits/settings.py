"""How people are divided, as settings of an experiment."""

from __future__ import annotations

from dataclasses import dataclass

from genebrain.cohort.participants import Cohort
from genebrain.cohort.splits.splits import Split, make_split
from genebrain.common.types import UserError


@dataclass(frozen=True)
class SplitSettings:
    """Arguments of :func:`genebrain.cohort.splits.splits.make_split`.

    Parameters
    ----------
    test, validation : float
        Shares of all people. Validation people take part in the final closed-form fit; test people in nothing.
    site_column : str or None
        Balanced over the splits where the column exists.
    held_out_site : str or None
        Test on one whole site instead.
    """

    test: float = 1 / 3
    validation: float = 0.1
    site_column: str | None = "site"
    held_out_site: str | None = None

    def __post_init__(self) -> None:
        if not (0 < self.test < 1 and 0 < self.validation < 1 and self.test + self.validation < 1):
            raise UserError(
                f"split: test={self.test:g} and validation={self.validation:g} must be positive and leave room "
                "for training"
            )

    def make(self, cohort: Cohort, seed: int) -> Split:
        """Divide a cohort; the same seed always gives the same split."""
        return make_split(
            cohort,
            seed=seed,
            test=self.test,
            validation=self.validation,
            site_column=self.site_column,
            held_out_site=self.held_out_site,
        )
