"""Words of the command line as their option wants them: text stays text where a path or a word is wanted.

Hydra reads ``run=4711`` as a number, ``task=true`` as a truth value and ``tier=null`` as nothing. What an option takes
is said by the type of the argument that it fills: where that is text (a path, a word, one of several words), the text
as typed is taken, whatever it looks like; a single value for a list is a list of one. Where no type is known, an option
whose default is a word takes text. Options that take numbers as well as words keep Hydra's reading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from genebrain.common.types import LISTS, UserError, hints, members
from genebrain.stored_settings import TARGET, settings_class

_NUMBERS = (int, float, bool)


def as_typed(override: Override, base: DictConfig, task: Callable[..., Any]) -> Override:
    """The override with its value as text, or as a list of one, where its option wants that.

    Parameters
    ----------
    base
        The configuration that the option belongs to.
    task
        The function that takes the options of the top level.

    Raises
    ------
    UserError
        Nothing stands behind the ``=`` of a path: the folder of the caller would be taken.
    """
    text = (override.input_line or "").partition("=")[2]
    if override.is_sweep_override() or override.is_delete() or override.is_add() or "${" in text:
        return override
    kinds = _kinds(override.key_or_group, base, task)
    if not text:
        if Path in kinds:
            raise UserError(f"{override.key_or_group}= is empty: a path is wanted (. is this folder)")
        return override
    value = override.value()
    if value is None and type(None) in kinds:
        return override
    items = _item_kinds(kinds)
    if isinstance(value, Mapping) and TARGET in value:  # a part by its class
        return _parsed(override, f"[{text}]") if items else override
    if isinstance(value, list | Mapping) and kinds and all(kind in (str, Path, type(None)) for kind in kinds):
        return _parsed(override, _quoted(text))
    if isinstance(value, list):
        words = _plain_words(text)
        return _parsed(override, f"[{','.join(map(_quoted, words))}]") if words and _takes_words(items) else override
    if isinstance(value, Mapping):
        return override
    if _takes_words(kinds):
        return override if text[0] in "'\"" else _parsed(override, _quoted(text))
    if items and not any(kind in kinds for kind in (*_NUMBERS, str, Path)):
        plain = _takes_words(items) and text[0] not in "'\""
        return _parsed(override, f"[{_quoted(text) if plain else text}]")
    return override


def _kinds(key: str, base: DictConfig, task: Callable[..., Any]) -> tuple[Any, ...]:
    """Types that an option takes, members of a union apart."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(base, parent) if parent else base
    target: Any = None if parent else task
    if parent and isinstance(node, DictConfig) and "_target_" in node:
        try:
            target = settings_class(node["_target_"])
        except UserError:  # said when the configuration is checked
            target = None
    hint = hints(target).get(name, Any)
    if hint is not Any:
        return members(hint)
    plain = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
    default = plain.get(name) if isinstance(plain, dict) else None
    return (str,) if isinstance(default, str) and default != "???" else ()


def _item_kinds(kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Types of the items of the lists among ``kinds``."""
    lists = [kind for kind in kinds if get_origin(kind) in LISTS]
    return tuple(member for kind in lists for item in get_args(kind) if item is not ... for member in members(item))


def _takes_words(kinds: tuple[Any, ...]) -> bool:
    return (str in kinds or Path in kinds) and not any(kind in kinds for kind in _NUMBERS)


def _plain_words(text: str) -> list[str] | None:
    """Words of ``[a,b]``; None where it is nested or quoted, which Hydra reads well."""
    inner = text.strip()[1:-1]
    if any(mark in inner for mark in "[]{}()'\"\\"):
        return None
    return [word.strip() for word in inner.split(",") if word.strip()]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


def _parsed(override: Override, value: str) -> Override:
    line = f"{(override.input_line or '').partition('=')[0]}={value}"
    try:
        return OverridesParser.create().parse_override(line)
    except HydraException:  # text that ends in a backslash
        return override
