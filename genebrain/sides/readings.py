"""Features of scans by candidate, in which a stack of candidates is found as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from genebrain.alignment.closed_form.latents import JOINED
from genebrain.common.types import FloatArray


class Readings(dict[str, FloatArray]):
    """Features by candidate name, ``[people, features]``; those of a stack are its parts side by side.

    Parameters
    ----------
    known : mapping
    others : callable, optional
        Gives all candidates; called when one is asked for that is not known.
    """

    def __init__(self, known: Mapping[str, FloatArray], others: Callable[[], Mapping[str, FloatArray]] | None = None):
        super().__init__(known)
        self._others = others

    def complete(self) -> Readings:
        """With all candidates; those that are known stay as they are."""
        if self._others is not None:
            made, self._others = self._others(), None
            self.update({name: values for name, values in made.items() if name not in self})
        return self

    def __missing__(self, name: str) -> FloatArray:
        """Join the parts of a stack; it does not become a candidate itself."""
        parts = name.split(JOINED)
        if any(part not in self for part in parts):
            self.complete()
        if any(part not in self for part in parts):
            raise KeyError(name)
        if len(parts) == 1:
            return self[name]
        return np.concatenate([self[part] for part in parts], axis=1)
