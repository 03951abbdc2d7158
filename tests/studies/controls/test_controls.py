"""Controls: what must be at chance is, planted effects are seen by the readings that can see them, work is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.common.types import UserError
from genebrain.genetics.encoders.kmers import KmerCounts
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from genebrain.studies.controls import kinds
from genebrain.studies.controls import run as controls_run

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 120, "n_parcels": 16, "n_genomewide": 100}
QUICK = {"n_bootstrap": 100, "n_permutations": 99, "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("controls")
    cohort = simulate_cohort(folder / "c", n_subjects=180, seed=11, **SMALL)
    side = ConnectomeSide("lag0", components=("all",))  # fourteen refits below
    return tasks.fit(cohort, run=folder / "run", brain=side, alignment=AlignmentSettings(train="none"), progress=False)


@pytest.fixture(scope="module")
def found(run: Path) -> dict:
    names = ["one_genome", "covariates", "burden", "kmer_counts", "random_encoder", "held_out_site"]
    tasks.controls(run, names=names, **QUICK)
    return json.loads((run / "controls.json").read_text())


def test_one_genome_for_everybody_is_exactly_chance(found: dict) -> None:
    one = found["controls"]["one_genome"]
    assert one["recall@1"]["value"] == pytest.approx(found["chance"]["recall@1"])
    assert one["percentile_rank"]["value"] == pytest.approx(0.5)
    assert one["reading"] == "as it must be: chance"


def test_covariates_and_burden_find_less_than_the_model(found: dict) -> None:
    model = found["model"]["percentile_rank"]["value"]
    for name in ("covariates", "burden"):
        assert found["controls"][name]["percentile_rank"]["value"] < model - 0.1, name


def test_words_of_four_letters_see_most_variants(found: dict) -> None:
    """A changed letter changes four words, so counts tell haplotypes apart nearly as well as any model."""
    assert found["controls"]["kmer_counts"]["percentile_rank"]["value"] > 0.7


def test_the_encoder_of_the_run_is_no_control_of_itself(found: dict) -> None:
    assert "random_encoder" not in found["controls"]
    assert "random_encoder: this is the encoder of the run" in found["left_out"]


def test_refits_with_scans_dealt_to_others_are_kept_and_at_chance(
    run: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level("INFO"):
        first = tasks.controls(run, names=["shuffled_pairs"], n_shuffles=5, **QUICK)["controls"]["shuffled_pairs"]
    assert "in cross-validation" not in caplog.text + capsys.readouterr().out  # what a refit chooses is of no interest
    place = run / "controls" / "shuffled_pairs.tsv"
    table = pd.read_csv(place, sep="\t")
    assert len(table) == first["n"] == 5
    assert abs(table["percentile_rank"].mean() - 0.5) < 0.06
    assert table["percentile_rank"].nunique() > 1
    text, refitted, fit_again = place.read_text(), [], controls_run.shuffled_fit

    def counted(setting, number):
        refitted.append(number)
        return fit_again(setting, number)

    monkeypatch.setattr(controls_run, "shuffled_fit", counted)
    cut = text.splitlines()
    for content, wanted in (
        (text, []),
        (text.replace(cut[1], cut[1].replace("0.", "0.9", 1)), [0]),  # a changed digit
        ("\n".join(cut[:3]) + "\n", [2, 3, 4]),
        (text.replace("checksum", "sum"), [0, 1, 2, 3, 4]),
    ):
        refitted.clear()
        place.write_text(content)
        again = tasks.controls(run, names=["shuffled_pairs"], n_shuffles=5, **QUICK)["controls"]["shuffled_pairs"]
        assert again == first
        assert refitted == wanted


def test_the_page_shows_controls(run: Path, found: dict) -> None:
    tasks.evaluate(run, n_bootstrap=40, n_permutations=40, comparisons=(), progress=False)
    page = tasks.report(run).read_text()
    assert "<h2>Controls</h2>" in page
    assert "as it must be: chance" in page


def test_unknown_names_and_few_refits_are_refused(run: Path) -> None:
    with pytest.raises(UserError, match=r"controls burdn do not exist; use one_genome"):
        tasks.controls(run, names=["burdn"], progress=False)
    with pytest.raises(UserError, match="n_shuffles=2: at least 5"):
        tasks.controls(run, n_shuffles=2, progress=False)


def test_counts_of_words_are_those_counted_by_hand() -> None:
    texts = ["ACGTACGTNACGA", "ACG", "TTTTTT", "N"]
    values = KmerCounts().encode(texts)["mean"]
    assert values.shape == (4, 256)
    for row, text in zip(values, texts, strict=True):
        expected = [sum(text[i : i + 4] == word for i in range(len(text))) for word in KmerCounts.words]
        np.testing.assert_array_equal(row, expected)


def test_covariates_are_those_that_the_cohort_names(run: Path, tmp_path: Path) -> None:
    """Two values for two people each are no site: age alone is read where ``confounds: [age]`` says so."""
    seen = []

    def blocks(matrices):
        seen.extend(matrices)

    workspace = Workspace(run.parent / "c/cohort.yaml", progress=False)
    rows = np.arange(100)
    for named in (None, ["age"]):
        cohort = replace(workspace.cohort, own=replace(workspace.cohort.own, confounds=named))
        setting = SimpleNamespace(
            table=cohort.table, training=rows, workspace=SimpleNamespace(cohort=cohort), notes=[],
            with_blocks=blocks, refit=lambda subjects: None,
        )  # fmt: skip
        kinds.covariates(setting)
    assert seen[0].shape[1] > seen[1].shape[1] == 2  # age and its square
