"""Several features of the same scans next to each other: the reading of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from genebrain.brain.connectome.base import ConnectomeFeature, needed
from genebrain.brain.connectome.moments import Float32

JOINED = "+"
"""Between the names of the parts of a stack, as in ``lag0-25+spectrum``."""


class SideBySide:
    """Features whose columns follow one another.

    Parameters
    ----------
    parts : mapping
        Fitted features by name, in the order of their columns.
    """

    def __init__(self, parts: Mapping[str, ConnectomeFeature]) -> None:
        self.parts = dict(parts)

    @property
    def name(self) -> str:
        """The names of the parts, joined."""
        return JOINED.join(self.parts)

    def transform(self, *summary: Any) -> Float32:
        """Features of any people, float32 ``[people, columns of all parts]``."""
        return np.concatenate([part.transform(*needed(part, summary)) for part in self.parts.values()], axis=1)

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """What the parts have learned, each under its number."""
        return {
            f"{number}.{key}": values
            for number, part in enumerate(self.parts.values())
            for key, values in part.state().items()
        }

    @classmethod
    def from_state(
        cls, name: str, state: Mapping[str, np.ndarray[Any, Any]], kinds: Mapping[str, type[ConnectomeFeature]]
    ) -> Self:
        """Rebuild from :meth:`state` and the joined name; ``kinds`` are the features by the first word of a name."""
        parts = {}
        for number, part in enumerate(name.split(JOINED)):
            own = {k.removeprefix(f"{number}."): v for k, v in state.items() if k.startswith(f"{number}.")}
            parts[part] = kinds[part.split("-")[0]].from_state(own)
        return cls(parts)


def joined(features: Mapping[str, Any], name: str) -> Any:
    """The feature of a name: one of ``features``, or the stack of several."""
    parts = name.split(JOINED)
    return features[name] if len(parts) == 1 else SideBySide({part: features[part] for part in parts})
