"""Registries: names from users, plugins from files, and what goes wrong with them."""

from __future__ import annotations

import pytest

from genebrain.common.registry import Registry, load_plugins
from genebrain.common.types import UserError


def test_an_unknown_name_is_answered_with_the_nearest_one():
    words: Registry[int] = Registry("word")
    words.add("mean", 1)
    with pytest.raises(UserError, match="no word 'meen'; did you mean 'mean'"):
        words["meen"]
    assert words.get("meen") is None
    assert list(words) == ["mean"]


def test_a_name_taken_twice_is_refused_and_both_owners_are_named():
    words: Registry[type] = Registry("word")

    @words.register("one")
    class First: ...

    with pytest.raises(UserError, match=r"registered twice.*First.*Second"):

        @words.register("one")
        class Second: ...

    assert words.register("one")(First) is First  # a module that is imported again is no conflict
    with pytest.raises(UserError, match="cannot name a word"):
        words.register("two words")


PLUGIN = """
from genebrain.alignment.towers.pooling import Pooling
from genebrain.alignment.towers.registry import POOLINGS

@POOLINGS.register("{name}")
class Own(Pooling):
    def _pool(self, x, mask):
        return x.sum(dim=-2)
"""


@pytest.mark.parametrize("form", ["file", "module"])
def test_a_plugin_of_the_user_adds_its_entry(form, tmp_path, monkeypatch):
    from genebrain.alignment.towers.registry import POOLINGS
    from genebrain.sides.pooling import GenePooling

    (tmp_path / f"plugin_{form}.py").write_text(PLUGIN.format(name=f"own_{form}"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins([f"plugin_{form}.py" if form == "file" else f"plugin_{form}"])
    try:
        assert GenePooling(chunk=f"own_{form}").trainable is False
    finally:
        POOLINGS.remove(f"own_{form}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("def broken(:", "SyntaxError"),
        (PLUGIN.format(name="mean"), "registered twice"),
        (PLUGIN.format(name="two words"), "cannot name a pooling"),
    ],
)
def test_a_plugin_that_does_not_work_is_named(text, message, tmp_path):
    path = tmp_path / "broken_plugin.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_plugins([str(path)])
    assert "broken_plugin" in str(caught.value)
    with pytest.raises(UserError, match="no_such_file"):
        load_plugins(["no_such_file.py"])


def test_built_in_entries_are_known_by_name_before_their_module_is_imported():
    shapes = Registry("shape", {"fraction": "fractions"})
    assert list(shapes) == ["fraction"]
    assert "fraction" in shapes
    assert len(shapes) == 1
    with pytest.raises(UserError, match="known: fraction"):
        shapes["fractal"]


@pytest.mark.parametrize("name", ["infonce", "siglip"])
def test_asking_for_a_built_in_entry_imports_it(name):
    from genebrain.alignment.losses.registry import LOSSES

    assert LOSSES[name]("ignore") is not None


def test_another_entry_cannot_take_the_name_of_a_built_in_one():
    from genebrain.alignment.towers.registry import POOLINGS

    with pytest.raises(UserError, match="registered twice"):
        POOLINGS.register("mean")(type("Mine", (), {}))
    assert POOLINGS["mean"].__module__ == "genebrain.alignment.towers.pooling"


def test_every_built_in_name_is_registered_by_the_module_that_is_said_to():
    from genebrain.alignment.losses.registry import LOSSES
    from genebrain.alignment.towers.registry import POOLINGS

    for registry in (LOSSES, POOLINGS):
        for name, module in registry._built_in.items():
            assert registry[name].__module__ == module
