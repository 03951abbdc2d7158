"""Messages: quiet for programs that import the package, told once and on the right stream by the command line."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from genebrain.messages import RANKS, show_messages

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
