"""Linear and nearest-neighbour probes: does an embedding know a person's age, sex, site, or any column?

Features and values of people in, test scores out; every choice (penalty, neighbours, which candidate) is made by
cross-validation over families within training people. The models are scikit-learn's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from genebrain.common.types import BoolArray, FloatArray, IntArray, Metrics, UserError
from genebrain.evaluation.prediction import Judge

FEWEST_TRAINING, FEWEST_TEST, FEWEST_OF_CLASS, FOLDS = 20, 5, 5, 5
CLASSES = 10
"""A numeric column with at most so many different values is read as classes."""
MISSING = ("", "missing", "na", "n/a", "nan")
PENALTIES = np.logspace(-2, 5, 15)
STRENGTHS = np.logspace(-5, 1, 7)
NEIGHBOURS = (3, 7, 15, 31)
KINDS = ("linear", "knn")


@dataclass(frozen=True)
class Target:
    """Values of people that a probe predicts.

    Attributes
    ----------
    name
        Of the column.
    values
        ``[people]``: numbers, or class codes from 0; meaningless where unknown.
    known
        bool ``[people]``.
    classes
        Names of the classes; empty for numbers.
    """

    name: str
    values: FloatArray | IntArray
    known: BoolArray
    classes: tuple[str, ...] = ()


def check_columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuse columns that do not exist; all together."""
    if missing := [name for name in names if name not in table.columns]:
        said = ", ".join(
            f"`{name}`" + (f" (nearest: {', '.join(near)})" if near else "")
            for name in missing
            for near in [difflib.get_close_matches(name, table.columns, n=2)]
        )
        raise UserError(f"no column {said} in the participants table; columns: {', '.join(table.columns)}")


def read_targets(table: pd.DataFrame, names: Sequence[str], training: IntArray, test: IntArray) -> list[Target]:
    """Columns as :func:`read_target` gives them, each known of enough people.

    Raises
    ------
    UserError
        Columns that cannot be predicted; all together.
    """
    check_columns(table, names)
    targets, problems = [], []
    for name in dict.fromkeys(names):
        try:
            target = read_target(table, name, training)
            _known_people(target, training, test)
        except UserError as error:
            problems.append(str(error))
        else:
            targets.append(target)
    if problems:
        raise UserError("; ".join(problems))
    return targets


def read_target(table: pd.DataFrame, name: str, training: IntArray) -> Target:
    """A column as numbers or classes; classes with fewer than 5 training people count as unknown.

    Raises
    ------
    UserError
        No such column, or it does not vary in training people.
    """
    check_columns(table, [name])
    column = table[name]
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > CLASSES:
        values = column.to_numpy(np.float64)
        known = np.isfinite(values)
        if np.ptp(values[training][known[training]]) == 0 if known[training].any() else True:
            raise UserError(f"column `{name}` does not vary in training people: nothing to predict")
        return Target(name, values, known)
    words = column.astype(str)
    there = ~words.str.lower().isin(MISSING).to_numpy()
    counts = words.iloc[training][there[training]].value_counts()
    classes = tuple(sorted(counts.index[counts >= FEWEST_OF_CLASS]))
    if len(classes) < 2:
        raise UserError(
            f"column `{name}` has {len(classes)} class(es) with at least {FEWEST_OF_CLASS} training people: two are "
            "needed to tell apart"
        )
    codes = words.map({word: code for code, word in enumerate(classes)}).fillna(-1).to_numpy(np.int64)
    return Target(name, codes, codes >= 0, classes)


