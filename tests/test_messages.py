"""Messages: quiet for programs that import the package, told once and on the right stream by the command line."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genebrain
from genebrain import tasks
from genebrain.messages import RANKS, show_messages
from genebrain.tasks import pretraining

log = logging.getLogger("genebrain.somewhere")


def test_what_is_done_goes_to_the_output_and_what_needs_a_look_to_the_error_stream(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_messages()
    log.info("done")
    log.warning("left out: 3 people")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("done\n", "left out: 3 people\n")


@pytest.mark.parametrize("name", RANKS["stdout"])
def test_of_several_ranks_only_the_first_speaks(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    log.info("done")
    assert capsys.readouterr().out == ""
    monkeypatch.setenv(name, "0")
    log.info("done")
    assert capsys.readouterr().out == "done\n"


def test_a_program_hears_warnings_only_unless_it_asks() -> None:
    code = (
        "import logging, genebrain; log = logging.getLogger('genebrain.somewhere');"
        "log.info('done'); log.warning('left out'); logging.basicConfig(level='INFO'); log.info('asked')"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == ""
    assert told.stderr.splitlines() == ["left out", "INFO:genebrain.somewhere:asked"]


def test_verbs_of_several_ranks_speak_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = np.random.default_rng(0).normal(size=(60, 3))
    asked: dict[str, Any] = {"genes": shared, "brains": shared, "run": tmp_path / "run"}
    asked["alignment"] = genebrain.AlignmentSettings(train="none")
    tasks.fit(**asked, progress=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    capsys.readouterr()
    tasks.fit(**asked)
    pretraining._tell(tmp_path / "not written yet", genebrain.EncoderSide(), True)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("LOCAL_RANK", "0")
    tasks.fit(**asked)
    told = capsys.readouterr().out
    assert told.count("columns taken") == told.count("fitted ") == 1
