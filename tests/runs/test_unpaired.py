"""People with scans and no genome: counted, learned from without pairs, and never those who are judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genebrain
from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.cohort.participants import load_cohort
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from tests.runs.test_transfer import SMALL

ALONE = 60
SIDE = ConnectomeSide(kind=("lag0", "spectrum"), components=(6,), unpaired=True)
PLAIN = GeneSide(columns="embeddings", rare_below=0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """150 people, of whom the last 60 of the table have no genome."""
    path = simulate_cohort(tmp_path_factory.mktemp("cohort") / "c", n_subjects=150, seed=7, **SMALL)
    table = pd.read_csv(path.parent / "participants.tsv", sep="\t")
    table.loc[table.index[-ALONE:], "genotype_id"] = [f"none{i}" for i in range(ALONE)]
    table.to_csv(path.parent / "participants.tsv", sep="\t", index=False)
    return path


def fit(cohort: Path, run: Path, **more) -> Path:
    settings = {"brain": SIDE, "genetics": PLAIN, "alignment": AlignmentSettings(train="none")} | more
    return tasks.fit(cohort, run=run, progress=False, **settings)


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    return fit(cohort, tmp_path_factory.mktemp("runs") / "r")


def test_they_are_counted_and_the_run_can_be_judged(cohort, run):
    assert json.loads((run / "funnel.json").read_text())["unpaired"] == {"people_with_scans": ALONE}
    opened = genebrain.load_run(run)
    train = len(opened.split.training)
    fitted, _ = opened.workspace.brain_features(SIDE, opened.split.training)
    assert {one.report["training_subjects"] for one in fitted.values()} == {train + ALONE}
    metrics = tasks.evaluate(run, comparisons=(), n_bootstrap=20, n_permutations=20, progress=False)
    assert metrics["n_subjects"] == len(opened.rows("test"))
    seen = set((run / "checkpoints" / "seen_scans.txt").read_text().split())
    assert len(seen) == 2 * (train + ALONE), "a second cohort that holds their scans is refused"


def test_components_are_fitted_on_them_and_nothing_else_is(cohort, run, tmp_path):
    opened, other = genebrain.load_run(run), genebrain.load_run(fit(cohort, tmp_path / "p", brain=ConnectomeSide(
        kind=SIDE.kind, components=SIDE.components)))  # fmt: skip
    assert opened.ids() == other.ids()
    subjects, closed = opened.subjects, opened.model.closed_form
    name = closed.chosen["brain"].split("+")[0]
    whole = np.concatenate([subjects.brain[name][opened.split.training], subjects.unpaired[name]])
    np.testing.assert_allclose(closed.brain_mean[: whole.shape[1]], whole.mean(axis=0), atol=1e-5)
    assert other.subjects.unpaired == {}
    assert np.abs(other.model.closed_form.brain_mean[:6] - closed.brain_mean[:6]).max() > 1e-4


def test_kinds_made_of_series_are_fitted_on_them_too(cohort, tmp_path):
    shutil.copytree(cohort.parent, tmp_path / "c", ignore=shutil.ignore_patterns("store"))
    workspace = Workspace(tmp_path / "c" / "cohort.yaml", progress=False)
    side = ConnectomeSide(kind=("lag0", "coherence"), components=(6,), unpaired=True)
    workspace.ingest(side)  # the store is opened before the scans of people without a genome are in it
    rows = np.arange(100 - ALONE // 2)
    fitted, _ = workspace.brain_features(side, rows)
    assert {name.split("-")[0]: one.report["training_subjects"] for name, one in fitted.items()} == {
        "lag0": len(rows) + ALONE,
        "coherence": len(rows) + ALONE,
    }


def test_who_withdrew_or_is_not_listed_takes_no_part(cohort, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(cohort.parent, folder, ignore=shutil.ignore_patterns("store"))
    everybody = load_cohort(folder / "cohort.yaml").unpaired_scans
    assert len(everybody) == ALONE
    gone = everybody["participant_id"].tolist()[:2]
    (folder / "gone.txt").write_text("\n".join(gone) + "\n")
    with (folder / "cohort.yaml").open("a") as file:
        file.write("exclude: gone.txt\n")
    table = pd.read_csv(folder / "participants.tsv", sep="\t")
    table.iloc[:-3].to_csv(folder / "participants.tsv", sep="\t", index=False)
    left = load_cohort(folder / "cohort.yaml")
    assert len(left.unpaired_scans) == ALONE - 5
    assert not set(left.unpaired_scans["participant_id"]) & (set(gone) | set(left.table["participant_id"]))
    assert sorted(left.unpaired_scans["person"]) == list(range(ALONE - 5))


def test_relatives_of_people_with_both_take_no_part(cohort, tmp_path):
    """They might be relatives of test people; of those without a family nothing is known."""
    folder = tmp_path / "c"
    shutil.copytree(cohort.parent, folder, ignore=shutil.ignore_patterns("store"))
    table = pd.read_csv(folder / "participants.tsv", sep="\t")
    table["family_id"] = [f"F{row}" for row in range(len(table))]
    table.loc[table.index[-5:], "family_id"] = ["F0", "F0", "F1", "n/a", "n/a"]
    table.loc[0, "family_id"] = "n/a"
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    out = set(table["participant_id"].iloc[[-3]])  # F1; nobody with both is of F0 or of an unknown family's kin
    alone = set(load_cohort(folder / "cohort.yaml").unpaired_scans["participant_id"])
    assert alone == set(table["participant_id"].iloc[-ALONE:]) - out


def test_nobody_to_learn_from_is_said(cohort, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(cohort.parent, folder, ignore=shutil.ignore_patterns("store"))
    table = pd.read_csv(folder / "participants.tsv", sep="\t")
    table.iloc[:-ALONE].to_csv(folder / "participants.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match=r"brain\.unpaired=true: everybody .* who has scans has a genome too"):
        fit(folder / "cohort.yaml", tmp_path / "r")


def test_who_withdraws_later_is_told_of_the_run(cohort, run, tmp_path):
    place = tmp_path / cohort.parent.parent.name / "c"
    shutil.copytree(cohort.parent, place)
    moved = shutil.copytree(run, tmp_path / run.parent.name / "r")
    gone = sorted(load_cohort(place / "cohort.yaml").alone)[:2]
    (place / "gone.txt").write_text("\n".join(gone) + "\n")
    with pytest.raises(UserError, match="2 of these 2 people are still read"):
        tasks.forget(place / "gone.txt", cohort=place / "cohort.yaml", runs=[moved], dry_run=True)
    with (place / "cohort.yaml").open("a") as file:
        file.write("exclude: gone.txt\n")
    done = tasks.forget(place / "gone.txt", cohort=place / "cohort.yaml", runs=[moved], dry_run=True)
    assert "has learned from scans of 2 of them, who have no genome" in done["runs"][str(moved)]


def test_who_of_them_has_no_usable_scan_is_counted(cohort, tmp_path, caplog):
    place = tmp_path / "c"
    shutil.copytree(cohort.parent, place, ignore=shutil.ignore_patterns("store"))
    scans = pd.read_csv(place / "scans.tsv", sep="\t")
    for path in scans["path"][scans["participant_id"] == load_cohort(cohort).unpaired_scans["participant_id"].iloc[0]]:
        np.save(place / path, np.load(place / path)[:5])
    with caplog.at_level("INFO"):
        fit(place / "cohort.yaml", tmp_path / "r")
    assert f"fitted on {ALONE - 1} of {ALONE} people without a genome" in caplog.text


def test_vectors_of_scans_alone_help_where_the_signal_is_quiet(tmp_path):
    rng = np.random.default_rng(4)
    shared, ids = rng.normal(size=(1300, 4)), [f"p{i:04d}" for i in range(1300)]
    brains = 0.9 * shared @ np.linalg.qr(rng.normal(size=(150, 4)))[0].T * np.sqrt(3) + rng.normal(size=(1300, 150))
    genes = pd.DataFrame(shared[:240] + 0.3 * rng.normal(size=(240, 4)), index=ids[:240]).add_prefix("g")
    given = {
        "genes": genes,
        "brains": pd.DataFrame(brains, index=ids).add_prefix("b"),
        "participants": pd.DataFrame({"age": 40 + np.arange(1300) % 7}, index=ids),
        "alignment": AlignmentSettings(train="none"),
        "progress": False,
    }
    reached = {}
    for unpaired in (False, True):
        side = genebrain.VectorBrain(unpaired=unpaired)
        run = genebrain.fit(**given, brain=side, run=tmp_path / str(unpaired))
        judged = tasks.evaluate(run, comparisons=(), n_bootstrap=20, n_permutations=20, progress=False, findings=False)
        reached[unpaired] = judged["retrieval"]["mean"]["percentile_rank"]["value"]
    assert json.loads((run / "funnel.json").read_text())["unpaired"] == {"people_with_scans": 1060}
    seen = (run / "checkpoints" / "seen_scans.txt").read_text().split()
    assert len(seen) == 1060 + len(genebrain.load_run(run).split.training)
    assert reached[True] > reached[False] + 0.02, reached
    everybody = {**given, "brains": given["brains"].iloc[:240], "participants": given["participants"].iloc[:240]}
    with pytest.raises(UserError, match="nobody in the participants table"):
        genebrain.fit(**everybody, brain=genebrain.VectorBrain(unpaired=True), run=tmp_path / "nobody")
