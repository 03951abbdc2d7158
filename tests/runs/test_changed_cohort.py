"""A run whose cohort changed since: people gone or new are counted, the others read as before, changes are refused."""

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
from genebrain.runs.care.people import GONE, NEW, PEOPLE
from genebrain.sides.connectome import ConnectomeSide
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 2, "window_bp": 4000, "n_contigs": 2, "n_frames": 60, "n_parcels": 12, "n_genomewide": 50}
JUDGE = {"n_bootstrap": 20, "n_permutations": 20, "comparisons": ("ridge_cca",), "progress": False, "findings": False}
FIT = {"alignment": AlignmentSettings(train="none"), "brain": ConnectomeSide("lag0", components=("all",))}
KEPT_OUT = 4


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A cohort whose last people are not there yet, and its judged run."""
    folder = tmp_path_factory.mktemp("changed")
    cohort = simulate_cohort(folder / "c", n_subjects=48, seed=5, **SMALL, k=2, n_active=6)
    exclude(cohort, people(cohort)[-KEPT_OUT:])
    tasks.fit(cohort, run=folder / "run", progress=False, **FIT)
    tasks.evaluate(folder / "run", **JUDGE)
    return folder


@pytest.fixture
def place(base, tmp_path) -> Path:
    shutil.copytree(base, tmp_path / "all")
    return tmp_path / "all"


def people(cohort: Path) -> list[str]:
    return sorted(pd.read_csv(cohort.parent / "participants.tsv", sep="\t", dtype=str)["participant_id"])


def exclude(cohort: Path, ids: list[str]) -> None:
    settings = yaml.safe_load(cohort.read_text())
    (cohort.parent / "out.txt").write_text("# nobody\n" + "".join(f"{one}\n" for one in ids))
    cohort.write_text(yaml.safe_dump(settings | {"exclude": "out.txt"}))


def vectors(run: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = genebrain.load_run(run).vectors("all")
    return {name: pair for name, *pair in zip(found.ids, found.genome, found.brain, strict=True)}


def same(now: dict, before: dict) -> None:
    for name, pair in now.items():
        for new, old in zip(pair, before[name], strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-6, atol=1e-6)


def withdrawn(place: Path) -> list[str]:
    """One person of each part, the two of the test people."""
    split, ids = json.loads((place / "run/split.json").read_text()), genebrain.load_run(place / "run").ids("all")
    return [ids[row] for row in (split["train"][0], split["validation"][0], *split["test"][:2])]


@pytest.mark.parametrize("gone", [0, 4])
@pytest.mark.parametrize("new", [0, KEPT_OUT])
def test_people_gone_and_new_are_counted_and_the_others_read_as_before(place, gone, new):
    cohort, before, was = place / "c/cohort.yaml", vectors(place / "run"), genebrain.load_run(place / "run").metrics
    out = withdrawn(place)[:gone]
    exclude(cohort, [*out, *people(cohort)[len(people(cohort)) - KEPT_OUT + new :]])
    table = pd.read_csv(cohort.parent / "participants.tsv", sep="\t", dtype=str)
    table.sample(frac=1, random_state=1).to_csv(cohort.parent / "participants.tsv", sep="\t", index=False)
    now = vectors(place / "run")
    assert now.keys() == before.keys() - set(out)
    same(now, before)
    metrics = tasks.evaluate(place / "run", **JUDGE)
    assert metrics["n_subjects"] == was["n_subjects"] - max(0, gone - 2)
    if gone or new:
        assert (metrics["dropped"][GONE], metrics["dropped"][NEW]) == (gone, new)
    if not gone:
        assert metrics["retrieval"] == was["retrieval"]


def test_a_changed_cohort_at_another_place_is_still_the_run_s_own(place, tmp_path):
    cohort, before = place / "c/cohort.yaml", vectors(place / "run")
    exclude(cohort, withdrawn(place)[1:])
    shutil.move(place / "c", tmp_path / "moved")
    metrics = tasks.evaluate(place / "run", cohort=tmp_path / "moved/cohort.yaml", store=tmp_path / "s", **JUDGE)
    assert metrics["dropped"][GONE] == 3
    tasks.export(place / "run", tmp_path / "out", cohort=tmp_path / "moved/cohort.yaml", store=tmp_path / "s")
    table = pd.read_parquet(tmp_path / "out/genome.parquet").set_index("participant_id")
    assert set(table["split"]) == {"train", "validation", "test"}
    same({name: (row.to_numpy(np.float32),) for name, row in table.drop(columns="split").iterrows()},
         {name: pair[:1] for name, pair in before.items()})  # fmt: skip


def test_other_scans_or_genomes_of_the_same_people_are_refused(place):
    cohort = place / "c/cohort.yaml"
    exclude(cohort, withdrawn(place)[:1])
    scans = pd.read_csv(cohort.parent / "scans.tsv", sep="\t", dtype=str)
    file = cohort.parent / scans["path"].iloc[3]
    np.save(file, np.load(file)[::-1])
    with pytest.raises(UserError, match=r"the scans of 1 of 43 people of the cohort are not those that"):
        tasks.evaluate(place / "run", store=place / "other", **JUDGE)
    np.save(file, np.load(file)[::-1])
    table = pd.read_csv(cohort.parent / "participants.tsv", sep="\t", dtype=str)
    names = table["genotype_id"] if "genotype_id" in table else table["participant_id"]
    table["genotype_id"] = [names[1], names[0], *names[2:]]
    table.to_csv(cohort.parent / "participants.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match=r"the genomes of [12] of 4[34] people of the cohort are not those that"):
        tasks.evaluate(place / "run", **JUDGE)


def test_a_lost_window_is_told_whoever_left(place):
    windows = place / "c" / "windows.bed"
    windows.write_text("".join(windows.read_text().splitlines(keepends=True)[:1]))
    for gone in ([], people(place / "c/cohort.yaml")[:1]):
        exclude(place / "c/cohort.yaml", [*gone, *people(place / "c/cohort.yaml")[-KEPT_OUT:]])
        with pytest.raises(UserError, match="holds 1 windows, and the run was fitted on 2"):
            vectors(place / "run")


def test_marks_hold_no_id_and_are_the_owner_s(place):
    file = place / "run" / PEOPLE
    assert file.stat().st_mode & 0o077 == 0
    assert not any(name in file.read_text() for name in people(place / "c/cohort.yaml"))


def test_a_run_without_marks_is_read_as_before_and_refuses_another_state(place):
    run = place / "run"
    (run / PEOPLE).unlink()
    sums = json.loads((run / "checksums.json").read_text())
    del sums[PEOPLE.as_posix()]
    (run / "checksums.json").write_text(json.dumps(sums))
    before = vectors(run)
    assert before
    exclude(place / "c/cohort.yaml", people(place / "c/cohort.yaml")[:1])
    with pytest.raises(UserError, match="belongs to another cohort or an older state"):
        vectors(run)


def frames(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    ids = [f"p{i:03d}" for i in range(70)]
    hidden = rng.normal(size=(70, 3))
    genes = hidden @ rng.normal(size=(3, 12)) + rng.normal(size=(70, 12))
    brains = hidden @ rng.normal(size=(3, 9)) + rng.normal(size=(70, 9))
    names = [f"w{i // 4}:{i % 4}" for i in range(12)]
    return pd.DataFrame(genes, ids, names), pd.DataFrame(brains, ids, [f"b{i}" for i in range(9)])


@pytest.mark.parametrize("gone", [[], ["p003", "p011", "p059", "p069"]])
@pytest.mark.parametrize("last", [60, 70])
def test_rows_of_vectors_may_go_and_come(tmp_path, gone, last):
    """p060 to p069 have scans and no genome, which the scan side learns from; some of them get one later."""
    (genes, brains), files = frames(), (tmp_path / "genes.parquet", tmp_path / "brains.parquet")
    genes[:60].to_parquet(files[0])
    brains.to_parquet(files[1])
    listed = tmp_path / "people.tsv"
    listed.write_text("participant_id\n" + "\n".join(genes.index))
    side = genebrain.VectorBrain(components=(5,), unpaired=True)
    run = tasks.fit(
        genes=files[0], brains=files[1], participants=listed, brain=side, run=tmp_path / "run", progress=False,
        alignment=AlignmentSettings(train="none"),
    )  # fmt: skip
    before = vectors(run)
    genes[: last - 2].drop(gone, errors="ignore").sample(frac=1, random_state=1).to_parquet(files[0])
    brains.drop(gone).sample(frac=1, random_state=2).to_parquet(files[1])
    now = vectors(run)
    assert now.keys() == before.keys() - set(gone) - ({"p058", "p059"} if last == 60 else set())
    same(now, before)
    brains.loc["p005", "b3"] += 1
    brains.drop(gone).to_parquet(files[1])
    with pytest.raises(UserError, match="the scans of 1 of "):
        vectors(run)


def test_other_people_under_the_same_ids_are_a_second_cohort(tmp_path):
    for name, seed, n in (("a", 0, 60), ("b", 1, 70)):  # the last of a have no genome
        genes, brains = frames(seed)
        genes[:n].to_parquet(tmp_path / f"genes-{name}.parquet")
        brains.to_parquet(tmp_path / f"brains-{name}.parquet")
    (tmp_path / "people.tsv").write_text("participant_id\n" + "\n".join(genes.index))
    run = tasks.fit(
        genes=tmp_path / "genes-a.parquet", brains=tmp_path / "brains-a.parquet", participants=tmp_path / "people.tsv",
        run=tmp_path / "run", progress=False, alignment=AlignmentSettings(train="none"),
        brain=genebrain.VectorBrain(components=(5,), unpaired=True),
    )  # fmt: skip
    second = tmp_path / "cohort.yaml"
    second.write_text("gene_vectors: genes-b.parquet\nbrain_vectors: brains-b.parquet\n")
    with pytest.raises(UserError, match="is not the cohort of"):
        tasks.evaluate(run, cohort=second, **JUDGE)
    assert tasks.evaluate(run, cohort=second, out=tmp_path / "out", **JUDGE)["n_subjects"] == 70
