"""Scan features that are made where they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.sides.readings import Readings


def test_other_candidates_are_made_once_and_only_where_asked_for() -> None:
    made = []

    def others() -> dict[str, np.ndarray]:
        made.append(1)
        return {name: np.full((3, 1), float(i), np.float32) for i, name in enumerate(("a", "b"))}

    readings = Readings({"a": np.full((3, 1), 7.0, np.float32)}, others)
    assert readings["a"][0, 0] == 7
    assert not made, "what the checkpoint restored needs no other"
    np.testing.assert_array_equal(readings["a+b"], [[7, 1]] * 3)
    assert sorted(readings.complete()) == ["a", "b"]
    assert readings["a"][0, 0] == 7, "what was known stays"
    assert len(made) == 1
    with pytest.raises(KeyError):
        readings["c"]
