"""The pages of the six doors, typed in their order in one folder: what a page says can be done as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

import genebrain
from genebrain.cli import main

DOORS = Path(__file__).parent.parent / "docs" / "doors"
PAGES = re.findall(r"^\| .*\]\((\w+\.md)\) \|$", (DOORS / "index.md").read_text(), re.MULTILINE)
LEFT = {
    "vectors_in.md": "runs/arrays/metrics.json",
    "run.md": "genomes_for_new_scans.tsv",
    "second_cohort.md": "within_C.tsv",
    "encoders.md": "given/encoder/README.md",
    "comparing.md": "runs/own_log/history.csv",
    "columns.md": "runs/own/metrics.json",
}
"""The last thing that each page makes."""


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of what a page gives to type."""
    return re.findall(r"^```(bash|python)\n(.*?)^```", (DOORS / page).read_text(), re.DOTALL | re.MULTILINE)


def typed(block: str) -> list[tuple[str, str]]:
    """Commands of a block, and files that it writes, as ``(command, "")`` or ``(name, content)``."""
    found = []
    lines = iter(block.splitlines())
    for line in lines:
        if opened := re.fullmatch(r"cat > (\S+) <<'END'", line):
            content = []
            for inner in lines:
                if inner == "END":
                    break
                content.append(inner + "\n")
            found.append((opened[1], "".join(content)))
        elif line.strip():
            found.append((line, ""))
    return found


def test_there_is_a_page_for_each_door():
    assert set(PAGES) == set(LEFT) == {path.name for path in DOORS.glob("*.md")} - {"index.md"}
    assert all(len(blocks(page)) >= 2 for page in PAGES)


def type_page(page: str) -> None:
    names: dict[str, object] = {}
    for language, block in blocks(page):
        if language == "python":
            exec(compile(block, page, "exec"), names)
            continue
        for command, content in typed(block):
            if content:
                Path(command).write_text(content)
                continue
            words = shlex.split(command)
            set_first = dict(word.split("=", 1) for word in words[: words.index("genebrain")])
            with pytest.MonkeyPatch.context() as patch:
                for name, value in set_first.items():
                    patch.setenv(name, value)
                assert main(words[len(set_first) + 1 :]) == 0, f"{page}: {command}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
def test_everything_that_the_pages_say_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mpl.rc_context({"backend": "agg"}):
        for page in PAGES:
            type_page(page)
            assert Path(LEFT[page]).stat().st_size > 0, page
    assert set(pd.read_csv("runs/arms/results.csv")["arm"]) == {"plain", "joined"}
    assert len(list(Path("runs/logged").rglob("*.wandb"))) == 2, "a training and its judgement"
    assert list(Path("my_logs").rglob("metrics.csv"))
    columns = genebrain.load_run("runs/own").metrics["columns"]
    assert set(columns["confounds"]) == {"age", "sex", "site", "handedness"}
