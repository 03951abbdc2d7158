"""Settings objects as plain YAML and back, from an allow-list of the package's own settings classes.

A run folder may come from somebody else. Its ``config.yaml`` names classes (``_target_: genebrain.GeneSide``); only
public, frozen dataclasses of this package are ever built from such a name, so a file can never choose code to run. Runs
written before names were public (``genebrain.cohort.gene_side.GeneSide``) are read by the last part of the name.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import genebrain
from genebrain.common.files import replacing
from genebrain.common.reading import refuse_deep
from genebrain.common.types import UserError, wrong_types
from genebrain.training.own_parts import OwnPart

TARGET = "_target_"
MOST_BYTES = 2**20
"""Larger settings files are refused: no run writes one."""
MOST_DEPTH = 20
RENAMED: dict[str, str] = {}
"""Settings classes of older runs whose name has changed since: old name to public name."""
BEFORE: dict[str, dict[str, Any]] = {"GeneSide": {"columns": "embeddings", "rare_below": 0.0}}
"""What runs did before an option was there, where that is not what its default does now: class, option, value."""


def describe(value: Any) -> Any:
    """Plain YAML-ready nodes of settings objects, from which any run can be rebuilt.

    A settings class is named by its public name, so that files can move. A user's own parts of the training are left
    out: a file names no code, and what is read back trains without them.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        node: dict[str, Any] = {TARGET: f"genebrain.{type(value).__name__}"}
        held = {f: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return node | {f.name: describe(f.default if isinstance(one, OwnPart) else one) for f, one in held.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value if not isinstance(v, OwnPart)]
    return value


def build(value: Any, depth: int = 0) -> Any:
    """Build every node that names a settings class; everything else stays as it is.

    Raises
    ------
    UserError
        A name that is no settings class, an unknown option, a value that its class refuses.
    """
    if depth > MOST_DEPTH:
        raise UserError(f"settings are nested more than {MOST_DEPTH} deep")
    if isinstance(value, list):
        return [build(one, depth + 1) for one in value]
    if not isinstance(value, Mapping):
        return value
    inner = {str(key): build(one, depth + 1) for key, one in value.items() if key != TARGET}
    if TARGET not in value:
        return inner
    kind = settings_class(value[TARGET])
    try:
        inspect.signature(kind).bind(**inner)
        if wrong := wrong_types(kind, inner):
            raise UserError("; ".join(wrong))
        return kind(**inner)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{value[TARGET]}: {error}") from error


def settings_class(name: Any) -> type:
    """Settings class of a public name, or of the path under which an older run knew it.

    Raises
    ------
    UserError
        If this package has no such settings class; nothing is imported to find out.
    """
    package, _, last = str(name).rpartition(".")
    public = RENAMED.get(last, last)
    if package.split(".")[0] == "genebrain" and public in genebrain.__all__:
        kind = getattr(genebrain, public)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and _frozen(kind):
            return kind
    raise UserError(
        f"'{name}' is not a settings class of this genebrain. Files may name only those (such as genebrain.GeneSide); "
        "was the run made by a newer version?"
    )


def save(values: Mapping[str, Any], path: Path) -> None:
    """Write described settings as YAML."""
    with replacing(path, private=False) as partial:
        partial.write_text(yaml.safe_dump(describe(values), sort_keys=False), encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    """Read settings written by :func:`save` and build them.

    Raises
    ------
    UserError
        If the file is missing (the folder is not a run), damaged, too large, or names what is no settings class.
    """
    if not path.is_file():
        if folds := sorted(path.parent.glob(f"fold-*/{path.name}")):
            raise UserError(
                f"{path.parent} holds {len(folds)} folds, each a run of its own: name one, {folds[0].parent}"
            )
        raise UserError(f"{path.parent} is not a run folder: it has no {path.name}; make one with 'genebrain fit'")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes; settings have at most {MOST_BYTES:,}")
        text = path.read_text(encoding="utf-8")
        refuse_deep(text)
        values = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader without aliases
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({_line(error)}); restore it or make the run again") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no settings; restore it or make the run again")
    try:
        built = build(_as_they_were(values))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return dict(built)


def _as_they_were(value: Any) -> Any:
    """Nodes of a run with what an older version did without saying so."""
    if isinstance(value, list):
        return [_as_they_were(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    inner = {key: _as_they_were(one) for key, one in value.items()}
    return BEFORE.get(str(value.get(TARGET)).rpartition(".")[2], {}) | inner


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which could grow a small file beyond memory, and with 1e-5 as a number."""

    def compose_node(self, parent: yaml.nodes.Node | None, index: Any) -> yaml.nodes.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("it uses YAML aliases")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _frozen(kind: Any) -> bool:
    return bool(kind.__dataclass_params__.frozen)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
