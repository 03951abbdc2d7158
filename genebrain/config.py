"""Configurations of the verbs: composed from YAML and the command line, checked whole, then built.

A YAML node names a public settings class (``_target_: genebrain.GeneSide``) and its arguments. :func:`compose` turns
overrides into a configuration and reports every wrong key, choice, type and argument together, each with the nearest
right name. This module and :mod:`genebrain.cli` are the only ones that know Hydra.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import genebrain
from genebrain import config_files, stored_settings
from genebrain.common.types import UserError, wrong_types
from genebrain.common.words import instead_of, nearest
from genebrain.config_files import groups
from genebrain.training.own_parts import typed_parts
from genebrain.typed_words import as_typed

OF_COHORTS = (
    "columns", "confounds", "strata", "max_mean_fd", "exclude", "genotype_filter", "min_r2", "genotypes", "reference",
    "windows", "scans", "kinship", "genomewide",
)  # fmt: skip
"""Keys of ``cohort.yaml`` that somebody may look for on the command line."""

__all__ = ["build", "check", "choices_of", "compose", "file_name", "groups", "nearest"]


def file_name(verb: str) -> str:
    """Name of a verb as a file and as a function: hyphens become underscores."""
    return verb.replace("-", "_")


def choices_of(file: str) -> dict[str, list[str]]:
    """Groups that a verb chooses from, and their choices."""
    known = groups()
    return {group: known[group] for group in config_files.groups_of(file) if group in known}


def compose(verb: str, overrides: Iterable[str] = ()) -> DictConfig:
    """Compose and check the configuration of one verb.

    Parameters
    ----------
    verb : str
        Name of a file ``configs/<verb>.yaml`` and of a function in :mod:`genebrain.tasks`, where a hyphen
        is written as an underscore.
    overrides : iterable of str
        ``key=value`` or ``group=choice``, as typed on the command line.

    Raises
    ------
    UserError
        Naming every wrong override at once, with suggestions.
    """
    problems: list[str] = []
    parsed = _parse(overrides, problems)
    file = file_name(verb)
    choices = choices_of(file)
    plain = _composed(file)
    group_overrides = [o for o in parsed if _is_group(o, choices, plain)]
    good_groups = [o for o in group_overrides if _check_choice(o, choices, problems)]
    chosen = [_choice_words(o) for o in good_groups]
    try:
        base = _composed(file, *chosen)
        keys = [as_typed(o, base, getattr(genebrain, file)) for o in parsed if o not in group_overrides]
        good_keys = [o for o in keys if _check_key(o, base, choices, problems)]
        own = [o for o in good_keys if o.key_or_group in groups()]
        words = [o.input_line or "" for o in good_keys if o not in own]
        config = (_composed(file, *chosen, *words) if words else base).copy()
        for option in own:  # Hydra would take the word for a choice of the group
            OmegaConf.update(config, option.key_or_group, option.value())
        mistyped = {o.key_or_group.split(".")[0] for o in keys if o not in good_keys}
        problems += check(config, verb, good=plain, untried=mistyped)
    except (HydraException, OmegaConfBaseException) as error:
        problems.append(str(error))
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise UserError(f"the configuration of '{verb}' has {len(problems)} problem(s):\n{lines}")
    return config


def compose_choices(verb: str, overrides: Iterable[str] = ()) -> tuple[DictConfig, dict[str, str]]:
    """Configuration of a verb with the groups' choices of a command line; and the choice of every group."""
    file = file_name(verb)
    choices, problems = choices_of(file), list[str]()
    plain = _composed(file)
    with initialize(config_path=None, version_base="1.3"):
        words = [o for o in _parse(overrides, []) if _is_group(o, choices, plain)]
        good = [_choice_words(o) for o in words if _check_choice(o, choices, problems)]
        composed = hydra_compose(file, good, return_hydra_config=True)
    chosen = {str(group): str(choice) for group, choice in composed.hydra.runtime.choices.items()}
    if problems:
        raise UserError("; ".join(problems))
    options = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    return options, {group: chosen.get(group, "null") for group in choices}


@cache
def _composed(file: str, *overrides: str) -> DictConfig:
    """Configuration of a verb, never changed; made once in a process."""
    config_files.register(file)
    with initialize(config_path=None, version_base="1.3"):
        return hydra_compose(file, [*overrides])


def check(config: DictConfig, verb: str, good: DictConfig | None = None, untried: Collection[str] = ()) -> list[str]:
    """Bind every ``_target_`` node to its signature, then try each constructor; return all problems.

    Constructors of configuration nodes are cheap by rule: they check their values and load no data. Some import
    libraries to do so, so of a command line only the nodes that it changes are tried; all are when they are built.

    Parameters
    ----------
    good : DictConfig, optional
        A configuration known to be right: constructors of top-level nodes that are the same there are not tried.
    untried : collection of str
        Top-level nodes whose constructors are not tried: one of their options is mistyped, and to say so needs no
        library.
    """
    container = typed_parts(OmegaConf.to_container(config, resolve=True))
    right = {} if good is None else OmegaConf.to_container(good, resolve=True)
    assert isinstance(container, dict)
    assert isinstance(right, dict)
    task = getattr(genebrain, file_name(verb))
    problems = _bind(task, {k: v for k, v in container.items() if k != "hydra"}, verb)
    problems += wrong_types(task, {k: v for k, v in container.items() if not isinstance(v, dict) and v != "???"})
    failed: dict[str, str] = {}
    for path, node in _nodes(container):
        try:
            callable_ = stored_settings.settings_class(node["_target_"])
        except UserError as error:
            problems.append(f"{path}: {error}")
            continue
        wrong = _bind(callable_, {k: v for k, v in node.items() if not k.startswith("_")}, path)
        problems += wrong
        top = path.split(".")[0]
        if not wrong and top not in untried and container[top] != right.get(top):
            try:
                stored_settings.build(node)
            except Exception as error:
                failed[path] = _root_message(error)
    inner = [(q.rpartition(".")[0], m) for q, m in failed.items()]  # a node that holds it fails with the same words
    return problems + [f"{p}: {m}" for p, m in failed.items() if (p, m) not in inner]


