"""Costs before the work: a sample foretells what counting finds, workers divide the time, and nothing is left."""

from __future__ import annotations

import json
import os

import pytest

from genebrain import tasks
from genebrain.cohort.participants import load_cohort
from genebrain.common.types import UserError
from genebrain.genetics.genome.gene_windows import Window
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.studies.costs import closed_form, genomes, plan
from genebrain.studies.costs.closed_form import Pace, columns_of, table_seconds
from genebrain.studies.costs.plan import scan_stages
from genebrain.studies.costs.stages import Stage, summary, table


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tasks.simulate(tmp_path_factory.mktemp("cohort"), tier="smoke", n_subjects=400, seed=5)


def test_pieces_of_some_windows_foretell_the_chunks_of_all(cohort, monkeypatch):
    people = load_cohort(cohort)
    counted, _, _ = genomes.genome_work(GeneSide(), people)
    monkeypatch.setattr(genomes, "COUNTED", 0)
    monkeypatch.setattr(genomes, "SMALL", 0)
    foretold, seconds, _ = genomes.genome_work(GeneSide(), people)
    assert foretold["sampled"]["bases"] == foretold["sampled"]["windows"] * genomes.CHUNKS * 1500
    assert foretold["sampled"]["of_bases"] == 240_000
    assert foretold["sampled"]["windows"] <= genomes.WINDOWS < foretold["sampled"]["of_windows"]
    assert foretold["chunks_naive"] == pytest.approx(counted["chunks_naive"], rel=0.1)
    assert foretold["chunks_unique"] == pytest.approx(counted["chunks_unique"], rel=0.25)
    assert foretold["encoder_tokens"] == pytest.approx(counted["encoder_tokens"], rel=0.25)
    assert seconds > 0


@pytest.mark.parametrize(("start", "origin", "expected"), [(3000, 0, 6000), (4000, 0, 7500), (4000, 4000, 7000)])
def test_a_piece_is_whole_chunks_of_the_middle(start, origin, expected):
    piece = genomes._middle(Window("1", start, start + 12_500, "w"), 1500, origin)
    assert (piece.start, piece.end) == (expected, expected + 6000)
    short = Window("1", 0, 5000, "s")
    assert genomes._middle(short, 1500, 0) is short


def test_scans_are_tried_and_nothing_is_left(cohort):
    before = sorted(cohort.parent.rglob("*"))
    (scans,) = scan_stages(ConnectomeSide(), load_cohort(cohort))
    assert sorted(cohort.parent.rglob("*")) == before
    # 200 frames x 80 parcels in float16, and a little for the index
    assert scans.disk / 400 == pytest.approx(200 * 80 * 2, rel=0.1)
    assert scans.core_seconds > 0


def test_shares_are_divided_by_workers_and_the_longest_stage_is_named():
    stages = [
        Stage("a", 7200.0, True, 2e9, "tried"),
        Stage("b", 1800.0, False, 1e9, "rough"),
        Stage("c", None, True, 0, "?"),
    ]
    found = summary(stages, cores=2, workers=8)
    assert [row["hours_here"] for row in found["stages"]] == [1.0, 0.25, None]
    assert [row["hours_on_workers"] for row in found["stages"]] == [0.25, 0.25, None]
    assert (found["hours_here"], found["hours_on_workers"], found["disk_gb"]) == (1.25, 0.5, 3.0)
    assert (found["dominating"], found["unknown"]) == ("a", ["c"])
    words = table(found)
    assert "most of it: a (80% of the time here)" in words
    assert "not in the sums: c" in words


def test_the_verb_writes_stages_and_keeps_its_counts(cohort, tmp_path, capsys):
    found = tasks.plan(cohort, workers=4, out=tmp_path / "plan.json")
    stored = json.loads((tmp_path / "plan.json").read_text())
    assert stored["chunks_unique"] == found["chunks_unique"] > 0
    names = [row["stage"] for row in stored["costs"]["stages"]]
    assert names == ["genotypes to chunks", "DNA encoder", "scans", "fit (closed form)", "evaluate (no comparisons)"]
    told = capsys.readouterr().out
    assert "4 workers" in told
    assert "{" not in told  # JSON is for the file
    assert f"of which {found['chunks_unique']:,} are distinct" in told
    with pytest.raises(UserError, match="workers=0"):
        tasks.plan(cohort, workers=0)


def test_the_tables_of_a_fit_cost_the_count_of_their_work():
    pace = Pace(product=1e-11, reduction=1e-10)
    # 5 sets; 6 fits of each; 35 sweeps of 24 dimensions, thrice as dear
    sums, reductions, sweeps = 5 * 1e-11 * 4e4 * 5e3**2, 30 * 1e-10 * 5e3**3, 5 * 35 * 24 * 6 * 3 * 1e-11 * 5e3**2
    assert table_seconds(40_000, 5000, pace) == pytest.approx(sums + reductions + sweeps)
    only_reductions = Pace(product=0.0, reduction=1e-10)
    assert table_seconds(40_000, 6000, only_reductions) == 8 * table_seconds(10_000, 3000, only_reductions)
    assert table_seconds(300, 6000, only_reductions) == table_seconds(300, 300, only_reductions)
    only_sums = Pace(product=1e-11, reduction=0.0)
    more_people = table_seconds(40_000, 3000, only_sums) - table_seconds(10_000, 3000, only_sums)
    assert more_people == pytest.approx(5 * 1e-11 * 3e4 * 3e3**2)
    assert columns_of(1_520_000) == 4864


def test_longer_windows_make_the_fit_dearer_than_in_proportion(cohort, monkeypatch):
    people = load_cohort(cohort)
    monkeypatch.setattr(plan, "genome_stages", lambda *_: ({}, []))
    monkeypatch.setattr(plan, "scan_stages", lambda *_: [])
    monkeypatch.setattr(Pace, "measured", classmethod(lambda cls: cls(0.0, 1e-6)))

    def fit_hours() -> float:
        _, costs = plan.plan_costs(people, GeneSide(), ConnectomeSide())
        return next(row["hours_here"] for row in costs["stages"] if row["stage"] == "fit (closed form)")

    whole = fit_hours()
    monkeypatch.setattr(Pace, "measured", classmethod(lambda cls: cls(0.0, 0.0)))
    cores = min(os.cpu_count() or 1, 2)
    # 400 people are fewer than the 768 columns of 240 kb
    assert (whole - fit_hours()) * 3600 * cores == pytest.approx(30 * 1e-6 * 400**3)


def test_the_pace_is_one_of_seconds(monkeypatch):
    monkeypatch.setattr(closed_form, "TRIED", 200)
    pace = Pace.measured()
    assert 0 <= pace.product < 1e-6
    assert 0 < pace.reduction < 1e-6
