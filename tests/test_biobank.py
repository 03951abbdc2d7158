"""The biobank study: exponents are those of powers, what is far is extrapolated, and the stages are verbs of ours."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain import config
from genebrain.cohort.participants import load_cohort
from genebrain.sides.genome import GeneSide
from genebrain.simulation.cohort import simulate_cohort
from tests.scripts import script

biobank = script("biobank/run.py")


def rows():
    """Time as people^2, memory as people, disk as its root."""
    return [
        {
            "people": n,
            "stage": stage,
            "seconds": n**2 / 1e4,
            "cpu_seconds": n / 10,
            "peak_gb": n / 1e3,
            "disk_gb": n**0.5,
        }
        for n in (100, 1000, 4000)
        for stage in biobank.STAGES
    ]


def test_powers_are_found_and_carried_on():
    far = biobank.extrapolated(rows(), 400_000)
    assert [row["stage"] for row in far] == list(biobank.STAGES)
    assert far[0]["power_of_seconds"] == pytest.approx(2)
    assert far[0]["seconds"] == pytest.approx(400_000**2 / 1e4)
    assert far[0]["peak_gb"] == pytest.approx(400)
    assert far[0]["disk_gb"] == pytest.approx(400_000**0.5)
    assert biobank.extrapolated(rows()[:6]) == []
    assert "Memory breaks first in simulate: 400 GB at 400,000 people." in biobank.table(rows(), far)


def test_stages_are_commands_that_compose(tmp_path):
    listed = biobank.commands(tmp_path, 100, 4, [6000, 9000], 20)
    assert tuple(listed) == biobank.STAGES
    for verb, *words in listed.values():
        config.compose(verb, words)


def test_genotypes_in_pgen_are_those_of_the_vcf(tmp_path):
    small = {"n_windows": 2, "window_bp": 3000, "n_frames": 30, "n_parcels": 8, "n_genomewide": 20, "n_active": 2}
    cohorts = [simulate_cohort(tmp_path / name, n_subjects=12, seed=4, k=1, **small) for name in ("vcf", "pgen")]
    pgen = biobank.use_pgen(cohorts[1])
    assert load_cohort(cohorts[1]).genotypes == pgen
    assert not list(pgen.parent.glob("*.vcf*"))
    one, other = (GeneSide().chunk_set(load_cohort(c), tmp_path / c.parent.name, progress=False) for c in cohorts)
    assert one.sequences == other.sequences
    np.testing.assert_array_equal(one.index, other.index)


@pytest.mark.slow
def test_every_stage_runs_at_a_small_size(tmp_path):
    found = biobank.study([60], 3, [6000, 9000], 20, tmp_path)
    assert [row["stage"] for row in found] == list(biobank.STAGES)
    assert all(float(row["seconds"]) > 0 and float(row["peak_gb"]) > 0.02 for row in found)
    assert list(tmp_path.iterdir()) == []