def probe(
    candidates: Mapping[str, FloatArray],
    target: Target,
    family: IntArray,
    training: IntArray,
    test: IntArray,
    *,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Predictions of test people by each kind of probe.

    Parameters
    ----------
    candidates
        Feature sets of all people, ``[people, features]`` each; the best one in cross-validation is taken.
    family
        int ``[people]``.
    training, test
        Rows of people.

    Returns
    -------
    dict
        Kind -> ``predicted`` (of test people who are known), ``candidate``, ``setting`` and ``training_score``.

    Raises
    ------
    UserError
        Too few people are known.
    """
    train, judged = _known_people(target, training, test)
    results = {}
    # Nearly equal columns under a weak penalty: what float32 cannot solve is no trouble for float64.
    candidates = {name: np.asarray(features, np.float64) for name, features in candidates.items()}
    for kind in KINDS:
        best: GridSearchCV | None = None
        chosen = ""
        for name, features in candidates.items():
            search = _search(kind, target, len(train), seed)
            search.fit(features[train], target.values[train], groups=family[train])
            if best is None or search.best_score_ > best.best_score_:
                best, chosen = search, name
        assert best is not None
        results[kind] = {
            "predicted": best.predict(candidates[chosen][judged]),
            "candidate": chosen,
            "setting": {key.split("__")[1]: _plain(value) for key, value in best.best_params_.items()},
            "training_score": float(best.best_score_),
        }
    return results


def compare_features(
    features: Mapping[str, Mapping[str, FloatArray]],
    target: Target,
    family: IntArray,
    training: IntArray,
    test: IntArray,
    *,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Metrics:
    """Probe several sources of features on the same people; the first is compared with all others.

    Parameters
    ----------
    features
        Source in words -> candidates of :func:`probe`.
    """
    judged = test[target.known[test]]
    judge = Judge(target.values[judged], family[judged], len(target.classes) or None, n_bootstrap, n_permutations, seed)
    found = {name: probe(sets, target, family, training, test, seed=seed) for name, sets in features.items()}
    first = next(iter(features))
    result: Metrics = {
        "target": target.name,
        "classes": list(target.classes),
        "score": judge.name,
        "chance": judge.chance,
        "people": {
            "training": int(target.known[training].sum()),
            "test": len(judged),
            "unknown": int((~target.known[training]).sum() + (~target.known[test]).sum()),
        },
        "probes": {},
    }
    for name, kinds in found.items():
        for kind, outcome in kinds.items():
            row = {**judge.score(outcome["predicted"]), **{k: v for k, v in outcome.items() if k != "predicted"}}
            if name == first:
                row["better_than"] = {
                    other: judge.difference(outcome["predicted"], found[other][kind]["predicted"])
                    for other in features
                    if other != first
                }
            result["probes"].setdefault(name, {})[kind] = row
    return result


def _known_people(target: Target, training: IntArray, test: IntArray) -> tuple[IntArray, IntArray]:
    train, judged = training[target.known[training]], test[target.known[test]]
    if len(train) < FEWEST_TRAINING or len(judged) < FEWEST_TEST:
        raise UserError(
            f"`{target.name}` is known of {len(train)} training and {len(judged)} test people; a probe needs at least "
            f"{FEWEST_TRAINING} and {FEWEST_TEST}"
        )
    return train, judged


def _search(kind: str, target: Target, n_train: int, seed: int) -> GridSearchCV:
    classes = bool(target.classes)
    grid: dict[str, Any]
    if kind == "linear" and classes:
        # From the strongest penalty to the weakest: the first of equals is the simplest.
        model, grid = LogisticRegression(max_iter=5000, class_weight="balanced"), {"logisticregression__C": STRENGTHS}
    elif kind == "linear":
        model, grid = Ridge(), {"ridge__alpha": PENALTIES[::-1]}
    else:
        model = KNeighborsClassifier() if classes else KNeighborsRegressor()
        most = int(n_train * (1 - 1 / FOLDS)) // 2
        grid = {f"{type(model).__name__.lower()}__n_neighbors": [n for n in NEIGHBOURS if n <= most]}
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed) if classes else GroupKFold(FOLDS)
    scoring = "balanced_accuracy" if classes else "neg_mean_squared_error"
    return GridSearchCV(make_pipeline(StandardScaler(), model), grid, scoring=scoring, cv=folds)


def _plain(value: Any) -> float | int:
    return int(value) if isinstance(value, (int, np.integer)) else float(value)
