"""State of fitted scikit-learn estimators as plain arrays, and back: no pickles.

By the convention of scikit-learn, what is learned stands in attributes that end with an underscore. Numbers, words and
arrays are kept; estimators inside are followed; anything else cannot be kept and is named. To bring them back, an
estimator of the same settings is fitted on made-up series of the same width, which gives it its parts, and then gets
the numbers that were kept in the place of its own.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError

SETTINGS, SHAPE = "settings", "shape"
MADE_UP = (12, 80)
"""Made-up scans that are tried before as many as there were: an estimator may want some number of them."""
Arrays = dict[str, NDArray[Any]]


def learned(estimator: Any, name: str, shape: tuple[int, int]) -> Arrays:
    """Everything that a fitted estimator has learned, and a mark of its settings.

    ``shape`` is the number of scans that it was fitted on, and of their parcels.

    Raises
    ------
    UserError
        It has learned something that is neither numbers, words nor another estimator.
    """
    state: Arrays = {SETTINGS: _mark(estimator), SHAPE: np.array(shape)}
    odd = []
    for place, owner in _inside(estimator):
        for key, value in _attributes(owner).items():
            array = _as_array(value)
            if array is not None:
                state[f"{place}{key}"] = array
            elif not _is_estimator(value) and value is not None:
                odd.append(f"{place}{key} ({type(value).__name__})")
    if odd:
        raise UserError(
            f"brain.estimator={name} has learned {', '.join(odd[:5])}, which cannot be kept as numbers: leave these "
            "steps out, or write a feature with state() and from_state() (CONTRIBUTING.md)"
        )
    return state


def taught(estimator: Any, state: Mapping[str, NDArray[Any]], name: str) -> Any:
    """An unfitted estimator with what another one of the same settings has learned.

    Raises
    ------
    UserError
        The settings are other ones.
    """
    if not np.array_equal(state[SETTINGS], _mark(estimator)):
        raise UserError(
            f"brain.estimator={name} has other settings than when the run was fitted (or its library does): bring them "
            "back, or fit again in another folder (run=)"
        )
    n_scans, n_parcels = state[SHAPE].tolist()
    _give_parts(estimator, int(n_scans), int(n_parcels))
    for path, values in state.items():
        if path in (SETTINGS, SHAPE):
            continue
        *steps, key = path.split("/")
        if any(part.startswith("_") for part in (*steps, key)):
            raise UserError(f"brain.estimator={name}: the stored state names {path[:100]}, which no estimator has")
        owner = estimator
        for step in steps:
            owner = _step(owner, step)
        setattr(owner, key, _as_value(values))
    return estimator


def _inside(estimator: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The estimator and those inside it, with the path to each."""
    yield place, estimator
    steps = getattr(estimator, "steps", None)
    for step, inner in steps if isinstance(steps, list) else ():
        if _is_estimator(inner):
            yield from _inside(inner, f"{place}{step}/")
    for key, value in _attributes(estimator).items():
        if _is_estimator(value):
            yield from _inside(value, f"{place}{key}/")


def _give_parts(estimator: Any, n_scans: int, n_parcels: int) -> None:
    """Fit on made-up series, for the parts that fit makes; their numbers are replaced afterwards."""
    rng = np.random.default_rng(0)
    for n in (*[n for n in MADE_UP if n < n_scans], n_scans):
        scans = [rng.standard_normal((2 * n_parcels + 20, n_parcels)) for _ in range(n)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimator.fit(scans)
        except (ValueError, ArithmeticError):
            if n == n_scans:
                raise
        else:
            return


def _step(owner: Any, step: str) -> Any:
    """An estimator inside another: a step of a pipeline, or one that ``fit`` makes."""
    return dict(getattr(owner, "steps", None) or []).get(step) or getattr(owner, step)


def _attributes(estimator: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(estimator).items() if key.endswith("_") and not key.startswith("_")}


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "fit") and hasattr(value, "get_params")


def _as_array(value: Any) -> NDArray[Any] | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return np.ascontiguousarray(value)
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return np.asarray(value)
    if isinstance(value, str):
        return np.frombuffer(value.encode(), np.uint8).copy().reshape(1, -1, 1)  # three axes: a word
    return None


def _as_value(values: NDArray[Any]) -> Any:
    if values.dtype == np.uint8 and values.ndim == 3 and values.shape[0] == values.shape[2] == 1:
        return values.tobytes().decode()
    return values.item() if values.ndim == 0 else values


def _mark(estimator: Any) -> NDArray[Any]:
    """Hash of the settings of an estimator and of those inside it."""
    params = {key: _plain(value) for key, value in sorted(estimator.get_params(deep=True).items())}
    text = json.dumps([type(estimator).__name__, params], sort_keys=True)
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), np.uint8).copy()


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, np.ndarray):
        return hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=8).hexdigest()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return type(value).__name__
