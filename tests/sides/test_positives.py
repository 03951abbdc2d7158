"""Scans of one person as positives: what training reads, what it must not touch, and when it is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genebrain import config, tasks
from genebrain.alignment import train as training
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings, TrainerSettings
from genebrain.brain.connectome.features import moments_from_store
from genebrain.brain.store.store import ScanStore
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import UserError
from genebrain.runs import recipe
from genebrain.runs.fit import Experiment, gather_subjects
from genebrain.runs.recipe import fit_alignment
from genebrain.sides.connectome import ConnectomeSide, person_scans
from genebrain.sides.genome import GeneSide
from genebrain.sides.pairs import PairedDataModule
from genebrain.sides.people import Subjects
from genebrain.sides.pooling import GenePooling
from genebrain.sides.scans import EncoderSide
from genebrain.sides.single_scans import SingleScans
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from genebrain.training.sampling import EpochBatches
from tests.broken_fit import whole_and_broken

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 60, "n_parcels": 80, "n_genomewide": 60}
CONNECTOME = ConnectomeSide(kind="innovation", components=(5,))
ENCODER = EncoderSide("brainlm_vit", components=(4,))
TEXTBOOK = AlignmentSettings(start="random", train="full", score="cosine", projector=ProjectorSettings(hidden=16))
SHORT = TrainerSettings(max_epochs=2, patience=2, accelerator="cpu", loggers=())
TRAIN, VALIDATION = np.arange(30), np.arange(30, 40)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Two scans of everybody, but for person 3, who has one."""
    path = simulate_cohort(tmp_path_factory.mktemp("c") / "c", n_subjects=60, seed=5, tier="two_session", **SMALL)
    table = path.parent / "scans.tsv"
    scans = pd.read_csv(table, sep="\t", dtype=str)
    of_third = scans.index[scans["participant_id"] == scans["participant_id"].unique()[3]]
    scans.drop(of_third[1:]).to_csv(table, sep="\t", index=False)
    return path


@pytest.fixture(scope="module")
def workspace(cohort) -> Workspace:
    return Workspace(cohort, progress=False)


def gathered(workspace: Workspace, side: ConnectomeSide | EncoderSide) -> tuple[Subjects, Subjects]:
    """Inputs of a fit on people, and on scans of the first forty."""
    workspace.ingest(side)
    made = Experiment(GeneSide(), side, GenePooling(), TEXTBOOK, SHORT, SplitSettings())
    rows = np.concatenate([TRAIN, VALIDATION])
    workspace.embed(GeneSide(), training=rows)
    people = gather_subjects(made, workspace, rows)
    return people, replace(people, scans=workspace.single_scans(side, rows))


@pytest.mark.parametrize("side", [CONNECTOME, ENCODER], ids=["connectome", "encoder"])
def test_rows_of_training_are_the_scans_of_training_people(workspace, side):
    people, scans = gathered(workspace, side)
    found = scans.scans
    lone = int(np.flatnonzero(np.bincount(workspace.cohort.scans["person"]) == 1)[0])
    expected = [row for row in range(40) if row != lone for _ in range(2)]
    assert found.person.tolist() == expected, "nobody of the test people, nobody with one scan"
    rows = scans.training_rows(TRAIN)
    in_training = [row for row in expected if row < 30]
    n_lone = int(lone < 30)
    assert len(rows) == len(in_training) + n_lone
    assert set(rows[rows < 60]) == ({lone} if n_lone else set())
    (name,) = found.brain
    if side is ENCODER:
        # A person's embedding is the mean over scans, and standardising then rotating is affine.
        for row in (0, 8):
            own = found.brain[name][found.person == row]
            np.testing.assert_allclose(own.mean(axis=0), people.brain[name][row], rtol=1e-3, atol=1e-4)
            assert not np.allclose(own[0], own[1], atol=1e-2)
    else:
        store = ScanStore(side.folder(workspace.store))
        key = person_scans(workspace.cohort, store)[8][1]
        fitted, _ = workspace.brain_features(side, np.arange(40))
        one = fitted[name].transform(*moments_from_store(store, [key]))
        np.testing.assert_array_equal(found.brain[name][found.person == 8][1:], one)
    assert people.training_rows(TRAIN) is TRAIN


