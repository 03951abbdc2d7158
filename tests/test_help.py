"""Help pages: what they print is what is composed, and every option has words."""

from __future__ import annotations

import re

import pytest
import yaml
from omegaconf import OmegaConf

from genebrain import config, config_files, help_pages, stored_settings
from genebrain.alignment.settings import TrainerSettings
from genebrain.cli import VERBS

CHOICES = [
    (verb, group, choice)
    for verb in VERBS
    for group, choices in config.choices_of(config.file_name(verb)).items()
    for choice in choices
    # Each verb is compared with the choices of its file; of other choices those with options of their own.
    if verb == "fit" and group in ("brain", "alignment", "trainer", "experiment")
]


def printed(page: str) -> dict[str, tuple[str, str]]:
    """Options of a help page: name, value as typed, words."""
    found = {}
    for line in page.split("options (key=default):")[1].splitlines():
        match = re.match(r"\s+([\w.]+)=(.*?)(?:\s+# (.*))?$", line)
        if match and "options with" not in line:
            found[match[1]] = (match[2], match[3] or "")
    return found


def leaves(node: object, name: str = "") -> dict[str, object]:
    if not (isinstance(node, dict) and (not name or "_target_" in node)):
        return {name: node}
    return {
        path: value
        for key, inner in node.items()
        if key != "_target_"
        for path, value in leaves(inner, f"{name}.{key}".strip(".")).items()
    }


def assert_printed_is_composed(verb: str, words: list[str]) -> dict[str, tuple[str, str]]:
    composed, _ = config.compose_choices(verb, words)
    container = OmegaConf.to_container(composed)
    container.pop("ablation", None)  # its arms are no options
    wanted = leaves(container)
    options = printed(help_pages.help_page(verb, VERBS[verb], words))
    assert options.keys() == wanted.keys()
    for name, (value, _) in options.items():
        read = yaml.load(value, stored_settings._Loader)  # noqa: S506 - a SafeLoader that reads 1e-05 as a number
        assert read == wanted[name], name
    return options


@pytest.mark.parametrize("verb", VERBS)
def test_help_prints_what_the_verb_composes_and_words_for_every_option(verb):
    options = assert_printed_is_composed(verb, [])
    assert [name for name, (_, words) in options.items() if not words] == []


@pytest.mark.parametrize(("verb", "group", "choice"), CHOICES)
def test_help_follows_the_choice_of_a_group(verb, group, choice):
    assert_printed_is_composed(verb, [f"{group}={choice}"])


def test_help_tells_the_real_defaults():
    assert printed(help_pages.help_page("fit", "", []))["alignment.train"][0] == "residual"
    assert printed(help_pages.help_page("pretrain", "", []))["brain.size"][0] == "tiny"
    assert printed(help_pages.help_page("fit", "", ["trainer=ddp"]))["trainer.devices"][0] == "-1"


def test_words_of_an_option_come_from_the_docstring_also_of_a_base_class():
    words = help_pages.option_words(TrainerSettings)
    assert words["sampler"].startswith("random or within_stratum; batches of anybody")
    assert words["patience"] == "epochs without a better validation recall before stopping"
    assert words["devices"] == "GPUs, or processes on the CPU; auto or -1: all"


def test_files_repeat_no_default_of_their_settings_class():
    for path in sorted(config_files.config_folder().rglob("*.yaml")):
        content = OmegaConf.to_container(OmegaConf.load(path))
        nodes = [content, *(value for value in content.values() if isinstance(value, dict))]
        for node in nodes:
            if "_target_" in node and path.parent.name != "ablation":
                usual = config_files.defaults_of(stored_settings.settings_class(node["_target_"]))
                same = [k for k, v in node.items() if not k.startswith("_") and usual.get(k) == v]
                assert [key for key in same if key not in ("name", "encoder")] == [], path
