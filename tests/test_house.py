"""The shape of the house: small rooms, small files, functions that fit a screen."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "genebrain").rglob("*.py"))
MOST_MODULES, MOST_LINES, MOST_BODY = 14, 300, 60
LONG_FUNCTIONS = {
    # One page each, read from top to bottom; cutting them in two hides the order of what happens.
    "judgement._judge",
    "finetuning.finetune",
    "recovery_run.recover_file",
    "run.generate_file",
    "fit._fit",
    "embed_scans.embed_scans",
    "store.embed",
}


def test_no_folder_holds_more_modules_than_can_be_seen_at_once():
    counts = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert {str(folder): n for folder, n in counts.items() if n > MOST_MODULES} == {}


def test_every_folder_says_what_it_is():
    for folder in {path.parent for path in MODULES}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_every_module_begins_with_the_name_of_a_thing():
    riddles = {"What", "Which", "Whether", "How", "Who", "Where", "When", "From", "To", "Look", "Read", "Write"}
    first = {path: (ast.get_docstring(ast.parse(path.read_text())) or "?").split()[0] for path in MODULES}
    assert [str(path) for path, word in first.items() if word in riddles] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            length = (node.end_lineno or 0) - first[0].lineno + 1
            name = f"{path.stem}.{node.name}"
            assert length <= MOST_BODY or name in LONG_FUNCTIONS, f"{name}: {length} lines"
