"""What surrounds the code: files that agree with one another, pages of the site, examples that run."""

from __future__ import annotations

import importlib.util
import re
import runpy
import tomllib
from pathlib import Path

import matplotlib as mpl
import pytest
import yaml

import genebrain
from genebrain import tasks

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "doors").glob("*.md")),
]
EXAMPLES = sorted((ROOT / "examples").glob("example_*.py"))


@pytest.fixture(scope="module")
def api_pages():
    spec = importlib.util.spec_from_file_location("api_pages", ROOT / "docs" / "api_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == str(citation["version"]) == genebrain.__version__
    assert project["license"] == citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.name)
def test_files_of_the_host_are_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_hosted_ci_runs_targets_that_exist():
    targets = re.findall(r"run: make ([a-z-]+)", (ROOT / ".github/workflows/ci.yml").read_text())
    assert "test" in targets
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_ruff_of_the_hooks_is_that_of_the_constraints():
    (hook,) = re.findall(r"ruff-pre-commit\n +rev: v(\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert f"\nruff=={hook}\n" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_blocks_say_what_they_hold(page):
    fences = re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)
    assert all(fences[::2]), "a block without a language: bash for what a user types, text for what is printed"
    for block in re.findall(r"^ *```text\n(.*?)```", page.read_text(), re.MULTILINE | re.DOTALL):
        assert not re.search(r"^ *genebrain ", block, re.MULTILINE), "commands belong into blocks marked bash"


def test_the_changelog_keeps_its_form():
    headings = re.findall(r"^(##+) (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("##", "Unreleased")
    assert {name for level, name in headings if level == "###"} <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
    }  # fmt: skip


def test_every_public_name_has_its_place_in_the_api_reference(api_pages, tmp_path):
    api_pages.write(tmp_path)
    (tmp_path / "gone.rst").write_text("of a package that is no more")
    api_pages.write(tmp_path)
    assert not (tmp_path / "gone.rst").exists()
    text = "".join(path.read_text() for path in tmp_path.glob("*.rst"))
    for name in tasks.__all__:
        assert len(re.findall(rf"auto\w+:: genebrain(?:\.tasks)?\.{name}$", text, re.MULTILINE)) == 1, name
    index = (tmp_path / "index.rst").read_text().split()
    assert {path.stem for path in tmp_path.glob("*.rst")} - {"index"} <= set(index)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_examples_have_a_title_and_compile(example):
    source = example.read_text()
    title, line = source.split("\n")[1:3]
    assert set(line) == {"="}
    assert len(line) == len(title)
    compile(source, example.name, "exec")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_examples_run(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with mpl.rc_context({"backend": "agg"}):
        runpy.run_path(str(example), run_name="__main__")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/one_step.md"])
def test_modules_that_a_page_names_are_there(page):
    """``brain/store/fill.py`` lies in the package, or somewhere below a folder that the text has named before."""
    package = ROOT / "genebrain"
    named = set(re.findall(r"`(?:genebrain/)?((?:\w+/)*\w+\.pyi?)`", (ROOT / page).read_text()))
    known = {path.relative_to(base).as_posix() for base in (package, ROOT) for path in base.glob("*/**/*.py")}
    known |= {path.name for path in package.glob("*.py*")}
    own = set(re.findall(r"^# (\w+\.py)$", (ROOT / page).read_text(), re.MULTILINE))  # files of the reader
    assert len(named) > 2
    lost = [name for name in named - own if not any(f"/{path}".endswith(f"/{name}") for path in known)]
    assert lost == []
