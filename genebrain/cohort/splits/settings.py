"""Settings of the split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    folds : int, optional
        ``fit`` makes so many fits, in which everybody is tested once, and ``evaluate`` judges them together; ``test``
        has no meaning then.
    fold : int, optional
        One of these alone, counted from 0.
    """

    test: float = 0.333333  # not 1/3: settings of runs that are there are compared with it
    validation: float = 0.1
    site_column: str | None = "site"
    held_out_site: str | None = None
    train_share: float | None = None
    folds: int | None = None
    fold: int | None = None

    def __post_init__(self) -> None:
        if self.folds is not None and (self.folds < 2 or self.held_out_site is not None):
            raise UserError(f"split.folds={self.folds}: at least 2 are wanted, and no split.held_out_site")
        if self.fold is not None and not (self.folds is not None and 0 <= self.fold < self.folds):
            raise UserError(f"split.fold={self.fold}: one of 0 to split.folds - 1 is wanted (split.folds={self.folds})")
        if self.train_share is not None and not 0 < self.train_share <= 1:
            raise UserError(f"split.train_share={self.train_share:g} must lie above 0 and at most at 1")
        if not (0 < self.test < 1 and 0 < self.validation < 1 and self.test + self.validation < 1):
            raise UserError(
                f"split: test={self.test:g} and validation={self.validation:g} must be positive and leave room "
                "for training"
            )

    def make(self, cohort: Cohort, seed: int) -> Split:
        """Divide a cohort; the same seed always gives the same split.

        Raises
        ------
        UserError
            Too few people, or several folds where one is wanted.
        """
        if self.folds is not None and self.fold is None:
            raise UserError(f"split.folds={self.folds} is for fit and evaluate; elsewhere name one with split.fold=0")
        from genebrain.cohort.splits.splits import make_split

        return make_split(cohort, seed=seed, **self.arguments())

    def arguments(self) -> dict[str, Any]:
        """Arguments of ``make_split``; of several folds those of the first."""
        return {
            "test": self.test,
            "validation": self.validation,
            "site_column": self.site_column,
            "held_out_site": self.held_out_site,
            "train_share": self.train_share,
            "fold": None if self.folds is None else (self.fold or 0, self.folds),
        }
