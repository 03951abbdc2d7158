"""Cleaning as a setting of the brain side: its own place in the store, and the same in a stored run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from genebrain import config, stored_settings, tasks
from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide


class People(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.scans)


@pytest.fixture
def cohort(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["participant_id\tpath\ttr"]
    for i in range(3):
        drift = np.linspace(0, 50, 120)[:, None]
        np.save(tmp_path / f"{i}.npy", rng.normal(size=(120, 5)) + drift)
        lines.append(f"p{i}\t{i}.npy\t0.8")
    (tmp_path / "scans.tsv").write_text("\n".join(lines))
    table = read_scan_table(tmp_path / "scans.tsv").assign(person=np.arange(3))
    return People(scans=table, atlas=None)


def test_cleaned_scans_have_their_own_folder_and_lose_the_drift(cohort, tmp_path):
    plain, cleaned = ConnectomeSide(), ConnectomeSide(cleaning=Cleaning(detrend=True))
    correlations = {}
    for side in (plain, cleaned):
        _, usable = side.ingest(cohort, tmp_path / "store", progress=False)
        assert usable == {0, 1, 2}
        moments = side.inputs(cohort, tmp_path / "store", np.arange(3), progress=False)
        c = moments.C0[0]
        correlations[side] = c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])
    assert correlations[plain] > 0.9  # one drift for all
    assert abs(correlations[cleaned]) < 0.4
    assert plain.source != cleaned.source
    assert len([p for p in (tmp_path / "store").iterdir() if p.name.startswith("scans")]) == 2


def test_cleaning_is_set_on_the_command_line_and_kept_in_a_run(tmp_path):
    overrides = ["cohort.path=x", "brain.cleaning.low_pass=0.1", "brain.cleaning.high_pass=0.01"]
    side = config.build(config.compose("fit", overrides))["brain"]
    assert (side.cleaning.low_pass, side.cleaning.high_pass) == (0.1, 0.01)
    stored_settings.save({"brain": side}, tmp_path / "config.yaml")
    assert stored_settings.load(tmp_path / "config.yaml")["brain"] == side
    assert ConnectomeSide().cleaning.name == ""


def test_two_places_for_cleaning_are_one_too_many(cohort, tmp_path):
    side = ConnectomeSide(cleaning=Cleaning(detrend=True))
    with pytest.raises(UserError, match="set one of them"):
        tasks.embed_scans(
            tmp_path / "scans.tsv", tmp_path / "out", side, cleaning=Cleaning(low_pass=0.1), progress=False
        )
