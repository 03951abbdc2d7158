"""The contracts between rooms: pure typing, shapes documented once, nothing imported from the rooms.

Shapes are written in brackets everywhere in the project: ``[subjects, haplotypes, windows, chunks]``.

JSON and YAML know truth values, and Python takes ``true`` for 1 wherever a number is wanted: what a file or a command
line says is compared with what the settings class (or the verb) announces before it is used (:func:`wrong_types`).
"""

from __future__ import annotations

import collections.abc
import json
import math
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

Metrics = dict[str, Any]
"""One nested, JSON-ready dictionary of numbers, as in ``metrics.json``."""
Built = TypeVar("Built")
LISTS = (list, tuple, collections.abc.Sequence, set, frozenset)
_PLAIN: dict[Any, tuple[str, Any]] = {
    bool: ("true or false", bool), int: ("a whole number", int), float: ("a number", float), str: ("text", str),
    Path: ("a path", str | Path), type(None): ("null", type(None)),
}  # fmt: skip


class UserError(Exception):
    """Something the user can mend: bad input, a wrong option, a file that is not what it should be.

    The command line prints the message (no traceback) and exits with code 2. A message says what was wrong,
    which file, key or count, both numbers where two disagree, and what to do. Problems of one kind are
    collected and reported together.
    """


def whole(value: Any) -> bool:
    """Whether it is a whole number and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: Any) -> bool:
    """Whether it is a finite number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def wrong_types(owner: Any, values: Mapping[str, Any]) -> list[str]:
    """What the arguments of a function or class do not take, in words: ``frames=true: a whole number is wanted``.

    Annotations that are neither plain types nor lists, literals or unions of these say nothing here.
    """
    known = hints(owner)
    wrong = []
    for name, value in values.items():
        kinds = members(known.get(name, Any))
        if not any(_fits(value, kind) for kind in kinds):
            shown = json.dumps(value) if value is None or isinstance(value, bool | str) else value
            wrong.append(f"{name}={str(shown)[:60]}: {' or '.join(dict.fromkeys(map(_words, kinds)))} is wanted")
    return wrong


def built(kind: Callable[..., Built], values: Mapping[str, Any]) -> Built:
    """Settings of a class from what a file says; a ValueError where the types are not those of the class."""
    if wrong := wrong_types(kind, values):
        raise ValueError("; ".join(wrong))
    return kind(**values)


def hints(owner: Any) -> dict[str, Any]:
    """Types of the arguments of a function or class; of those that can be resolved, each on its own.

    Types that only type checkers import (what a function returns, say) say nothing of what is given.
    """
    if owner is None:
        return {}
    own = owner.__mro__[::-1] if isinstance(owner, type) else ()
    owners = [getattr(one, "__init__") for one in own] or [owner]  # noqa: B009
    found: dict[str, Any] = {}
    for one in owners:
        names = getattr(one, "__globals__", None)
        for name, annotation in getattr(one, "__annotations__", {}).items():
            alone = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                found[name] = get_type_hints(alone, globalns=names)[name]
            except (NameError, TypeError):
                continue
    return found


def members(hint: Any) -> tuple[Any, ...]:
    """Members of a union, apart; of a literal the types of its words."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(member for one in get_args(hint) for member in members(one))
    if get_origin(hint) is Literal:
        return tuple({type(value) for value in get_args(hint)})
    return (hint,)


def _fits(value: Any, kind: Any) -> bool:
    if kind in (int, float):
        return whole(value) if kind is int else number(value)
    if kind in _PLAIN:
        return isinstance(value, _PLAIN[kind][1])
    origin, inner = get_origin(kind) or kind, [one for one in get_args(kind) if one is not ...]
    if origin in LISTS:
        items = isinstance(value, list | tuple | set | frozenset)
        return items and (not inner or all(any(_fits(v, m) for one in inner for m in members(one)) for v in value))
    return True


def _words(kind: Any) -> str:
    if kind in _PLAIN:
        return _PLAIN[kind][0]
    return "a list" if (get_origin(kind) or kind) in LISTS else "something else"