def test_a_batch_of_scans_repeats_the_genome_of_the_person(workspace):
    people, scans = gathered(workspace, CONNECTOME)
    none = AlignmentSettings(train="none")
    closed = fit_alignment(people, TRAIN, VALIDATION, none, SHORT, Path()).closed_form
    data = PairedDataModule(scans.pairs(closed), scans.training_rows(TRAIN), VALIDATION, strata=np.arange(60) % 2)
    for batch in data.train_dataloader():
        genome = batch["genome_id"].numpy()
        assert len(set(genome % 2)) == 1, "strata are those of the person"
        place = [int(np.flatnonzero(people.genome == g)[0]) for g in genome]
        torch.testing.assert_close(batch["gene"], people.gene_input(closed)[place], rtol=0, atol=0)
    whole = PairedDataModule(scans.pairs(closed), scans.training_rows(TRAIN), VALIDATION)
    (batch,) = whole.train_dataloader()
    assert sorted(np.unique(batch["genome_id"].numpy(), return_counts=True)[1])[-1] == 2
    (judged,) = whole.val_dataloader()
    (before,) = PairedDataModule(people.pairs(closed), TRAIN, VALIDATION).val_dataloader()
    for one, value in before.items():
        torch.testing.assert_close(judged[one], value, rtol=0, atol=0)


def test_both_scans_of_a_person_are_positives_of_the_genome(workspace):
    """The loss of a training batch, every term written out from the people's row numbers."""
    people, scans = gathered(workspace, CONNECTOME)
    none = AlignmentSettings(train="none")
    closed = fit_alignment(people, TRAIN, VALIDATION, none, SHORT, Path()).closed_form
    rows = scans.training_rows(TRAIN)[-16:]
    batch = scans.pairs(closed)[rows.tolist()]
    person = scans.scans.person[rows - 60]
    assert len(rows) == 2 * len(set(person))
    towers = scans.start_towers(TEXTBOOK, closed, TRAIN)
    gene, brain = (
        side.detach() for side in (towers.gene_tower.eval()(batch["gene"]), towers.brain_tower.eval()(batch["brain"]))
    )
    scores = 3.0 * (gene @ brain.T).double().numpy()

    def one_way(s: np.ndarray) -> float:
        terms = []
        for i in range(16):
            first, second = np.flatnonzero(person == person[i])
            terms.append(np.log(np.exp(s[i]).sum()) - (s[i, first] + s[i, second]) / 2)
        return float(np.mean(terms))

    loss = TEXTBOOK.build_loss()(gene, brain, torch.tensor([math.log(3.0)]), batch["genome_id"], batch["family_id"])
    assert float(loss) == pytest.approx((one_way(scores) + one_way(scores.T)) / 2, rel=1e-5)


@pytest.mark.parametrize("side", [CONNECTOME, ENCODER], ids=["connectome", "encoder"])
def test_a_fit_on_scans_leaves_closed_form_and_judge_on_people(cohort, tmp_path, side):
    judge = {"gallery_size": 8, "n_bootstrap": 20, "n_permutations": 20, "comparisons": (), "progress": False}
    runs, found = {}, {}
    for positives in ("people", "scans"):
        runs[positives] = tasks.fit(
            cohort, run=tmp_path / positives, brain=replace(side, positives=positives), alignment=TEXTBOOK,
            trainer=SHORT, progress=False,
        )  # fmt: skip
        found[positives] = tasks.evaluate(runs[positives], **judge)
    for name in ("closed_form.safetensors", "brain_features.safetensors"):
        one, other = ((runs[p] / "checkpoints" / name).read_bytes() for p in ("people", "scans"))
        assert one == other, name
    one, other = ((runs[p] / "checkpoints" / "towers.safetensors").read_bytes() for p in ("people", "scans"))
    assert one != other, "training saw other rows"
    assert found["people"]["n_subjects"] == found["scans"]["n_subjects"] == 20
    arms = [found[p]["model"]["arms"]["closed_form"] for p in ("people", "scans")]
    assert arms[0] == arms[1]
    counts = json.loads((runs["scans"] / "funnel.json").read_text())["training_rows"]
    assert counts["scans"] == 2 * counts["people_scan_by_scan"] >= 2 * (counts["people"] - 1)
    assert "training_rows" not in (runs["people"] / "funnel.json").read_text()


