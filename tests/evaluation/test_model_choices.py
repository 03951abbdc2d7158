"""The table "The model" says what was chosen, by what and among what, for every kind of run."""

from __future__ import annotations

from genebrain.evaluation.model_choices import model_choices

TRIED = [
    {"brain": "innovation-15", "k": 4, "mode": "ridge", "recall@1": 0.175},
    {"brain": "innovation-15", "k": 8, "mode": "ridge", "recall@1": 0.256},
    {"brain": "innovation-25", "k": 4, "mode": "ridge", "recall@1": 0.231},
    {"brain": "innovation-15", "k": 8, "mode": "row", "recall@1": 0.46},
    {"brain": "innovation-15", "k": 8, "mode": "entry", "recall@1": 0.15},
]


def test_every_choice_names_its_alternatives(metrics: dict) -> None:
    rows = {part: (what, by) for part, what, by in model_choices(metrics["model"], TRIED)}
    assert rows["brain feature"][0].endswith("15 components (innovation-15)")
    assert rows["brain feature"][1].endswith(
        "under ridge; best recall@1 of each: innovation-15 (0.256), innovation-25 (0.231)"
    )
    assert rows["brain dimensions"] == (
        "8",
        "cross-validation inside the training people, under ridge; best recall@1 of each: 4 (0.175), 8 (0.256)",
    )
    assert rows["gene side"][0].startswith("sparse by column")
    assert rows["gene side"][1].endswith("ridge (0.256), row (0.460), entry (0.150)")
    assert "multiplied by 1.20" in rows["calibration"][0]
    assert rows["in use"][0] == "the closed form"
    assert "0.750 before training, 0.790 at its best epoch (1)" in rows["in use"][1]
    assert rows["trained weights, gene tower"][0] == "900 of 1,000 parameters"
    assert "random" in rows["DNA encoder"][0]


def test_of_many_stacks_the_best_is_shown(metrics: dict) -> None:
    stacks = {"innovation-15+spectrum": 0.2, "innovation-15+coherence": 0.3, "innovation-15+directed-25": 0.1}
    tried = TRIED + [{"brain": name, "k": 8, "mode": "ridge", "recall@1": value} for name, value in stacks.items()]
    for brain in ("innovation-15", "innovation-15+coherence"):
        chosen = metrics["model"] | {"chosen": metrics["model"]["chosen"] | {"brain": brain}}
        rows = {part: by for part, _, by in model_choices(chosen, tried)}
        shown = "innovation-15+coherence (0.300)"
        others = ", innovation-15+spectrum (0.200)" if "+" in brain else ""
        assert rows["brain feature"].endswith(f"innovation-25 (0.231), {shown}{others}; 3 stacks were tried")


def test_other_kinds_of_runs_and_missing_parts(metrics: dict) -> None:
    assert model_choices({}) == []
    assert model_choices({"kept": "closed_form", "train": "none"}) == [
        ("training by gradient", "none: the closed form alone", "set in the configuration"),
        ("in use", "the closed form", "no gradient was used"),
    ]
    textbook = metrics["model"] | {"start": "random", "train": "full", "kept": "trained", "approval": {"best_epoch": 3}}
    rows = {part: (what, by) for part, what, by in model_choices(textbook)}
    assert rows["brain feature of the closed form beside it"][1] == "cross-validation inside the training people"
    assert rows["in use"] == ("the trained towers", "no closed form to compare with: training is kept")
    nothing = metrics["model"] | {
        "calibration": {"slope": 0.0},
        "chosen": {"brain": "embedding", "k": 4, "mode": "other"},
    }
    rows = {part: (what, by) for part, what, by in model_choices(nothing)}
    assert "the genes predict nothing" in rows["calibration"][0]
    assert rows["brain feature"][0] == "vectors of the scan encoder"
    assert rows["gene side"][0] == "other"
    reason = {"approval": {"approved": False, "not_trained": "nothing to move"}}
    rows = {part: by for part, _, by in model_choices(metrics["model"] | reason)}
    assert rows["in use"] == "not trained: nothing to move"
