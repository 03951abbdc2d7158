"""What the documents tell a user to type must work: commands compose, links exist, the Python example runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from genebrain import config
from genebrain.cli import VERBS, _first_of_sweep, _named_runs, main, named_first
from genebrain.common.types import UserError
from tests.test_docs import PAGES

ROOT = Path(__file__).parent.parent
PATHS = re.compile(r"\b(run|out|store|input|genes|brains|participants|atlas|vcf|[a-z]+\.path)=[^\s\[]+")


def commands() -> list[tuple[str, str]]:
    """Commands of the pages by their page; one of those that differ in paths alone."""
    found: dict[str, tuple[str, str]] = {}
    for page in PAGES:
        for line in page.read_text().splitlines():
            match = re.match(r"^genebrain (.+?)(?:\s+#.*)?$", line.strip())
            # Those are composed with their plugins by test_contributing.py, and with their folders by test_config.py.
            if match and "plugins=" not in line and "--config-dir=" not in line:
                command = match.group(1)
                found.setdefault(" ".join(PATHS.sub(r"\1=", command).split()), (page.name, command))
    return list(found.values())


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_documented_command_composes(page, command):
    verb, *overrides = shlex.split(command)
    assert verb in VERBS, f"{page}: {command}"
    try:
        words = [_first_of_sweep(o) for o in overrides if o != "-m"] if "-m" in overrides else overrides
        config.compose(verb, _named_runs(words) if verb == "compare" else named_first(verb, words))
    except UserError as error:
        pytest.fail(f"{page}: genebrain {command}: {error}")


def test_the_opening_commands_of_the_dna_page_run_on_shipped_files(tmp_path, monkeypatch):
    block = (ROOT / "docs" / "generator.md").read_text().split("```bash\n")[1].split("```")[0]
    lines = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [line[0] for line in lines] == ["embed-sequences", "score-variants", "finetune", "generate"]
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    for line in lines:
        assert main(line) == 0, line
    assert len((tmp_path / "runs/scores.tsv").read_text().splitlines()) == 26
    assert (tmp_path / "runs/more.fa").read_text().count(">") == 64
    assert (tmp_path / "runs/vectors/embeddings.npy").exists()
    assert (tmp_path / "runs/tuned/metrics.json").exists()


def test_there_are_commands_to_check():
    assert len(commands()) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        made = target.startswith("gallery/")  # by `make docs`
        assert made or target.startswith("http") or (page.parent / target).exists(), f"{page.name} -> {target}"


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert f"\n{target}:" in makefile


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(from genebrain import tasks.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "recall@1" in capsys.readouterr().out


def test_make_says_which_python_is_missing(tmp_path):
    words = ["make", "-C", str(ROOT), "env", "PYTHON=python3.99", f"VENV={tmp_path / 'none'}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no python3.99 here; name a Python from 3.11 on: make env PYTHON=python3" in done.stdout
    assert not list(tmp_path.iterdir())
