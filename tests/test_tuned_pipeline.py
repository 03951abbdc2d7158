"""Encoders trained inside ``fit``: every verb reads the run, a kill costs nothing, what cannot be is said at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings, TrainerSettings
from genebrain.common.types import UserError
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.simulation.cohort import simulate_cohort
from genebrain.training.settings import LoraSettings
from tests.broken_fit import whole_and_broken
from tests.pictures import blank_pictures  # noqa: F401 - for the whole file

SMALL = {"n_windows": 2, "window_bp": 6000, "n_frames": 120, "n_parcels": 20, "n_genomewide": 60}
SHORT = TrainerSettings(max_epochs=2, patience=2, batch_size=40)
LORA = GeneSide(tuning="lora", lora=LoraSettings(rank=2, dropout=0.1))
TEXTBOOK = AlignmentSettings(start="random", train="full", score="cosine", projector=ProjectorSettings(hidden=32))
JUDGE = {"gallery_size": 16, "n_bootstrap": 50, "n_permutations": 50, "comparisons": (), "progress": False}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "c", n_subjects=120, seed=5, **SMALL)


@pytest.mark.parametrize(
    ("genetics", "alignment", "pooling"),
    [
        (LORA, TEXTBOOK, GenePooling()),
        (GeneSide(tuning="full"), TEXTBOOK, GenePooling(chunk="gated_attention", window="attention")),
    ],
)
def test_a_trained_encoder_is_kept_judged_and_names_nobody(cohort, tmp_path, genetics, alignment, pooling):
    run = tasks.fit(
        cohort, run=tmp_path / "run", genetics=genetics, alignment=alignment, pooling=pooling, trainer=SHORT,
        progress=False,
    )  # fmt: skip
    found = tasks.evaluate(run, **JUDGE)
    assert found["model"]["kept"] == "trained"
    counted = json.loads((run / "provenance.json").read_text())["parameters"]
    assert counted["gene encoder"]["trainable"] > 0
    assert found["model"]["parameters"] == counted
    kept = run / "checkpoints" / "gene_encoder"
    assert {p.name for p in kept.iterdir()} == (
        {"adapters.safetensors", "adapters.json"}
        if genetics.tuning == "lora"
        else {"weights.safetensors", "weights.json"}
    )
    assert not list(run.rglob("*.ckpt"))  # the state of the optimiser went when the fit was over
    again = tasks.evaluate(run, **JUDGE)
    assert again["retrieval"] == found["retrieval"]
    people = pd.read_csv(cohort.parent / "participants.tsv", sep="\t", dtype=str)
    ids = {one.encode() for one in {*people["participant_id"], *people["genotype_id"]}}
    files = [p for p in run.rglob("*") if p.is_file()]
    assert not [p.name for p in files for content in [p.read_bytes()] if any(one in content for one in ids)]


def test_the_frozen_fit_is_not_touched_by_the_way_it_could_be_tuned(cohort, tmp_path):
    """The closed form beside a tuned encoder says what the frozen run says; frozen runs ignore the adapters' form."""
    settings = AlignmentSettings(train="none")
    frozen = tasks.fit(cohort, run=tmp_path / "frozen", alignment=settings, progress=False)
    other = tasks.fit(
        cohort, run=tmp_path / "other", alignment=settings, genetics=GeneSide(lora=LoraSettings(rank=3)), progress=False
    )
    first, second = (r / "checkpoints" / "closed_form.safetensors" for r in (frozen, other))
    assert first.read_bytes() == second.read_bytes()
    # An encoder in training reads all alleles, and no dosages beside.
    plain = tasks.fit(
        cohort, run=tmp_path / "plain", alignment=settings, progress=False,
        genetics=GeneSide(columns="embeddings", rare_below=0),
    )  # fmt: skip
    tuned = tasks.fit(cohort, run=tmp_path / "tuned", genetics=LORA, trainer=SHORT, progress=False)
    a, b = (load_file(r / "checkpoints" / "closed_form.safetensors") for r in (plain, tuned))
    np.testing.assert_allclose(b["predictive"], a["predictive"], rtol=1e-3)
    judged = [
        tasks.evaluate(run, **JUDGE)["model"]["arms"]["closed_form"]["recall@1"]["value"] for run in (plain, tuned)
    ]
    assert judged[1] == pytest.approx(judged[0], abs=0.01)


def test_a_fit_that_broke_off_ends_with_the_numbers_of_an_undisturbed_one(cohort, tmp_path):
    trainer = replace(SHORT, max_epochs=4, patience=4, batch_size=24)
    options = {"genetics": LORA, "alignment": TEXTBOOK, "trainer": trainer, "progress": False}
    undisturbed, resumed = whole_and_broken(cohort, tmp_path, **options)
    for name in ("towers.safetensors", "gene_encoder/adapters.safetensors"):
        whole, broken = (folder / name for folder in (undisturbed, resumed))
        assert whole.read_bytes() == broken.read_bytes()
    histories = [pd.read_csv(tmp_path / run / "history.csv") for run in ("whole", "broken")]
    pd.testing.assert_frame_equal(*histories)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alignment": AlignmentSettings(train="none")}, r"genetics\.tuning=lora.*train=none.*tuning=frozen"),
        ({"pooling": GenePooling(chunk="gated_attention", window="attention")}, "alignment=textbook"),
        ({"pooling": GenePooling(chunk="attention"), "alignment": TEXTBOOK}, "window=components is fitted before"),
        ({"trainer": TrainerSettings(accelerator="gpu")}, "accelerator=gpu.*accelerator=auto"),
        (
            {"genetics": GeneSide(tuning="lora", lora=LoraSettings(targets=("query",)))},
            "no linear layer is called 'query'",
        ),
    ],
)
def test_what_cannot_be_is_said(cohort, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        tasks.fit(cohort, run=tmp_path / "run", **{"genetics": LORA, "trainer": SHORT, **options}, progress=False)
