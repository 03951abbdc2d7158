"""The model card of a run: aggregates and limits, no ids, no paths."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

import genebrain
from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings


def people(n: int) -> dict:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(n, 4))
    ids = [f"zebra{i:03d}" for i in range(n)]
    brain = shared @ rng.normal(size=(4, 20)) + 0.4 * rng.normal(size=(n, 20))
    return {
        "genes": pd.DataFrame(np.c_[shared, rng.normal(size=(n, 4))], index=ids).add_prefix("g"),
        "brains": pd.DataFrame(brain, index=ids).add_prefix("b"),
        "participants": pd.DataFrame({"age": rng.uniform(20, 70, n)}, index=ids),
    }


def test_a_card_is_written_by_fit_and_completed_by_evaluate(tmp_path):
    place = tmp_path / "secret-folder" / "run"
    run = genebrain.fit(**people(90), run=place, alignment=AlignmentSettings(train="none"), progress=False)
    card = (run / "MODEL_CARD.md").read_text()
    split = json.loads((run / "split.json").read_text())
    assert f"- train: {len(split['train'])}\n" in card
    assert "- validation: fewer than 10\n" in card
    assert "Not judged yet" in card
    metrics = tasks.evaluate(run, n_bootstrap=40, n_permutations=40, comparisons=("confound_only",), progress=False)
    card = (run / "MODEL_CARD.md").read_text()
    recall = metrics["retrieval"]["mean"]["recall@1"]
    shown = f"| recall@1 | {recall['value']:.3f} ({recall['ci'][0]:.3f} to {recall['ci'][1]:.3f}) | "
    assert shown + f"{metrics['chance']['recall@1']:.3f} | unknown |" in card
    assert "recall@1 of confound only" in card
    assert metrics["verdict"] in card
    assert "Not judged yet" not in card
    assert "vectors that were given" in card
    for part in ("What it is", "Whom it was fitted on", "Limits", "Intended use", "Licences", "Privacy class"):
        assert f"## {part}" in card
    for hidden in ("zebra", "secret-folder", str(tmp_path), "/"):
        assert hidden not in card, hidden
    tasks.evaluate(run, n_bootstrap=40, n_permutations=40, comparisons=(), progress=False)  # checksums still fit
