"""Registries: things of one kind by name, added by a decorator from inside the package or from a user's own file.

Plugins are named by the user (``plugins=[my_module]`` on the command line, an entry point ``genebrain.plugins`` of an
installed package, or :func:`load_plugins`); a file that is read never names one.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from genebrain.common.types import UserError

T = TypeVar("T")
ENTRY_POINTS = "genebrain.plugins"
_loaded: set[str] = set()


class Registry(Mapping[str, T], Generic[T]):
    """Entries of one kind by name.

    Parameters
    ----------
    kind : str
        What an entry is, for messages: "pooling", "loss".
    built_in : mapping of str to str, optional
        Names of the package's own entries, and the module that registers each: they are known, and stand first, before
        that module is imported; asking for one imports it.

    Examples
    --------
    >>> greetings = Registry("greeting")
    >>> @greetings.register("hello")
    ... def hello() -> str:
    ...     return "hello"
    >>> greetings["hello"]()
    'hello'
    """

    def __init__(self, kind: str, built_in: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._built_in = dict(built_in or {})
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters a class, function or record under a name.

        Raises
        ------
        UserError
            The name is taken, or is no plain word.
        """
        if not name.replace("-", "_").replace(".", "_").isidentifier():
            raise UserError(f"'{name}' cannot name a {self.kind}: use letters, digits, - and _")

        def enter(entry: T) -> T:
            if name in self._built_in and name not in self._entries:
                # Another entry of its name is then seen to be one. Where the home itself registers it, nothing happens.
                importlib.import_module(self._built_in[name])
            known = self._entries.get(name)
            if known is not None and _home(known) != _home(entry):
                raise UserError(
                    f"the {self.kind} '{name}' is registered twice, by {_home(known)} and by {_home(entry)}: rename one"
                )
            self._entries[name] = entry
            return entry

        return enter

    def add(self, name: str, entry: T) -> T:
        """Enter something without a decorator; returns it."""
        return self.register(name)(entry)

    def remove(self, name: str) -> None:
        """Take an entry out again, as tests of plugins do."""
        del self._entries[name]
        self._built_in.pop(name, None)

    def __getitem__(self, name: str) -> T:
        """Entry of a name; a ``UserError`` with the nearest known names, since names come from users."""
        if name in self._built_in and name not in self._entries:
            importlib.import_module(self._built_in[name])
        if name not in self._entries:
            raise UserError(self.unknown(name))
        return self._entries[name]

    def get(self, name: str, default: T | None = None) -> T | None:  # type: ignore[override]
        """Entry of a name, or the default."""
        try:
            return self[name]
        except UserError:
            return default

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._built_in

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._built_in, *self._entries]))

    def __len__(self) -> int:
        return len(self._entries.keys() | self._built_in.keys())

    def unknown(self, name: str) -> str:
        """One sentence about a name that is not there."""
        close = difflib.get_close_matches(str(name), list(self), n=1, cutoff=0.6)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        return f"no {self.kind} '{name}'{hint} (known: {', '.join(self)}; plugins=[...] adds your own)"


def load_plugins(plugins: Iterable[str] = ()) -> list[str]:
    """Import installed plugins (entry points ``genebrain.plugins``) and the named ones; returns their names.

    Parameters
    ----------
    plugins : iterable of str
        Importable modules (``my_lab.encoders``) or files (``./my_pooling.py``).

    Raises
    ------
    UserError
        A plugin does not import: its name, the error and where.
    """
    names = []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
        _import(point.value, point.load)
        names.append(point.value)
    for name in plugins:
        _import(str(name), lambda name=str(name): _module(name))  # type: ignore[misc]
        names.append(str(name))
    return names


def _module(name: str) -> object:
    path = Path(name)
    if path.suffix != ".py":
        if str(Path.cwd()) not in sys.path:  # a module beside the user, as `python -m` finds it
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(name)
    if not path.is_file():
        raise UserError(f"there is no file {name}")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and spawned processes look a class up by its module
    spec.loader.exec_module(module)
    return module


def _import(name: str, load: Callable[[], object]) -> None:
    if name in _loaded:
        return
    try:
        load()
    except UserError as error:
        raise UserError(f"plugin {name}: {error}") from error
    except Exception as error:
        raise UserError(f"plugin {name} does not import: {type(error).__name__}: {error}") from error
    _loaded.add(name)


def _home(entry: object) -> str:
    module, name = getattr(entry, "__module__", None), getattr(entry, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(entry)
