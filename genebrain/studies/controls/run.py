"""Judge the controls of a run: ``controls.json`` and ``controls/shuffled_pairs.tsv`` of its folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom
from tqdm import tqdm

from genebrain.common.checksums import digest_of
from genebrain.common.files import replacing
from genebrain.common.reading import read_record
from genebrain.common.run_folder import RunFolder
from genebrain.common.table_files import read_table
from genebrain.common.types import Metrics, UserError
from genebrain.common.words import no_bar
from genebrain.evaluation.nulls import permutation_test
from genebrain.evaluation.retrieval import chance, within_stratum
from genebrain.runs.fit import Experiment, load_fit
from genebrain.sides.workspace import Workspace
from genebrain.studies.controls.kinds import CHANCE, CONTROLS, NAMES, SHUFFLED, shuffled_fit, site_codes
from genebrain.studies.controls.setting import ControlSettings, Setting, Vectors
from genebrain.studies.judged import Judged, fitting_gallery

SHOWN = ("recall@1", "percentile_rank")
LEVEL = 0.05


def run_controls(run: Path, experiment: Experiment, workspace: Workspace, settings: ControlSettings) -> Metrics:
    """Fit and judge every control on the test people of a finished run; a second call takes up where one ended.

    Raises
    ------
    UserError
        Unknown names, or a gallery that does not fit.
    """
    names = NAMES if settings.names is None else settings.names
    if unknown := [name for name in names if name not in NAMES]:
        raise UserError(f"controls {', '.join(unknown)} do not exist; use {', '.join(NAMES)}")
    if settings.n_shuffles < 5 and SHUFFLED in names:
        raise UserError(f"n_shuffles={settings.n_shuffles}: at least 5 refits, 20 show a share of .05")
    folder = RunFolder(run)
    with folder.alone():
        return _controls(folder, experiment, workspace, settings, names)


def _controls(
    folder: RunFolder, experiment: Experiment, workspace: Workspace, settings: ControlSettings, names: tuple[str, ...]
) -> Metrics:
    workspace.ingest(experiment.brain)
    fitted, subjects, split = load_fit(folder.path, experiment, workspace)
    size = fitting_gallery(settings.gallery_size, workspace.cohort, split.test, "test set")
    table = workspace.cohort.table.iloc[split.test]
    who = Judged(table["family"].to_numpy(np.int64), table["genome"].to_numpy(np.int64), settings.n_bootstrap, size)
    place = folder.path / "controls"
    place.mkdir(exist_ok=True)
    setting = Setting(fitted, subjects, split.training, split.test, experiment, workspace, place)
    model = who.retrieval(*fitted.vectors(subjects, split.test))["mean"]
    found: Metrics = {
        "question": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()},
        "gallery_size": size,
        "n_subjects": len(split.test),
        "chance": {name: chance(size)[name] for name in SHOWN},
        "model": {name: model[name] for name in SHOWN},
        "controls": {},
    }
    for name in tqdm(names, "controls", unit="control", disable=no_bar(workspace.progress)):
        one = _shuffled(setting, who, settings) if name == SHUFFLED else _one(setting, name, who, settings, model)
        if one is not None:
            found["controls"][name] = one
    found["left_out"] = setting.notes
    _keep_others(found, folder.path / "controls.json")
    folder.write_result("controls.json", found)
    return found


def _keep_others(found: Metrics, path: Path) -> None:
    """Controls of an earlier call that asked the same of others."""
    before = read_record(path) if path.exists() else {}
    if any(before.get(key) != json.loads(json.dumps(found[key])) for key in ("model", "gallery_size", "n_subjects")):
        return
    found["controls"] = {**before.get("controls", {}), **found["controls"]}
    mine = {note.split(":")[0] for note in found["left_out"]}
    found["left_out"] += [note for note in before.get("left_out", []) if note.split(":")[0] not in mine]


def _one(setting: Setting, name: str, who: Judged, settings: ControlSettings, model: Metrics) -> Metrics | None:
    control = CONTROLS[name]
    vectors = control.make(setting)
    if vectors is None:
        return None
    if name == "held_out_site":
        return {"question": control.question, "expected": control.expected, **_by_site(setting, who, vectors)}
    mean = who.retrieval(*vectors)["mean"]
    test = permutation_test(*vectors, families=who.family, n=settings.n_permutations)
    found = {
        "question": control.question,
        "expected": control.expected,
        **{key: mean[key] for key in SHOWN},
        "p": test["p_free"],
    }
    return {**found, "reading": _reading(found, model)}


def _reading(found: Metrics, model: Metrics) -> str:
    """What the numbers of a control mean, in a sentence."""
    low, high = found["percentile_rank"]["ci"]
    if found["expected"] == CHANCE:
        return "as it must be: chance" if low <= 0.5 <= high else "NOT AT CHANCE: something else tells people apart"
    above = found["p"] <= LEVEL
    if not above:
        return "nothing found; the model's score is not of this kind"
    if found["percentile_rank"]["value"] >= model["percentile_rank"]["ci"][0]:
        return "finds as much as the model: nothing shows that the model's reading is needed"
    return "finds something, and less than the model"


def _by_site(setting: Setting, who: Judged, vectors: Vectors) -> Metrics:
    """Within sites, next to the model of the run within the same sites."""
    sites = site_codes(setting)
    assert sites is not None
    labels = sites[setting.judged]
    own = setting.fitted.vectors(setting.subjects, setting.judged)
    held_out, model = (
        within_stratum(*pair, strata=labels, families=who.family, genome_id=who.genome, n_bootstrap=who.n_bootstrap)
        for pair in (vectors, own)
    )
    if held_out is None or model is None:
        return {"reading": "sites are too small"}
    low, _ = held_out["mean"]["percentile_rank"]["ci"]
    reading = "holds at sites that were never seen" if low > 0.5 else "not found at sites that were never seen"
    return {
        **{name: held_out["mean"][name] for name in SHOWN},
        "gallery_size": held_out["gallery_size"],
        "model_within_sites": {name: model["mean"][name] for name in SHOWN},
        "reading": reading,
    }


def _shuffled(setting: Setting, who: Judged, settings: ControlSettings) -> Metrics:
    path = setting.folder / "shuffled_pairs.tsv"
    rows = _kept(path, who.gallery_size)
    for number in tqdm(
        range(settings.n_shuffles), "refits", unit="refit", disable=no_bar(setting.workspace.progress), leave=False
    ):
        if number in rows:
            continue
        vectors = shuffled_fit(setting, number)
        mean = who.retrieval(*vectors)["mean"]
        p = permutation_test(*vectors, families=who.family, n=settings.n_permutations)["p_free"]
        rows[number] = {"number": number, "gallery_size": who.gallery_size, "p": p} | {
            name: mean[name]["value"] for name in SHOWN
        }
        with replacing(path, private=False) as partial:
            _sealed(pd.DataFrame(list(rows.values()))).to_csv(partial, sep="\t", index=False)
    rows = _kept(path, who.gallery_size)  # as they are written: an interrupted call reads the same digits
    table = pd.DataFrame([rows[number] for number in range(settings.n_shuffles)])
    above = int((table["p"] <= LEVEL).sum())
    p = float(binom.sf(above - 1, len(table), LEVEL))
    fine = p > LEVEL
    return {
        "question": "scans of the training people dealt to others, everything fitted again",
        "expected": CHANCE,
        "n": len(table),
        **{name: _over_refits(table[name].to_numpy()) for name in SHOWN},
        "above_chance": above,
        "p": p,
        "reading": f"{above} of {len(table)} refits are above chance (p at most .05); "
        + ("as it must be: one in twenty is expected" if fine else "TOO MANY: the test finds what is not there"),
    }


def _over_refits(values: np.ndarray[Any, np.dtype[np.float64]]) -> Metrics:
    low, high = np.percentile(values, [2.5, 97.5])
    return {"value": float(values.mean()), "ci": [float(low), float(high)]}


def _sealed(table: pd.DataFrame) -> pd.DataFrame:
    """Rows as text, each with its checksum."""
    text = table.map(lambda value: f"{value:.9g}")
    return text.assign(checksum=[digest_of("\t".join(row).encode()) for row in text.to_numpy()])


def _kept(path: Path, gallery_size: int) -> dict[int, dict[str, Any]]:
    """Refits of an earlier call; those of another gallery, and rows that did not stay as written, are made again."""
    try:
        table = read_table(path) if path.exists() else pd.DataFrame()
    except UserError:
        return {}
    cells = table.drop(columns="checksum", errors="ignore")
    whole = [digest_of("\t".join(row).encode()) for row in cells.to_numpy(str)]
    if "checksum" not in table or list(cells.columns) != ["number", "gallery_size", "p", *SHOWN]:
        return {}
    kept = cells[table["checksum"] == whole].astype(float).to_dict("records")
    rows = [{str(key): value for key, value in row.items()} | {"number": int(row["number"])} for row in kept]
    return {row["number"]: row for row in rows if row["gallery_size"] == gallery_size}
