"""Numbered shares of one process: ``3/64``, the rank of torchrun or srun, or the next free one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from genebrain.common.types import UserError

NEXT = "next"
_RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


@dataclass(frozen=True)
class Shard:
    """Which of the parts this process does: number ``index`` (from 1) of ``count``; or any that are free.

    Attributes
    ----------
    index, count : int
    claims : bool
        Take one free share after the other, until none is left.
    """

    index: int = 1
    count: int = 1
    claims: bool = False

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Read ``3/64``, ``next``, or ``auto``, the rank of torchrun or srun; None is the whole.

        ``auto`` does not look at the number of an array job: a job that is submitted again alone would then take
        another share. ``UserError`` for anything else.
        """
        if text is None:
            return cls()
        if text == NEXT:
            return cls(claims=True)
        if text == "auto":
            for rank, size in _RANKS:
                if rank in os.environ and size in os.environ:
                    return cls(int(os.environ[rank]) + 1, int(os.environ[size]))
            names = " or ".join(f"{rank} and {size}" for rank, size in _RANKS)
            raise UserError(f"shard=auto: the environment has no {names}; start with torchrun or srun, or write i/n")
        match = re.fullmatch(r"(\d+)/(\d+)", str(text).strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(
                f"shard={text}: write i/n with i from 1 to n, e.g. shard=3/64 for the third of 64 jobs, or shard=next"
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def partial(self) -> bool:
        """Whether other processes do the rest."""
        return self.claims or self.count > 1

    def has(self, number: int) -> bool:
        """Whether part ``number`` (from 0) is this shard's; all may be, for one that claims."""
        return number % self.count == self.index - 1

    def __str__(self) -> str:
        return NEXT if self.claims else f"{self.index}/{self.count}"
