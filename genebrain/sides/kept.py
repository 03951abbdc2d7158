"""A cohort and its store, with what was computed from them, each thing once."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from genebrain.cohort.notices import tell
from genebrain.cohort.participants import Cohort, load_cohort
from genebrain.common.alone import refuse_links, waiting_for
from genebrain.common.leftovers import sweep
from genebrain.common.types import UserError
from genebrain.engines.run import current


class KeptWork:
    """Base of the two sides of a workspace.

    Parameters
    ----------
    cohort : Cohort or path of ``cohort.yaml``
    store : Path, optional
        Folder of embeddings, chunk indexes and scans; ``store`` beside ``cohort.yaml`` by default.
    progress : bool
        Show progress bars.
    """

    def __init__(self, cohort: Cohort | Path | str, store: Path | str | None = None, *, progress: bool = True):
        self.cohort = cohort if isinstance(cohort, Cohort) else load_cohort(cohort)
        self.store = Path(store) if store is not None else self.cohort.folder / "store"
        self.progress = progress
        tell((problem.message for problem in self.cohort.warnings), "warning: ")
        self._kept: dict[Hashable, Any] = {}
        self._swept = False
        try:
            self.store.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            words = f"cannot make the store {self.store}: {error.strerror}; name another folder with store="
            raise UserError(words) from error
        refuse_links(self.store)
        if not os.access(self.store, os.W_OK):
            raise UserError(f"the store {self.store} is read-only; name another folder with store=")

    @contextmanager
    def _filling(self) -> Iterator[None]:
        """One process fills the store at a time; others wait, and then find it filled. Jobs of an array all do."""
        if current().is_array:
            yield
            return
        words = f"another process is filling the store {self.store}; waiting for it"
        with waiting_for(self.store / ".filling.lock", words):
            if not self._swept:
                sweep(self.store)
                self._swept = True
            yield

    def _forget(self, kind: str) -> None:
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != kind}  # type: ignore[index]

    def _once(self, key: Hashable, make: Any) -> Any:
        if key not in self._kept:
            if key[0] == "blocks":  # type: ignore[index]
                self._forget("blocks")  # the largest thing here, and arms come one after another
            # Thousands of small products: threads in each would wait for one another, on a busy machine for minutes.
            with threadpool_limits(1, user_api="blas"):
                self._kept[key] = make()
        return self._kept[key]
