"""Configuration files with every option of their settings classes, as Hydra composes them.

The YAML files hold what differs from the defaults of the settings dataclasses; a node that names a class
(``_target_: genebrain.GeneSide``) gets all other fields from it here, before Hydra sees it. So an option is typed once,
as a field with its line in the docstring, and every file, override and sweep knows it. ``_hidden_`` lists fields that
mean nothing for a choice (``cleaning.low_pass`` for encoders of volumes): there they are no options. Files whose names
begin with an underscore are shared parts, not choices. A user's own choices lie in a folder of the same form
(``FOLDER/brain/mine.yaml``), named by ``--config-dir=FOLDER``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genebrain import stored_settings
from genebrain.common.types import UserError
from genebrain.common.words import nearest
from genebrain.stored_settings import TARGET

HIDDEN = "_hidden_"
_registered: set[str] = set()
_own: list[Path] = []
"""Folders of the user's own choices."""


def config_folder() -> Path:
    """Folder of the shipped YAML files: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "fit.yaml").exists():
            return folder
    raise UserError(f"the configuration files are missing: looked in {package} and {package.parent}")


def take_folders(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Make choices known of ``--config-dir=FOLDER`` or ``--config-dir FOLDER``; returns these words, and all others."""
    own, others, rest = list[str](), list[str](), iter(words)
    for word in rest:
        name, _, folder = word.partition("=")
        if name == "--config-dir":
            folder = folder or next(rest, "")
            add_folder(Path(folder))
            own.append(f"{name}={folder}")
        else:
            others.append(word)
    return own, others


def add_folder(folder: Path) -> None:
    """Take choices of groups from a folder of the user's own, ``GROUP/CHOICE.yaml``.

    Raises
    ------
    UserError
        There is no such folder or no choice in it, a group is unknown, or a choice has the name of one of the package.
    """
    known, files = groups(), sorted(folder.glob("*/*.yaml"))
    if not files:
        raise UserError(
            f"--config-dir={folder}: no choice of a group lies there; write one as {folder}/brain/NAME.yaml"
        )
    for file in files:
        group = file.parent.name
        if group not in known:
            raise UserError(f"{file}: no group '{group}'{nearest(group, known)} ({', '.join(known)})")
        if file.stem in known[group]:
            raise UserError(f"{file}: {group}={file.stem} is a choice of the package; give it another name")
    _own.append(folder)
    _registered.difference_update(file.parent.name for file in files)


def groups() -> dict[str, list[str]]:
    """Config groups and their choices, e.g. ``{"pooling": ["components", "mean", ...]}``."""
    return {
        folder.name: sorted(name for name in files_of(folder.name) if not name.startswith("_"))
        for folder in sorted(config_folder().iterdir())
        if folder.is_dir()
    }


def files_of(group: str) -> dict[str, Path]:
    """Files of a group by their names, shared parts among them."""
    return {file.stem: file for folder in (config_folder(), *_own) for file in sorted((folder / group).glob("*.yaml"))}


def groups_of(file: str) -> list[str]:
    """Groups that the file of a verb chooses from, in its order."""
    listed = _read(config_folder() / f"{file}.yaml").get("defaults", [])
    named = [name for entry in listed if isinstance(entry, Mapping) for name in entry]
    return [str(name).removeprefix("optional ") for name in named]


def verbs_with(option: str) -> list[str]:
    """Verbs that have an option of this name at their top."""
    files = sorted(config_folder().glob("*.yaml"))
    return [file.stem.replace("_", "-") for file in files if option in _read(file)]


def register(file: str) -> None:
    """Give Hydra the file of a verb and all choices of its groups, filled."""
    store = ConfigStore.instance()
    if file not in _registered:
        parts = _read(config_folder() / f"{file}.yaml")
        whole = {key: filled(value) if isinstance(value, Mapping) else value for key, value in parts.items()}
        store.store(name=file, node=whole)
        _registered.add(file)
    for group in set(groups_of(file)) - _registered:
        for path in files_of(group).values():
            package = "_global_" if "@package _global_" in path.read_text(encoding="utf-8") else None
            store.store(group=group, name=path.stem, node=filled(_read(path)), package=package)
        _registered.add(group)


def filled(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node of a file with all fields of its settings class; a node without a class as it is."""
    if TARGET not in node:
        return dict(node)
    try:
        whole = defaults_of(stored_settings.settings_class(node[TARGET]))
    except UserError:  # said, with its place, when the configuration is checked
        return dict(node)
    for path in node.get(HIDDEN, ()):
        *parents, name = str(path).split(".")
        inner = whole
        for parent in parents:
            inner = inner[parent]
        del inner[name]
    return _over(whole, {key: value for key, value in node.items() if key != HIDDEN})


def defaults_of(kind: type) -> dict[str, Any]:
    """Fields of a settings class with their defaults, as plain YAML; nested settings as nodes. Nothing is built."""
    node: dict[str, Any] = {TARGET: f"genebrain.{kind.__name__}"}
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        factory: Any = field.default_factory
        if field.default is not dataclasses.MISSING:
            node[field.name] = stored_settings.describe(field.default)
        elif factory is dataclasses.MISSING:
            node[field.name] = "???"
        elif isinstance(factory, type) and dataclasses.is_dataclass(factory):
            node[field.name] = defaults_of(factory)
        else:
            node[field.name] = stored_settings.describe(factory())
    return node


def first_comment(path: Path) -> str:
    """What a choice is, in the first comment of its file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line), "")


def _over(whole: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``whole`` with the values of ``own``; settings inside are joined, other mappings replaced."""
    for key, value in own.items():
        inner = whole.get(key)
        joined = isinstance(value, Mapping) and isinstance(inner, dict) and TARGET in inner
        whole[key] = _over(inner, value) if joined and inner is not None else value
    return whole


def _read(path: Path) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no options: write them as NAME: VALUE")
    return {str(key): value for key, value in content.items()}
