"""A fitted model on people of a second cohort, of which nothing is learned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import genebrain
from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.common.types import UserError
from genebrain.runs.fit import Experiment, load_fit
from genebrain.runs.transfer import load_elsewhere, refuse_others
from genebrain.sides.compact import compact, in_bases, place_bases
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 150, "n_parcels": 30, "n_genomewide": 200}
CLOSED = AlignmentSettings(train="none")
JUDGE = {"n_bootstrap": 40, "n_permutations": 40, "progress": False}


def part(source: Path, folder: Path, leave_out: list[str], **changes) -> Path:
    """A cohort of some of the people of another, with files of its own."""
    shutil.copytree(source.parent, folder, ignore=shutil.ignore_patterns("store"))
    (folder / "leave_out.txt").write_text("\n".join(leave_out))
    content = yaml.safe_load((folder / "cohort.yaml").read_text())
    content |= {"exclude": "leave_out.txt", "name": folder.name, **changes}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(content))
    return folder / "cohort.yaml"


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory) -> tuple[Path, Path]:
    """Two cohorts of other people and the same causal truth."""
    folder = tmp_path_factory.mktemp("cohorts")
    both = simulate_cohort(folder / "both", n_subjects=300, seed=5, **SMALL)
    table = pd.read_csv(folder / "both" / "participants.tsv", sep="\t", dtype=str)
    families = sorted(set(table["family_id"])) if "family_id" in table else []
    half = set(families[: len(families) * 2 // 3]) if families else set()
    first = table["family_id"].isin(half) if families else table.index < 200
    ids = table["participant_id"]
    return part(both, folder / "A", list(ids[~first])), part(both, folder / "B", list(ids[first]))


@pytest.fixture(scope="module")
def run(cohorts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    tasks.fit(cohorts[0], run=folder, alignment=CLOSED, progress=False)
    tasks.evaluate(folder, comparisons=(), **JUDGE)
    return folder


def experiment_of(run: Path) -> Experiment:
    return genebrain.load_run(run).experiment


def test_coordinates_of_a_place_are_those_of_the_encoder_in_its_bases():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(20, 16)).astype(np.float32)
    index = rng.integers(0, 6, size=(30, 2, 2, 3)).astype(np.int32)
    index[:, :, 1] += 7
    index[0, 0, 0, 2] = -1
    bases = place_bases(table, index)
    for narrow, renumbered in (compact(table, index), in_bases(table, index, bases)):
        for person, copy, window, chunk in [(3, 1, 0, 0), (7, 0, 1, 2)]:
            back = bases[window * 3 + chunk] @ narrow[renumbered[person, copy, window, chunk]]
            assert np.allclose(back, table[index[person, copy, window, chunk]], atol=1e-5)
        assert renumbered[0, 0, 0, 2] == -1
    # Somebody else's chunk at this place: what lies in the span stays, the rest is dropped.
    stranger = table[index[0, 0, 0, 0]] + table[index[1, 0, 0, 0]]
    other = np.concatenate([table, stranger[None]])
    moved = index.copy()
    moved[5, 0, 0, 0] = 20
    narrow, renumbered = in_bases(other, moved, bases)
    assert np.allclose(bases[0] @ narrow[renumbered[5, 0, 0, 0]], stranger, atol=1e-5)


def test_the_same_people_have_the_same_vectors_whoever_is_beside_them(cohorts, run, tmp_path):
    """The test people of A, read as a cohort of their own by the files of the run alone."""
    opened = genebrain.load_run(run)
    inside = opened.vectors("test")
    others = [one for one in opened.ids("all") if one not in inside.ids]
    left_out = (cohorts[0].parent / "leave_out.txt").read_text().split()
    alone = part(cohorts[0], tmp_path / "alone", [*left_out, *others])
    fitted, subjects = load_elsewhere(run, opened.experiment, Workspace(alone, progress=False))
    vectors = fitted.vectors(subjects, np.arange(len(inside.ids)))
    for now, before in zip(vectors, (inside.genome, inside.brain), strict=True):
        assert np.abs(now - before).max() < 1e-6 * np.abs(before).max()


def test_a_second_cohort_is_judged_without_the_first(cohorts, run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    config = (copied / "config.yaml").read_text().replace(str(cohorts[0].parent), str(tmp_path / "gone"))
    (copied / "config.yaml").write_text(config)
    before = {file: file.read_bytes() for file in copied.rglob("*") if file.is_file()}
    metrics = tasks.evaluate(copied, cohort=cohorts[1], out=tmp_path / "b", **JUDGE)
    recall = metrics["retrieval"]["mean"]["recall@1"]
    first = genebrain.load_run(run).metrics["retrieval"]["mean"]["recall@1"]
    assert recall["value"] > 10 * metrics["chance"]["recall@1"]
    error = np.hypot(*((one["ci"][1] - one["ci"][0]) / 3.92 for one in (recall, first)))
    assert abs(recall["value"] - first["value"]) < 3 * error
    assert metrics["permutation"]["p_free"] < 0.05
    assert metrics["baselines"]["confound_only"]["recall@1"]["value"] < recall["value"]
    assert "Second cohort, B" in metrics["verdict"]
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["n_subjects"] == metrics["n_subjects"]
    assert (tmp_path / "b" / "figures").is_dir()
    assert "Second cohort, B" in tasks.report(tmp_path / "b").read_text()
    assert before == {file: file.read_bytes() for file in copied.rglob("*") if file.is_file()}, "the run stays as it is"


def test_a_second_cohort_with_exchanged_scans_is_at_chance(cohorts, run, tmp_path):
    exchanged = part(cohorts[1], tmp_path / "X", (cohorts[1].parent / "leave_out.txt").read_text().split())
    scans = pd.read_csv(exchanged.parent / "scans.tsv", sep="\t", dtype=str)
    kept = ~scans["participant_id"].isin((exchanged.parent / "leave_out.txt").read_text().split())
    people = scans.loc[kept, "participant_id"].unique()
    turned = dict(zip(people, np.roll(people, 7), strict=True))
    scans.loc[kept, "participant_id"] = scans.loc[kept, "participant_id"].map(turned)
    scans.to_csv(exchanged.parent / "scans.tsv", sep="\t", index=False)
    metrics = tasks.evaluate(run, cohort=exchanged, out=tmp_path / "x", **JUDGE)
    assert metrics["retrieval"]["mean"]["recall@1"]["value"] < 5 * metrics["chance"]["recall@1"]
    assert metrics["permutation"]["p_free"] > 0.01


def test_people_that_were_learned_from_are_refused(cohorts, run, tmp_path):
    everybody = part(cohorts[0], tmp_path / "both", [])
    with pytest.raises(UserError, match=r"of cohort both were seen when .* was trained"):
        tasks.evaluate(run, cohort=everybody, out=tmp_path / "b", **JUDGE)
    assert not (tmp_path / "b").exists()


def test_another_build_other_windows_and_another_atlas_are_refused_together(cohorts, run, tmp_path):
    left_out = (cohorts[1].parent / "leave_out.txt").read_text().split()
    other = part(cohorts[1], tmp_path / "W", left_out)
    windows = yaml.safe_load(other.read_text())["windows"]
    lines = (other.parent / windows).read_text().splitlines()
    (other.parent / windows).write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match=r"does not fit cohort W; other windows .*: 4 and 3, 3 the same; other letters"):
        tasks.evaluate(run, cohort=other, out=tmp_path / "b", **JUDGE)


def test_the_run_s_own_cohort_may_have_moved(cohorts, run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(cohorts[0].parent, moved, ignore=shutil.ignore_patterns("store"))
    before = genebrain.load_run(run).metrics
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    again = tasks.evaluate(copied, cohort=moved / "cohort.yaml", comparisons=(), **JUDGE)
    assert again["retrieval"] == before["retrieval"]
    assert genebrain.load_run(copied, cohort=moved / "cohort.yaml").vectors().ids == genebrain.load_run(run).ids()
    with pytest.raises(UserError, match="leave out= away"):
        tasks.evaluate(copied, cohort=moved / "cohort.yaml", out=tmp_path / "o", **JUDGE)
    with pytest.raises(UserError, match="name a folder"):
        tasks.evaluate(copied, cohort=cohorts[1], **JUDGE)


def test_an_emptied_store_says_which_command_fills_it(cohorts, run, tmp_path):
    shutil.copytree(cohorts[0].parent, tmp_path / "c")
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "checksums.json").unlink()  # as before there were any
    config = yaml.safe_load((copied / "config.yaml").read_text())
    config |= {"cohort": str(tmp_path / "c" / "cohort.yaml"), "store": str(tmp_path / "c" / "store")}
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.rmtree(tmp_path / "c" / "store" / "chunks")
    with pytest.raises(UserError, match=r"fill it with: genebrain embed cohort\.path="):
        tasks.evaluate(copied, **JUDGE)


def test_runs_of_older_versions_say_what_to_do(cohorts, run, tmp_path):
    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "old" / "checkpoints" / "coordinates.json").unlink()
    (tmp_path / "old" / "checksums.json").unlink()
    with pytest.raises(UserError, match="fitted by an older version"):
        tasks.evaluate(tmp_path / "old", cohort=cohorts[1], out=tmp_path / "b", **JUDGE)


def test_vectors_of_a_second_cohort(tmp_path):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 30))

    def people(n: int, name: str, brain_columns: int = 30) -> dict:
        shared = rng.normal(size=(n, 4))
        ids = [f"{name}{i}" for i in range(n)]
        brain = shared @ mixing + 0.5 * rng.normal(size=(n, 30))
        genes = np.c_[shared, rng.normal(size=(n, 4))]
        return {
            "genes": pd.DataFrame(genes, index=ids, columns=[f"g{i}:0" for i in range(8)]),
            "brains": pd.DataFrame(brain[:, :brain_columns], index=ids).add_prefix("b"),
        }

    first, second = people(200, "a"), people(100, "b")
    run = genebrain.fit(**first, run=tmp_path / "r", alignment=CLOSED, progress=False)
    other = genebrain.fit(**second, run=tmp_path / "s", alignment=CLOSED, progress=False) / "cohort" / "cohort.yaml"
    metrics = tasks.evaluate(run, cohort=other, out=tmp_path / "b", **JUDGE)
    assert metrics["n_subjects"] == 100
    assert metrics["retrieval"]["mean"]["recall@1"]["value"] > 20 * metrics["chance"]["recall@1"]
    # The same without a cohort: vectors of new people, one side at a time.
    opened = genebrain.load_run(run)
    genome, brain = opened.embed_genomes(second["genes"]), opened.embed_scans(second["brains"])
    rank = (genome.to_numpy() @ brain.to_numpy().T).argmax(axis=1)
    assert np.mean(rank == np.arange(100)) > 0.3
    alone = opened.embed_genomes(second["genes"].iloc[[5]])
    assert np.allclose(alone.to_numpy(), genome.iloc[[5]].to_numpy(), atol=1e-6)
    assert alone.index.tolist() == ["b5"]
    inside = opened.vectors("test")
    again = opened.embed_scans(first["brains"].loc[inside.ids])
    assert np.allclose(again.to_numpy(), inside.brain, atol=1e-6)
    with pytest.raises(UserError, match=r"7 columns were given.* 8 columns"):
        opened.embed_genomes(second["genes"].iloc[:, :7])
    with pytest.raises(UserError, match=r"29 columns were given.* 30 columns"):
        opened.embed_scans(second["brains"].iloc[:, :29])
    # People that were learned from, and other columns, are refused.
    mixed = {side: pd.concat([second[side], first[side]]) for side in second}
    both = genebrain.fit(**mixed, run=tmp_path / "m", alignment=CLOSED, progress=False) / "cohort" / "cohort.yaml"
    with pytest.raises(UserError, match=r"133 of 300 people of cohort .* were learned from"):
        tasks.evaluate(run, cohort=both, out=tmp_path / "c", **JUDGE)
    narrow = (
        genebrain.fit(**people(100, "c", brain_columns=29), run=tmp_path / "n", alignment=CLOSED, progress=False)
        / "cohort"
        / "cohort.yaml"
    )
    with pytest.raises(UserError, match="other columns of the brain vectors: 30 and 29"):
        tasks.evaluate(run, cohort=narrow, out=tmp_path / "d", **JUDGE)


def test_load_fit_still_reads_the_run(run):
    opened = genebrain.load_run(run)
    assert load_fit(run, opened.experiment, opened.workspace)[0].kept == "closed_form"


def test_another_atlas_is_refused_with_both_checksums(tmp_path):
    wanted, found = {"atlas": "0123456789ab", "time_step": 0.7}, {"atlas": "ba9876543210", "time_step": 2.0}
    said = r"other atlas: checksums 01234567 and ba987654; other seconds between two frames: 0\.7 and 2$"
    with pytest.raises(UserError, match=said):
        refuse_others(wanted, found, tmp_path, "B")
