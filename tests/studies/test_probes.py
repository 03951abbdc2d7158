"""Probes find what is there and nothing else, choose inside training people, and name what they cannot read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genebrain import config, tasks
from genebrain.common.types import UserError
from genebrain.sides.scans import EncoderSide
from genebrain.simulation.cohort import simulate_cohort
from genebrain.studies.probes import compare_features, probe, read_target, read_targets
from genebrain.studies.probing import ProbeSettings, row_name

N = 180
TRAINING, TEST = np.arange(120), np.arange(120, N)
FAMILY = np.arange(N) // 2


def people(seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(N, 6))
    age = 50 + 10 * features[:, 0] + rng.normal(size=N)
    site = np.where(features[:, 1] > 0.3, "A", "B")
    noise = rng.choice(["x", "y"], N)
    return features, pd.DataFrame({"age": age, "site": site, "noise": noise})


def test_what_is_there_is_found_and_what_is_not_is_not():
    features, table = people()
    sources = {"good": {"e": features}, "blind": {"e": np.random.default_rng(9).normal(size=(N, 6))}}
    for name, least in (("age", 0.95), ("site", 0.8)):
        found = compare_features(sources, read_target(table, name, TRAINING), FAMILY, TRAINING, TEST, n_permutations=99)
        good, blind = found["probes"]["good"]["linear"], found["probes"]["blind"]["linear"]
        assert good["value"] > least
        assert good["p"] == 0.01
        assert good["better_than"]["blind"]["ci"][0] > 0
        assert blind["p"] > 0.02
        assert found["probes"]["good"]["knn"]["value"] > found["chance"] + 0.15
    target = read_target(table, "noise", TRAINING)
    chance = compare_features({"good": {"e": features}}, target, FAMILY, TRAINING, TEST, n_permutations=99)
    assert abs(chance["probes"]["good"]["linear"]["value"] - 0.5) < 0.15
    assert json.dumps(chance)


def test_test_people_decide_nothing():
    features, table = people()
    target = read_target(table, "age", TRAINING)
    sets = {"a": features, "b": features[:, ::-1].copy() ** 2}
    before = probe(sets, target, FAMILY, TRAINING, TEST)
    hidden = np.where(np.isin(np.arange(N), TEST), 0, target.values)
    target = replace(target, values=hidden)
    after = probe(sets, target, FAMILY, TRAINING, TEST)
    for kind in before:
        assert np.array_equal(before[kind]["predicted"], after[kind]["predicted"])
        assert before[kind]["candidate"] == "a"


def test_nearly_equal_columns_of_single_precision_are_solved():
    features, table = people()
    many = np.tile(features[:, :1], 4000).astype(np.float32)  # as encoders give them
    found = probe({"e": many}, read_target(table, "age", TRAINING), FAMILY, TRAINING, TEST)  # warnings are errors here
    assert np.corrcoef(found["linear"]["predicted"], table["age"][TEST])[0, 1] > 0.9


def test_unknown_values_and_rare_classes_are_left_out_and_counted():
    features, table = people()
    table.loc[[0, 130], "site"] = "missing"
    table.loc[[1, 2, 131], "site"] = "C"
    table.loc[3, "age"] = np.nan
    target = read_target(table, "site", TRAINING)
    assert target.classes == ("A", "B")
    found = compare_features({"e": {"e": features}}, target, FAMILY, TRAINING, TEST, n_permutations=9)
    assert found["people"] == {"training": 117, "test": 58, "unknown": 5}
    assert read_target(table, "age", TRAINING).known.sum() == N - 1


def test_what_cannot_be_probed_is_said():
    features, table = people()
    table["one"] = "same"
    with pytest.raises(UserError, match="no column `agee`"):
        read_target(table, "agee", TRAINING)
    with pytest.raises(UserError, match=r"1 class\(es\)"):
        read_target(table, "one", TRAINING)
    with pytest.raises(UserError, match="at least 20 and 5"):
        probe({"e": features}, read_target(table, "site", TRAINING), FAMILY, TRAINING[:12], TEST)
    with pytest.raises(UserError, match=r"compare=\['truth'\]"):
        ProbeSettings(compare=("truth",))


def test_all_columns_that_cannot_be_probed_are_said_together():
    _, table = people()
    table["known"] = np.where(np.arange(N) < 12, table["age"], np.nan)
    with pytest.raises(UserError, match=r"`one` has 1 class.*`known` is known of 12 training"):
        read_targets(table.assign(one="a"), ["age", "one", "known"], TRAINING, TEST)
    with pytest.raises(UserError, match=r"no column `agee` \(nearest: age\), `nothing` in the"):
        read_targets(table, ["agee", "site", "nothing"], TRAINING, TEST)
    assert [target.name for target in read_targets(table, ["age", "site", "age"], TRAINING, TEST)] == ["age", "site"]


def test_the_verb_on_a_cohort_whose_sites_differ(tmp_path: Path, capsys):
    small = {"n_windows": 4, "window_bp": 6000, "n_frames": 80, "n_parcels": 16, "n_genomewide": 1200}
    cohort = simulate_cohort(tmp_path / "c", n_subjects=90, seed=2, n_sites=2, site_shift=1.5, **small)
    found = tasks.probe(
        cohort, ["site"], brain=EncoderSide("brainlm_vit"), n_permutations=99, n_bootstrap=50,
        out=tmp_path / "probe.json",
    )  # fmt: skip
    text = capsys.readouterr().out
    assert "site: balanced accuracy" in text
    probes = found["targets"]["site"]["probes"]
    assert set(probes) == {"brainlm_vit (random weights)", "random weights", "connectome"}
    assert "  brainlm_vit (random weights) linear " in text
    assert "brain.path names no weights: brainlm_vit has random ones itself (seed 0), a control" in text
    assert probes["connectome"]["linear"]["value"] > 0.75
    assert probes["brainlm_vit (random weights)"]["linear"]["value"] != probes["random weights"]["linear"]["value"]
    written = json.loads((tmp_path / "probe.json").read_text())
    assert written["split"]["test"] == 30
    assert next(iter(written["targets"]["site"]["probes"])) == "brainlm_vit (random weights)"
    assert row_name(EncoderSide("brainlm_vit", path="weights")) == "brainlm_vit"
    built = config.build(config.compose("probe", ["target=[age,sex]", "brain=swift_tiny"]))
    assert built["target"] == ["age", "sex"]
