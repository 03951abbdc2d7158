"""The GPU script: every part of it runs on a CPU at small size, and limits and gaps are told."""

from __future__ import annotations

import pytest

from benchmarks import gpu, gpu_parts


@pytest.mark.slow
@pytest.mark.parametrize("name", gpu_parts.PARTS)
def test_every_part_runs_at_small_size(name):
    rows = list(gpu_parts.PARTS[name][0](gpu_parts.Bench("cpu", "small")))
    assert rows
    assert all(what and value for what, value in rows)
    skipped = [value for _, value in rows if value.startswith("skipped")]
    assert len(skipped) < len(rows)


def test_all_parts_together_stay_below_eight_minutes():
    assert sum(limit for _, limit in gpu_parts.PARTS.values()) <= 480


def test_a_part_that_is_too_slow_keeps_what_it_has_measured(monkeypatch):
    class Process:
        returncode = 0

        def __init__(self, *_, **__):
            pass

        def communicate(self):
            self.returncode = -9
            return "row\tfirst\t1 s\nsome other line\n", ""

        def kill(self):
            pass

    monkeypatch.setattr(gpu.subprocess, "Popen", Process)
    assert gpu.rows_of("swift", "cpu", "small", 0.0) == [("first", "1 s"), ("(the rest)", "stopped after 0 s")]
    assert gpu.rows_of("swift", "cpu", "small", 9.0)[1] == ("(the rest)", "FAILED: no words")


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU here"):
        gpu.main([])
