"""Random windows: everywhere, never over a gap, pairs apart, decided by the generator alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genebrain.brain.windows.bank import WindowBank
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.brain.windows.random_windows import RandomWindows


class Numbers:
    """A store whose frames say their position in the recording."""

    def __init__(self, **scans: list[int]) -> None:
        self.scans = {key: np.array(numbers) for key, numbers in scans.items()}
        self.index = pd.DataFrame({"tr": 1.0}, index=list(scans))

    def read(self, key: str, t0: int | None = None, t1: int | None = None) -> np.ndarray:
        return self.scans[key][t0:t1, None].astype(np.float32)

    def frame_numbers(self, key: str) -> np.ndarray:
        return self.scans[key]


def looks(scan: list[int], frames: int, clips: int, n: int = 300, **policy: object) -> np.ndarray:
    source = RandomWindows(WindowBank(Numbers(a=scan), WindowPolicy(**policy), frames), clips)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    return np.stack([source.draw("a", rng)[..., 0] for _ in range(n)])


def test_windows_start_everywhere_and_never_cross_a_gap():
    scan = [*range(10), *range(20, 27)]
    drawn = looks(scan, 5, 1)[:, 0]
    assert (np.diff(drawn, axis=1) == 1).all()
    assert set(drawn[:, 0]) == {*range(6), *range(20, 23)}


@pytest.mark.parametrize("scan", [list(range(11)), [*range(6), *range(20, 25)], [*range(5), *range(9, 20)]])
def test_pairs_share_no_frame(scan):
    drawn = looks(scan, 5, 2)
    for first, second in drawn:
        assert not set(first) & set(second)
    assert len({tuple(pair[:, 0]) for pair in drawn}) >= 4


def test_every_scan_that_has_room_for_a_pair_gives_one():
    for length in range(4, 16):
        source = RandomWindows(WindowBank(Numbers(a=list(range(length))), WindowPolicy(), 5), 2)
        assert source.possible("a") == (length >= 10)
        for seed in range(20 if length >= 10 else 0):
            assert source.draw("a", np.random.default_rng(seed)).shape == (2, 5, 1)


def test_short_scans_are_mirrored_only_when_asked():
    assert looks(list(range(3)), 5, 1, n=1, short="pad").tolist() == [[[0, 1, 2, 1, 0]]]
    with pytest.raises(ValueError, match="no room"):
        looks(list(range(3)), 5, 1)


def test_the_generator_alone_decides():
    source = RandomWindows(WindowBank(Numbers(a=list(range(50))), WindowPolicy(), 5), 2)
    first, again, other = (source.draw("a", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
