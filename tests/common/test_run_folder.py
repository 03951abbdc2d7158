"""A run folder and the experiment that it holds."""

from __future__ import annotations

import pytest

from genebrain.common.run_folder import RunFolder
from genebrain.common.types import UserError


def test_an_option_that_an_older_version_did_not_have_is_off_there(tmp_path):
    RunFolder(tmp_path / "r").claim({"seed": 1, "brain": {"kind": "lag0"}})
    RunFolder(tmp_path / "r").claim(
        {"seed": 1, "brain": {"kind": "lag0", "unpaired": False, "limit": None, "callbacks": []}}
    )


@pytest.mark.parametrize(
    "now",
    [
        {"seed": 1, "brain": {"kind": "lag0", "unpaired": True}},
        {"seed": 1, "brain": {"kind": "lag0", "size": 0}},
        {"seed": 1, "brain": {"kind": "lag0", "callbacks": ["a.B()"]}},
        {"seed": 0, "brain": {"kind": "lag0"}},
        {"seed": 1, "brain": {}},
        {"seed": False, "brain": {"kind": "lag0"}},
    ],
)
def test_another_experiment_is_refused(tmp_path, now):
    RunFolder(tmp_path / "r").claim({"seed": 1, "brain": {"kind": "lag0"}})
    with pytest.raises(UserError, match="another experiment"):
        RunFolder(tmp_path / "r").claim(now)
