"""The page holds the numbers, says what is missing and needs nothing from outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from genebrain.common import leftovers
from genebrain.common.types import UserError
from genebrain.evaluation.limits import limits
from genebrain.evaluation.report.figures import write_figures
from genebrain.evaluation.report.page import flat, measured, rate, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Balanced(HTMLParser):
    """Fails on tags that do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def page_of(folder: Path) -> str:
    text = write_report(folder).read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert not parser.stack
    return text


@pytest.fixture
def run_folder(tmp_path: Path, metrics: dict, embeddings: dict) -> Path:
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    write_figures(tmp_path / "figures", metrics, **embeddings)
    (tmp_path / "config.yaml").write_text("name: <b>demo</b>\n")
    (tmp_path / "provenance.json").write_text(
        json.dumps({"commit": "abc1234", "cohort": "Oslo", "packages": {"numpy": "2"}, "finished": "2026-02-28"})
    )
    (tmp_path / "funnel.json").write_text(json.dumps({"listed": 470, "both": 450, "dropped": {"no genome": 20}}))
    (tmp_path / "history.csv").write_text("epoch,train_loss,val_loss\n0,2.0,\n0,,2.5\n1,1.5,2.2\n")
    return tmp_path


def test_complete_run(run_folder: Path, metrics: dict):
    page = page_of(run_folder)
    mean = metrics["retrieval"]["mean"]
    assert measured(mean["recall@1"]) in page
    assert "among 32 candidates" in page
    assert "Above the confound-only model" in page
    assert "abc1234" in page
    assert re.search(r"Fitted 2026-02-28, report of \d{4}-\d\d-\d\d\.", page)
    assert "cohort Oslo &middot; test people</h1>" in page
    assert "&lt;b&gt;demo&lt;/b&gt;" in page
    assert "Not available in this run: PLS" in page
    assert page.count("data:image/png;base64,") == 7  # also training curves and funnel, drawn from their tables
    assert "123,456" in page
    assert [path.name for path in run_folder.glob(".report*")] == []


def test_people_who_were_dropped_are_listed_once(run_folder: Path):
    metrics, funnel = run_folder / "metrics.json", run_folder / "funnel.json"
    dropped = {"participants without scans": 12}
    funnel.write_text(json.dumps(json.loads(funnel.read_text()) | {"dropped": dropped}))
    for other, times in ((dropped, 1), ({"participants without scans": 14}, 2)):
        metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"dropped": other}))
        assert page_of(run_folder).count("participants without scans</th>") == times


def test_page_needs_nothing_from_outside(run_folder: Path):
    page = page_of(run_folder)
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)


@pytest.mark.parametrize("race", [None, {"people": 4000, "of": 26667, "on": ["innovation"]}])
def test_scan_kinds_are_listed_and_who_tried_them(run_folder: Path, race: dict | None):
    path = run_folder / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["scan_readings"] = {"recall@1": {"innovation": 0.5, "lag0": 0.25}, "warnings": []}
    metrics["model"]["chosen"] = {"brain": "innovation-15", "k": 8} | ({"race": race} if race else {})
    path.write_text(json.dumps(metrics))
    page = page_of(run_folder)
    assert "<td>0.250</td>" in page
    assert ("Tried on 4,000 of 26,667 training people; made of everybody: innovation" in page) == (race is not None)


def test_small_groups_are_not_shown(run_folder: Path):
    page = page_of(run_folder)
    assert "Oslo (n = 60)" in page
    assert "Tiny" not in page
    assert "Turin" not in page  # the size of the small one would follow from it
    assert "fewer than 10 subjects" in page


def test_bare_metrics_say_what_is_missing(tmp_path: Path, metrics: dict):
    bare = {k: metrics[k] for k in ("schema", "split", "n_subjects", "gallery_size", "chance", "retrieval")}
    nothing = dict.fromkeys(("ceiling", "within_stratum", "permutation", "baselines"))
    (tmp_path / "metrics.json").write_text(json.dumps(bare | nothing))
    page = page_of(tmp_path)
    for words in (
        "The ceiling is not known",
        "No baseline was fitted",
        "Not measured: no strata",
        "No permutation test was made",
        "There is no training log",
        "no record of how the cohort",
        "no provenance.json",
        "no config.yaml",
        "No cost was recorded",
    ):
        assert words in page
    assert "<img" not in page


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no metrics.json"), ("{", "is damaged"), ('{"schema": 1}', "lacks retrieval, chance")],
)
def test_unusable_metrics_raise(tmp_path: Path, content: str | None, words: str):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=words):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_numbers_as_shown():
    assert rate(None) == "–"
    assert rate(1.0, "median_rank") == "1.0"
    assert rate(1.0, "percentile_rank") == "1.000"
    assert flat({"a": {"b": 1234, "c": True}, "d": 0.125}) == [
        ("a: b", "1,234"),
        ("a: c", "True"),
        ("d", "0.125"),
    ]


def test_limits_name_every_safeguard_not_used(metrics: dict):
    usual = limits(metrics | {"n_subjects": 1000})
    assert len(usual) == 4
    without = limits({"n_subjects": 40})
    for words in (
        "has 40 subjects",
        "No permutation",
        "within strata could not",
        "confound-only",
        "best possible",
    ):
        assert any(words in sentence for sentence in without)
    no_strata = limits(metrics | {"permutation": {"p_free": 0.01, "p_stratified": None}})
    assert any("No strata were given" in sentence for sentence in no_strata)
    stuck = metrics["permutation"] | {"exchangeable_stratified": 0.3}
    assert any("Only 30%" in sentence for sentence in limits(metrics | {"permutation": stuck}))


def test_what_a_killed_report_left_is_swept(run_folder: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    machine = leftovers.writer().partition("-")[0]
    left = run_folder / f".report.html.{machine}-{dead.pid}-01234567.tmp"
    left.touch()
    page_of(run_folder)
    assert not left.exists()
