"""Features of scans by candidate, in which a stack of candidates is found as well."""

from __future__ import annotations

import numpy as np

from genebrain.alignment.closed_form.latents import JOINED
from genebrain.common.types import FloatArray


class Readings(dict[str, FloatArray]):
    """Features by candidate name, ``[people, features]``; those of a stack are its parts side by side."""

    def __missing__(self, name: str) -> FloatArray:
        """Join the parts of a stack; it does not become a candidate itself."""
        parts = name.split(JOINED)
        if len(parts) == 1 or any(part not in self for part in parts):
            raise KeyError(name)
        return np.concatenate([self[part] for part in parts], axis=1)