def build(config: DictConfig) -> dict[str, Any]:
    """Build every node; returns the keyword arguments of the verb's function."""
    container = typed_parts(OmegaConf.to_container(config, resolve=True))
    assert isinstance(container, dict)
    return {str(key): stored_settings.build(value) for key, value in container.items() if key != "hydra"}


def _parse(overrides: Iterable[str], problems: list[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException:
            problems.append(f"'{text}' is not of the form key=value{instead_of(text)}")
    return parsed


def _is_group(override: Override, choices: Mapping[str, list[str]], plain: DictConfig) -> bool:
    key = override.key_or_group
    # A verb may have a plain option of the same name as a group: 'split' of evaluate is a word, of fit a group.
    known = _dotted(plain)
    own_option = key in known and not isinstance(known[key], DictConfig)
    return key in choices and isinstance(override.value(), str) and not own_option


def _check_choice(override: Override, choices: Mapping[str, list[str]], problems: list[str]) -> bool:
    group, choice = override.key_or_group, str(override.value())
    if choice in choices[group]:
        return True
    problems.append(
        f"no choice '{choice}' in group '{group}'{nearest(choice, choices[group])} ({', '.join(choices[group])}; your "
        f"own: --config-dir=FOLDER with FOLDER/{group}/NAME.yaml)"
    )
    return False


def _choice_words(override: Override) -> str:
    return (override.input_line or "").lstrip("+")  # every group of a verb is in its file: there is none to add


def _check_key(override: Override, base: DictConfig, choices: Mapping[str, list[str]], problems: list[str]) -> bool:
    key = override.key_or_group
    if override.is_add() or override.is_delete() or key.startswith("hydra"):
        return True
    known = _dotted(base)
    if key not in known:
        problems.append(f"no option '{key}'{_hint(key, list(known), choices)}")
        return False
    old, new = known[key], override.value()
    if isinstance(old, bool) != isinstance(new, bool) and isinstance(old, (bool, int, float)):
        wanted = "true or false" if isinstance(old, bool) else "a number"
        problems.append(f"{key}={new}: {wanted} is wanted (default {old})")
        return False
    if isinstance(old, (int, float)) and not isinstance(new, (int, float)) and new is not None:
        problems.append(f"{key}={new}: a number is wanted (default {old})")
        return False
    if isinstance(old, int) and isinstance(new, float):
        problems.append(f"{key}={new}: a whole number is wanted (default {old})")
        return False
    return True


def _hint(key: str, known: list[str], choices: Mapping[str, list[str]]) -> str:
    """What was meant by an unknown option: each part is compared with those that may stand in its place."""
    parts, prefix = key.split("."), ""
    for depth, part in enumerate(parts):
        here = dict.fromkeys(name[len(prefix) :].split(".")[0] for name in known if name.startswith(prefix))
        if part not in here:
            close = difflib.get_close_matches(part, here, n=1, cutoff=0.65)
            if not depth or not close:
                break
            parts[depth] = close[0]
        prefix += f"{parts[depth]}."
    else:
        return f"; did you mean '{'.'.join(parts)}'?"
    if not prefix:
        if verbs := config_files.verbs_with(key):
            return f"; it belongs to {', '.join(verbs)}"
        if key in OF_COHORTS:
            return "; it is a key of cohort.yaml"
        if key == "progress":
            return "; TQDM_DISABLE=1 in front of the command leaves bars out"
        return nearest(key, dict.fromkeys([*known, *choices]))
    group, rest = parts[0], ".".join(parts[1:])
    if others := [choice for choice in choices.get(group, ()) if rest in _dotted(_choice(group, choice))]:
        return f"; it belongs to {', '.join(f'{group}={choice}' for choice in others)}: choose one of these"
    if elsewhere := [name for name in known if name.rsplit(".", 1)[-1] == parts[-1]]:
        return nearest(key, elsewhere)
    options = ", ".join(name for name in here if not name.startswith("_"))
    return f"; '{prefix[:-1]}' has {options or 'no options'}"


@cache
def _choice(group: str, choice: str) -> DictConfig:
    with initialize(config_path=None, version_base="1.3"):
        found: DictConfig = hydra_compose(overrides=[f"+{group}={choice}"])[group]
    return found


def _dotted(config: DictConfig, prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in config.items_ex(resolve=False):
        out[f"{prefix}{key}"] = value
        if isinstance(value, DictConfig):
            out |= _dotted(value, f"{prefix}{key}.")
    return out


def _nodes(container: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    if isinstance(container, dict):
        if "_target_" in container:
            found.append((path, container))
        for key, value in container.items():
            found += _nodes(value, f"{path}.{key}" if path else str(key))
    return found


def _bind(callable_: Any, arguments: Mapping[str, Any], path: str) -> list[str]:
    signature = inspect.signature(callable_)
    parameters = signature.parameters
    unset = [f"{path}: give '{name}=...'" for name, value in arguments.items() if value == "???"]
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return unset
    unknown = [
        f"{path}: no argument '{name}'{nearest(name, parameters)}" for name in arguments if name not in parameters
    ]
    missing = [
        f"{path}: argument '{name}' has no value"
        for name, p in parameters.items()
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL and name not in arguments
    ]
    return unknown + missing + unset


def _root_message(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
