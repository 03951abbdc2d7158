"""Callbacks, loggers and strategies of Lightning that a user names by their class.

``trainer.callbacks=[{_target_: my_module.MyCallback, every: 5}]`` on the command line, or an object, a class or a
function without arguments in Python, becomes an :class:`OwnPart`: a text that can be made. A run folder keeps the
text, to compare it; what is read from a file never becomes an own part, so no file can choose code to run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from genebrain.common.types import UserError

Kind = Literal["callbacks", "loggers", "strategy"]
KINDS: tuple[Kind, ...] = ("callbacks", "loggers", "strategy")
"""Settings that take such parts."""
NAMED = "{_target_: my_module.MyClass, option: value}"


class OwnPart(str):
    """The text of a part, with what makes it.

    Parameters
    ----------
    text : str
        Shown, kept and compared.
    maker : callable
        Called without arguments, once for every training.
    """

    _maker: Callable[[], Any]
    _tried: Any

    def __new__(cls, text: str, maker: Callable[[], Any]) -> OwnPart:
        """Text with its maker."""
        part = super().__new__(cls, text)
        part._maker, part._tried = maker, None
        return part

    @classmethod
    def named(cls, target: str, options: Mapping[str, Any]) -> OwnPart:
        """A class (or function) by its import path, as the user typed it."""
        words = ", ".join(f"{key}={value!r}" for key, value in options.items())
        return cls(f"{target}({words})", partial(_made, target, dict(options)))

    @classmethod
    def given(cls, thing: Any) -> OwnPart:
        """An object, which every training uses, or a class or function that makes one for each."""
        kind = getattr(thing, "func", thing)  # a partial
        kind = kind if callable(kind) else type(kind)
        maker = thing if callable(thing) else partial(_itself, thing)
        return cls(f"{kind.__module__}.{kind.__qualname__}", maker)

    def try_to_make(self, kind: Kind) -> None:
        """Make the part of the next training now, so that what is missing is told before any work.

        Raises
        ------
        UserError
            It cannot be imported or made, or is none of Lightning's.
        """
        if self._tried is not None:
            return
        try:
            made = self._maker()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self} cannot be made: {type(error).__name__}: {_line(error)}") from error
        if not isinstance(made, _base(kind)):
            raise UserError(f"{self} is a {type(made).__name__}, no {_base(kind).__name__} of Lightning")
        self._tried = made

    def make(self, kind: Kind) -> Any:
        """The part of one training."""
        self.try_to_make(kind)
        made, self._tried = self._tried, None
        return made

    def __deepcopy__(self, _memo: Any) -> OwnPart:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnPart, (str(self), self._maker)


def typed_parts(node: Any) -> Any:
    """Nodes of a command line with the parts that it names by ``_target_``, under the keys that take some."""
    if not isinstance(node, Mapping):
        return [typed_parts(one) for one in node] if isinstance(node, list) else node
    return {key: _typed(value) if key in KINDS else typed_parts(value) for key, value in node.items()}


def _typed(value: Any) -> Any:
    if isinstance(value, list):
        return [_typed(one) for one in value]
    if isinstance(value, Mapping) and isinstance(value.get("_target_"), str):
        return OwnPart.named(value["_target_"], {key: one for key, one in value.items() if key != "_target_"})
    return value


def _made(target: str, options: Mapping[str, Any]) -> Any:
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module or "builtins"), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{target} cannot be imported ({_line(error)}); a file of your own is named with plugins=[FILE.py]"
        ) from error
    return kind(**options)


def _itself(thing: Any) -> Any:
    return thing


def _base(kind: Kind) -> type:
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import Logger
    from pytorch_lightning.strategies import Strategy

    return {"callbacks": Callback, "loggers": Logger, "strategy": Strategy}[kind]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
