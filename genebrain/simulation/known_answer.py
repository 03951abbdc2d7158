"""The truth that a simulated cohort carries beside its files, and the best score that it allows.

``known_answer.json`` holds settings and ceilings; ``truth.safetensors`` the true genetic value ``g``, trait
``z`` and optimal reading of the scans ``u``, each float32 ``[people, k]``, in the order of
``participants.tsv``. The first carries checksums of itself and of the second; cohorts of older versions have none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.checksums import digest_of
from genebrain.common.hashing import content_digest
from genebrain.common.reading import read_record
from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import UserError, number, whole
from genebrain.evaluation.ceiling import bayes_ceiling

FILE, TRUTH = "known_answer.json", "truth.safetensors"
GALLERIES = (8, 16, 32, 64, 128, 256, 512, 1024)
ORACLE_NOTE = (
    "Score the true pairs of the test people with genebrain.evaluation.ceiling.oracle_pair_vectors(g, u, r2): the "
    "ceiling is an expectation over cohorts, the oracle pair is the same score on these very people."
)


def ceilings(k: int, r2: float, mislabelled: float) -> dict[str, dict[str, float]]:
    """Ceiling of every gallery size in :data:`GALLERIES`, by size as text."""
    return {str(size): bayes_ceiling(k, r2, size, mislabelled=mislabelled) for size in GALLERIES}


def write_known_answer(folder: Path, answer: dict[str, Any], truth: dict[str, NDArray[np.floating]]) -> None:
    """Write both files into ``folder``; ``answer`` names its truth file under ``truth``."""
    arrays = {name: np.asarray(values, dtype=np.float32) for name, values in truth.items()}
    write_tensors(folder / TRUTH, arrays, private=False)
    content = {**answer, "truth": TRUTH, "truth_checksum": content_digest(folder / TRUTH)}
    (folder / FILE).write_text(json.dumps({**content, "checksum": _checksum(content)}, indent=2) + "\n")


def _checksum(answer: dict[str, Any]) -> str:
    return digest_of(json.dumps({k: v for k, v in answer.items() if k != "checksum"}, sort_keys=True).encode())


def read_known_answer(path: Path | str) -> dict[str, Any]:
    """Read ``known_answer.json``; ``ceiling`` is by gallery size as int.

    Raises
    ------
    UserError
        When the file is absent, not of this kind, or did not stay as it was written.
    """
    path = Path(path)
    try:
        answer = read_record(path)
        own = _checksum(answer)
        if answer.get("checksum", None if "truth_checksum" in answer else own) != own:  # older files have neither
            raise ValueError("it did not stay as it was written")
        k, r2 = answer["k"], answer["r2"]
        if not (whole(k) and k >= 1 and number(r2) and 0 <= r2 < 1):
            raise ValueError(f"k={str(k)[:30]} and r2={str(r2)[:30]}")
        for part in ("ceiling", "ceiling_within_strata"):
            if answer[part] is not None:
                answer[part] = {int(size): values for size, values in answer[part].items()}
    except (UserError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is not the known answer of a simulated cohort ({error}): restore it from a copy, or simulate the "
            "cohort again"
        ) from error
    return dict(answer)


def read_truth(path: Path | str) -> dict[str, NDArray[np.float32]]:
    """Arrays ``g``, ``z``, ``u`` (and ``mislabelled``) that belong to a ``known_answer.json``.

    Rows follow ``participants.tsv``.

    Raises
    ------
    UserError
        The file is missing or did not stay as it was written.
    """
    answer = read_known_answer(path)
    file = Path(path).parent / TRUTH
    if not file.is_file():
        raise UserError(f"{file} is missing; simulate the cohort again")
    arrays = read_arrays(file)
    sizes = {values.shape for name, values in arrays.items() if name in ("g", "z", "u")}
    whole_truth = {"g", "z", "u"} <= arrays.keys() and len(sizes) == 1 and sizes.pop()[1:] == (answer["k"],)
    finite = all(np.isfinite(values).all() for values in arrays.values())
    if not (whole_truth and finite and answer.get("truth_checksum", digest := content_digest(file)) == digest):
        raise UserError(f"{file} did not stay as it was written: restore it from a copy, or simulate the cohort again")
    return arrays


def stands_already(out: Path, settings: dict[str, Any]) -> bool:
    """Whether the very same cohort stands at ``out``; raises when something else does."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the cohort")
    if not any(out.iterdir()):
        return False
    if not (out / FILE).is_file():
        raise UserError(f"{out} is not empty and holds no simulated cohort; give another folder or empty it")
    found = read_known_answer(out / FILE).get("settings", {})
    if found == settings:
        return True
    differing = [
        f"{key}: {found.get(key, False)} there, {settings.get(key, False)} wanted"
        for key in settings | found
        if found.get(key) != settings.get(key)
    ]
    raise UserError(f"{out} holds another simulated cohort ({'; '.join(differing)}); give another folder")
