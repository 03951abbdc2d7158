"""Records that the user leaves out: by FILTER, and by the quality of imputation.

Both are applied where records are read, so that no later step sees others, and counted by reason.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from genebrain.common.types import UserError

R2_FIELDS = ("R2", "DR2", "INFO")
"""INFO fields with the imputation quality: Minimac and PLINK 2, Beagle, IMPUTE."""
FILTERED, LOW_R2 = "filtered_records", "low_r2_records"
UNSET = (".", "", "PASS")


@dataclass(frozen=True)
class RecordFilter:
    """Which records are kept.

    Attributes
    ----------
    kept : tuple of str, optional
        Values of FILTER that are kept besides ``PASS`` and ``.``; None: FILTER does not matter.
    min_r2 : float, optional
        Least imputation quality (0..1); a record without one, such as a typed variant, is kept.
    """

    kept: tuple[str, ...] | None = None
    min_r2: float | None = None

    def __post_init__(self) -> None:
        if self.min_r2 is not None and not 0 <= self.min_r2 <= 1:
            raise UserError(f"min_r2: {self.min_r2}: a number from 0 to 1 is wanted")

    def check(self, fields: Collection[str], source: str) -> None:
        """Raise a UserError when a least quality is asked for and the file declares none."""
        if self.min_r2 is not None and not set(R2_FIELDS) & set(fields):
            raise UserError(
                f"{source}: `min_r2: {self.min_r2}` is asked for, but the file has none of the INFO fields "
                f"{', '.join(R2_FIELDS)}: no record says how well it was imputed. Take the key out, or name the "
                "file as the imputation server wrote it"
            )

    def reason(self, filters: str, info: dict[str, object]) -> str | None:
        """Why a record with this FILTER (``;`` between values) and these INFO values is left out, or None."""
        if self.kept is not None and set(filters.split(";")) - {*UNSET, *self.kept}:
            return FILTERED
        if self.min_r2 is not None:
            value = next((info[name] for name in R2_FIELDS if info.get(name) is not None), None)
            if value is not None and _highest(value) < self.min_r2:
                return LOW_R2
        return None


EVERYTHING = RecordFilter()


def _highest(value: object) -> float:
    """The number, or the highest of several (one per ALT allele); infinite where it is no number."""
    values = value if isinstance(value, (tuple, list)) else str(value).split(",")
    try:
        return max((float(str(one)) for one in values if str(one) not in (".", "None")), default=float("inf"))
    except ValueError:
        return float("inf")
