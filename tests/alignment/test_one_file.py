"""A fitted model goes into one file and comes back as it was."""

from __future__ import annotations

import stat
from typing import Any

import numpy as np
import pytest
import torch

import genebrain
from genebrain.common.tensor_files import write_tensors
from genebrain.common.types import UserError

TRAINED: dict[str, Any] = {
    "alignment": genebrain.AlignmentSettings(start="random", train="full", score="cosine"),
    "trainer": genebrain.TrainerSettings(max_epochs=2),
}
PLAIN: dict[str, Any] = {"alignment": genebrain.AlignmentSettings(train="none")}


@pytest.mark.parametrize("how", [TRAINED, PLAIN])
def test_a_model_comes_back_from_one_file(tmp_path, how):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(70, 3))
    genes, brains = (shared + 0.3 * rng.normal(size=shared.shape) for _ in range(2))
    run = genebrain.load_run(genebrain.fit(genes=genes, brains=brains, run=tmp_path / "run", progress=False, **how))
    path = genebrain.save_model(run.model, tmp_path / "new" / "model.safetensors")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # a bit of a number
    (tmp_path / "changed").write_bytes(bytes(content))
    with pytest.raises(UserError, match="its checksum differs"):
        genebrain.load_model(tmp_path / "changed")
    with pytest.raises(UserError, match="is a folder; name a file"):
        genebrain.save_model(run.model, tmp_path)
    with pytest.raises(UserError, match=r"is a folder: .*load_run reads a run"):
        genebrain.load_model(tmp_path / "run")
    model = genebrain.load_model(path)
    assert model.settings == run.model.settings
    gene, brain = model.vectors(run.subjects, run.rows())
    assert np.array_equal(gene, run.vectors().genome)
    assert np.array_equal(brain, run.vectors().brain)
    if how is TRAINED:
        before, after = (m.towers.state_dict() for m in (run.model, model))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_is_no_model_is_refused(tmp_path):
    write_tensors(tmp_path / "other.safetensors", {"a": np.zeros(3)})
    with pytest.raises(UserError, match="holds no fitted model"):
        genebrain.load_model(tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("no")
    with pytest.raises(UserError, match="damaged"):
        genebrain.load_model(tmp_path / "text")
    with pytest.raises(UserError, match="is missing"):
        genebrain.load_model(tmp_path / "nothing")