def test_the_refit_reads_scans_of_validation_people_too(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    genes = rng.normal(size=(150, 4)).astype(np.float32)
    brain = (genes @ rng.normal(size=(4, 6)) + rng.normal(size=(150, 6))).astype(np.float32)
    person = np.repeat(np.arange(100, 120), 2)
    noise = rng.normal(size=(40, 6)).astype(np.float32)
    scans = SingleScans(person, {"embedding": brain[person] + noise})
    subjects = Subjects([genes], {"embedding": brain}, np.arange(150), np.arange(150), scans=scans)
    seen, train = [], training.train

    def recorded(module, data, *rest, **more):
        seen.append((data.train_rows, data.validation_rows))
        return train(module, data, *rest, **more)

    monkeypatch.setattr(training, "train", recorded)
    approve = recipe._approve
    monkeypatch.setattr(recipe, "_approve", lambda *given: {**approve(*given), "approved": True})
    rows = np.arange(140)
    fitted = fit_alignment(subjects, rows[:110], rows[110:], AlignmentSettings(), SHORT, tmp_path, progress=False)
    assert fitted.kept == "trained"
    (first, judged), (again, nobody) = seen
    assert first.tolist() == [*range(100), *range(150, 170)]
    assert judged.tolist() == list(range(110, 140))
    assert again.tolist() == [*range(100), *range(120, 140), *range(150, 190)]
    assert len(nobody) == 0


def test_a_fit_on_scans_that_is_broken_off_ends_with_the_same_bytes(cohort, tmp_path):
    options = {
        "brain": replace(CONNECTOME, positives="scans"), "alignment": TEXTBOOK, "progress": False,
        "trainer": replace(SHORT, max_epochs=4, patience=4, batch_size=32),
    }  # fmt: skip
    undisturbed, resumed = whole_and_broken(cohort, tmp_path, **options)
    whole, broken = (folder / "towers.safetensors" for folder in (undisturbed, resumed))
    assert whole.read_bytes() == broken.read_bytes()


def test_one_scan_of_everybody_gives_the_same_bytes_and_says_so(tmp_path, capsys):
    cohort = simulate_cohort(tmp_path / "c", n_subjects=60, seed=5, **SMALL)
    for train in ("full", "none"):
        runs = [
            tasks.fit(
                cohort, run=tmp_path / f"{train}-{positives}", brain=replace(CONNECTOME, positives=positives),
                alignment=replace(TEXTBOOK, train=train, start="random" if train == "full" else "closed_form"),
                trainer=SHORT, progress=False,
            )
            for positives in ("people", "scans")
        ]  # fmt: skip
        said = capsys.readouterr().err
        assert ("no training person has several scans" if train == "full" else "no towers are trained") in said
        tensors = [{p.name: p.read_bytes() for p in (run / "checkpoints").glob("*.safetensors")} for run in runs]
        assert tensors[0] == tensors[1]
        assert ("towers.safetensors" in tensors[0]) == (train == "full")


def test_batches_count_people_where_they_have_several_rows():
    # Person 0 has rows 0 to 2 and is alone in stratum 0; persons 1 to 8 have two rows each.
    person = np.repeat(np.arange(9), [3, *[2] * 8])
    strata = np.where(person == 0, 0, 1)
    sampler = EpochBatches(np.arange(19), 6, 0, strata, person=person)
    assert sampler.n_left_out == 1
    assert set(np.concatenate(list(sampler))) == set(range(3, 19))
    with pytest.raises(UserError, match=r"batch_size=3: one person has 3 scans.*at least 4"):
        EpochBatches(np.arange(19), 3, 0, person=person)
    with pytest.raises(UserError, match="holds no negatives"):
        EpochBatches(np.arange(4), 4, 0, person=np.zeros(4, np.int64))
    alone = EpochBatches(np.arange(19), 6, 0, strata, person=person)
    ranks = [EpochBatches(np.arange(19), 6, 0, strata, rank=r, world_size=2, person=person) for r in range(2)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert np.concatenate(parts).tolist() == whole[: 2 * (len(whole) // 2)]
        assert len(set(person[np.concatenate(parts)])) > 1


def test_rows_of_single_scans_stand_behind_all_people():
    scans = SingleScans(np.array([1, 1, 4, 4, 4]), {})
    assert scans.rows(np.array([0, 1, 3]), 10).tolist() == [0, 3, 10, 11]
    assert scans.counted(np.array([0, 1, 3])) == {"people": 3, "people_scan_by_scan": 1, "scans": 2}


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match=r"positives=scans with brain.tuning=lora.*tuning=frozen"):
        EncoderSide("brainlm", positives="scans", tuning="lora")
    with pytest.raises(UserError, match=r"positives=scans with brain.aggregate=attention.*aggregate=mean or motion"):
        EncoderSide("brainlm", positives="scans", aggregate="attention")
    for make in (ConnectomeSide, EncoderSide):
        with pytest.raises(UserError, match="positives=visits is none of people, scans"):
            make(positives="visits")
    built = config.build(config.compose("fit", ["cohort.path=x", "brain.positives=scans"]))
    assert built["brain"].positives == "scans"
