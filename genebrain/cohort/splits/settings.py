"""How people are divided, as settings of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genebrain.common.types import UserError

if TYPE_CHECKING:
    from genebrain.cohort.participants import Cohort
    from genebrain.cohort.splits.splits import Split


@dataclass(frozen=True)
class SplitSettings:
    """Arguments of :func:`genebrain.cohort.splits.splits.make_split`.

    Parameters
    ----------
    test : float
        Share of people never seen in training.
    validation : float
        Share for early stopping and for approving what was trained. They take part in the final closed-form fit.
    site_column : str or None
        Balanced over the splits, where the column exists.
    held_out_site : str or None
        Test on everybody of this site instead (a value of ``site_column``).
    train_share : float, optional
        Share of the train and validation people who are used, for learning curves; smaller shares are parts of larger
        ones, and the test people are the same in all. None: everybody.
    """

    test: float = 1 / 3
    validation: float = 0.1
    site_column: str | None = "site"
    held_out_site: str | None = None
    train_share: float | None = None

    def __post_init__(self) -> None:
        if self.train_share is not None and not 0 < self.train_share <= 1:
            raise UserError(f"split.train_share={self.train_share:g} must lie above 0 and at most at 1")
        if not (0 < self.test < 1 and 0 < self.validation < 1 and self.test + self.validation < 1):
            raise UserError(
                f"split: test={self.test:g} and validation={self.validation:g} must be positive and leave room "
                "for training"
            )

    def make(self, cohort: Cohort, seed: int) -> Split:
        """Divide a cohort; the same seed always gives the same split."""
        from genebrain.cohort.splits.splits import make_split

        return make_split(
            cohort,
            seed=seed,
            test=self.test,
            validation=self.validation,
            site_column=self.site_column,
            held_out_site=self.held_out_site,
            train_share=self.train_share,
        )
