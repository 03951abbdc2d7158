"""Runs that read genes under masks: what they keep, what they say, and runs from before that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import genebrain
from genebrain import tasks
from genebrain.alignment.closed_form.column_sets import GeneBlocks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.common.types import UserError
from genebrain.evaluation.verdict import verdict
from genebrain.runs.transfer import load_elsewhere
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genes.elsewhere import saved_alleles
from genebrain.sides.genome import GeneSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 150, "n_parcels": 30, "n_genomewide": 200}
CLOSED = AlignmentSettings(train="none")
LAG0 = ConnectomeSide("lag0")
JUDGE = {"n_bootstrap": 40, "n_permutations": 40, "progress": False}

AT_CHANCE = {"recall@1": {"value": 0.02, "ci": [0.0, 0.05]}}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "c", n_subjects=150, seed=7, **SMALL)


@pytest.fixture(scope="module")
def run(cohort: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "both"
    tasks.fit(cohort, run=folder, brain=LAG0, alignment=CLOSED, progress=False)
    tasks.evaluate(folder, comparisons=("confound_only", "dosage", "best_gene_reading"), **JUDGE)
    tasks.report(folder)
    return folder


def test_both_families_stand_beside_the_model(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    arms, baselines = metrics["model"]["arms"], metrics["baselines"]
    assert {"embeddings_alone", "dosages_alone"} <= set(arms)
    assert baselines["dosage"] == arms["dosages_alone"], "the same model, not fitted again"
    assert baselines["best_gene_reading"]["recall@1"]["value"] > metrics["retrieval"]["mean"]["recall@1"]["value"]
    readings = metrics["gene_readings"]
    assert [one["family"] for one in readings["sets"]] == ["dosages"] * 4 + ["embeddings"] * 2
    assert set(readings["alone"]) == {"dosages", "embeddings"}
    assert readings["stack"] == metrics["model"]["chosen"]["recall@1"]
    page = (run / "report.html").read_text()
    assert "Gene readings:" in page
    assert "allele counts, alleles from 1.00% of training people on" in page
    assert "of training people on, heterozygotes against the middle of both homozygotes" in page
    assert "all rare alleles of a window together" in page
    judged = {**metrics, "baselines": {**metrics["baselines"], "confound_only": AT_CHANCE}}
    assert "The model reads both: vectors of the DNA model alone reach ." in verdict(judged)


def test_the_alleles_of_a_run_are_counts_of_training_people_in_a_private_file(run: Path) -> None:
    path = run / "checkpoints" / "alleles.json"
    assert path.stat().st_mode & 0o077 == 0
    people = genebrain.load_run(run)
    training = len(people.split.training)
    alleles = [a for window in saved_alleles(run / "checkpoints") for a in window]
    assert alleles
    assert all(5 <= a.copies <= a.known <= 2 * training for a in alleles)


def test_people_elsewhere_are_read_under_the_mask_of_the_run(run: Path, cohort: Path, tmp_path: Path) -> None:
    """The same files as another cohort: everybody gets the columns that the run gave them."""
    here = genebrain.load_run(run)
    experiment = here.experiment
    content = yaml.safe_load(cohort.read_text())
    learned = set(here.ids("all")) - set(here.ids("test"))
    (cohort.parent / "learned.txt").write_text("\n".join(learned))
    path = cohort.parent / "elsewhere.yaml"
    path.write_text(yaml.safe_dump(content | {"exclude": "learned.txt", "name": "elsewhere"}))
    workspace = Workspace(path, tmp_path / "store", progress=False)
    fitted, subjects = load_elsewhere(run, experiment, workspace)
    assert isinstance(subjects.blocks, GeneBlocks)
    order = [here.ids("test").index(one) for one in workspace.cohort.table["participant_id"].astype(str)]
    there = fitted.vectors(subjects, np.arange(len(order)))[0]
    np.testing.assert_allclose(there, here.vectors("test").genome[order], atol=2e-3)


def test_validation_people_are_judged_under_the_mask_of_the_train_people(run: Path) -> None:
    metrics = tasks.evaluate(run, split="validation", gallery_size=8, comparisons=(), **JUDGE)
    assert metrics["fitted_on"]["parts"] == "train"
    assert metrics["gene_readings"] is not None


def test_a_run_from_before_reads_all_alleles(cohort: Path, tmp_path: Path) -> None:
    """Its settings do not name the new options."""
    before = GeneSide(columns="embeddings", rare_below=0)
    tasks.fit(cohort, run=tmp_path / "old", genetics=before, alignment=CLOSED, progress=False)
    path = tmp_path / "old" / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    del stored["experiment"]["genetics"]["columns"], stored["experiment"]["genetics"]["rare_below"]
    path.write_text(yaml.safe_dump(stored))
    (tmp_path / "old" / "checksums.json").unlink(missing_ok=True)
    opened = genebrain.load_run(tmp_path / "old")
    assert opened.experiment.genetics == before
    assert isinstance(opened.subjects.blocks, list)
    assert "genes" not in opened.model.closed_form.chosen
    metrics = tasks.evaluate(tmp_path / "old", comparisons=(), **JUDGE)
    assert metrics["gene_readings"] is None
    assert set(metrics["model"]["arms"]) == {"closed_form"}


def test_dosages_alone_are_fitted_and_judged(cohort: Path, tmp_path: Path) -> None:
    gene = GeneSide(columns="dosages")
    tasks.fit(cohort, run=tmp_path / "d", genetics=gene, alignment=CLOSED, store=tmp_path / "store", progress=False)
    metrics = tasks.evaluate(tmp_path / "d", comparisons=(), **JUDGE)
    assert {one["family"] for one in metrics["gene_readings"]["sets"]} == {"dosages"}
    assert metrics["retrieval"]["mean"]["recall@1"]["value"] > 3 * metrics["chance"]["recall@1"]
    assert not (tmp_path / "store" / "chunks").exists()


def test_other_variants_are_refused_in_one_sentence(run: Path, cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    windows = [[[1, "A", "C", 20, 20, 40]] for _ in saved_alleles(run / "checkpoints")]
    (folder / "alleles.json").write_text(json.dumps({"windows": windows}))
    from genebrain.sides.genes.elsewhere import genes_elsewhere

    gene = GeneSide(columns="dosages")
    with pytest.raises(UserError, match="none of the 4 alleles that the model reads is in the genotypes"):
        genes_elsewhere(gene, genebrain.GenePooling(), Workspace(cohort, tmp_path / "s", progress=False), folder)
