"""Runs that read words of the sequence beside the alleles: told, kept, and read for people of a genotype file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genebrain
from genebrain import tasks
from genebrain.alignment.closed_form.motifs import members
from genebrain.alignment.closed_form.motifs.pursuit import PursuitSettings
from genebrain.alignment.settings import AlignmentSettings
from genebrain.sides.genome import GeneSide
from genebrain.simulation.cohort import simulate_cohort
from tests.runs.test_transfer import SMALL


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "A", n_subjects=120, seed=23, **SMALL)


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    """Any word is taken, and approved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "APPROVAL_ERRORS", -1e9)
        patch.setattr(members, "PursuitSettings", lambda: PursuitSettings(most=2, seeds=2, least=0.9))
        run = tasks.fit(
            cohort, run=tmp_path_factory.mktemp("runs") / "a", alignment=AlignmentSettings(train="none"),
            genetics=GeneSide(columns="dosages+motifs"), progress=False,
        )  # fmt: skip
    tasks.evaluate(run, n_bootstrap=40, n_permutations=40, comparisons=("ridge_cca",), progress=False)
    return run


def test_words_are_in_the_metrics_and_on_the_page(run):
    metrics = json.loads((run / "metrics.json").read_text())
    words = metrics["model"]["chosen"]["motifs"]
    assert words["found"] == len(words["words"]) == 2
    table = pd.read_csv(run / "findings" / "words.tsv", sep="\t")
    assert set(table["word"]) == set(words["words"])
    assert {"r", "q", "n_places", "places"} <= set(table)
    assert metrics["findings"]["words"]["n"] == 2
    assert metrics["findings"]["genes"]["n"] == len(pd.read_csv(run / "findings" / "genes.tsv", sep="\t"))
    page = tasks.report(run).read_text()
    assert all(f'<th scope="row">{word}</th>' in page for word in words["words"])


def test_a_person_alone_has_the_vectors_of_the_same_person_in_the_cohort(cohort, run):
    opened = genebrain.load_run(run)
    inside = opened.vectors("all")
    samples = opened.cohort.table.set_index("participant_id").loc[inside.ids[:3], "genotype_id"].tolist()
    found = opened.embed_genomes(cohort.parent / "genotypes.vcf.gz", ids=samples)
    assert np.abs(found.to_numpy() - inside.genome[:3]).max() < 1e-6 * np.abs(inside.genome).max()
    again = opened.embed_genomes(cohort)
    assert np.abs(again.to_numpy() - inside.genome).max() < 1e-6 * np.abs(inside.genome).max()


def test_without_approval_no_word_is_read(cohort, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "APPROVAL_ERRORS", 1e9)
        patch.setattr(members, "PursuitSettings", lambda: PursuitSettings(most=1, seeds=1, least=0.9))
        run = tasks.fit(
            cohort, run=tmp_path / "run", alignment=AlignmentSettings(train="none"), progress=False,
            genetics=GeneSide(columns="dosages+motifs"),
        )  # fmt: skip
    chosen = genebrain.load_run(run).model.closed_form.chosen
    assert not chosen["motifs"]["approved"]
    assert {row["family"] for row in chosen["genes"]["members"]} == {"dosages"}
