"""Help pages of the verbs: options with the values that the composed configuration has, and their words.

What a verb does and its own options are the comments of ``configs/VERB.yaml``; the words of every other option come
from the docstring of its settings class (numpydoc, section Parameters or Attributes).
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from genebrain import config, config_files, stored_settings
from genebrain.stored_settings import TARGET

WIDTH = 38
_SECTION = re.compile(r"^(?:Parameters|Attributes)\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^(\w[\w, ]*?)(?: : (.*))?$")


def help_page(verb: str, summary: str, overrides: list[str]) -> str:
    """Help of a verb, with the choices of groups that stand on the command line.

    Parameters
    ----------
    verb, summary
        Name and one line.
    overrides
        Of them only ``group=choice`` counts.
    """
    file = config_files.config_folder() / f"{config.file_name(verb)}.yaml"
    composed, chosen = config.compose_choices(verb, overrides)
    content = OmegaConf.to_container(composed)
    assert isinstance(content, dict)
    header, words = _comments(file)
    choices = config.choices_of(file.stem)
    lines = [f"genebrain {verb}: {summary}\n", *header, "", "options (key=default):"]
    for name, value in content.items():
        if name not in chosen:
            lines += _lines(str(name), value, "  ", words.get(str(name), ""))
    for group, known in choices.items():
        lines += ["", f"group {group}= one of:"]
        for choice in known:
            about = config_files.first_comment(config_files.files_of(group)[choice])
            lines.append(f"  {choice:<24} {about}")
        if group in content and isinstance(content[group], dict) and TARGET in content[group]:
            lines.append(f"  options with {group}={chosen[group]}:")
            lines += _lines(group, content[group], "    ", "")
    return "\n".join(lines)


def option_words(kind: type) -> dict[str, str]:
    """One line about each field of a settings class, from its docstring or that of the class that it extends."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if dataclasses.is_dataclass(one):
            found |= dict(_entries(inspect.cleandoc(one.__doc__ or "")))
    return {field.name: found[field.name] for field in dataclasses.fields(kind) if field.name in found}


def as_typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(as_typed, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}: {as_typed(one)}" for key, one in value.items()) + "}"
    return str(value)


def _lines(name: str, value: Any, indent: str, words: str) -> Iterator[str]:
    if not (isinstance(value, dict) and TARGET in value):
        option = f"{indent}{name}={as_typed(value)}"
        yield f"{option:<{WIDTH}} # {words}" if words else option
        return
    inner = option_words(stored_settings.settings_class(value[TARGET]))
    for key, one in value.items():
        if key != TARGET:
            yield from _lines(f"{name}.{key}", one, indent, inner.get(key, ""))


def _comments(file: Path) -> tuple[list[str], dict[str, str]]:
    """The first comments of a verb's file, and the comment of each of its own options."""
    header: list[str] = []
    words: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            if not words:
                header.append(line[1:].removeprefix(" "))
        elif match := re.match(r'"?(\w+)"?:.*?\s#\s*(.*)$', line):
            words[match[1]] = match[2]
    return header, words


def _entries(docstring: str) -> Iterator[tuple[str, str]]:
    for section in _SECTION.finditer(docstring):
        names: list[str] = []
        choices, text = "", ""
        for line in [*section[1].splitlines(), "end"]:
            match = _ENTRY.match(line)
            if match is None:
                text += f" {line.strip()}"
                continue
            yield from ((name, _one_line(choices, text)) for name in names)
            names, choices, text = re.split(r",\s*", match[1]), _choices(match[2] or ""), ""


def _choices(kind: str) -> str:
    listed = re.match(r"\{(.*?)\}", kind)
    if listed is None:
        return ""
    *some, last = (word.strip().strip("\"'") for word in listed[1].split(","))
    return f"{', '.join(some)} or {last}" if some else last


def _one_line(choices: str, text: str) -> str:
    plain = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text.strip()).replace("``", "").replace('"', "")
    sentence = re.split(r"\.\s+(?=[A-Z])", plain)[0].removesuffix(".")
    for python, typed in (("None", "null"), ("True", "true"), ("False", "false")):
        sentence = re.sub(rf"\b{python}\b", typed, sentence)
    if sentence[1:2].islower() or sentence[:2] == "A ":
        sentence = sentence[0].lower() + sentence[1:]
    return ("; " if ":" in sentence else ": ").join(part for part in (choices, sentence) if part)
