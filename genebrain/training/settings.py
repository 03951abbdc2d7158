"""Settings of every training: devices and logs, low-rank adapters.

Nothing heavy is imported here: settings are read to show help and to check a command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, get_args

from genebrain.common.types import UserError
from genebrain.training.own_parts import KINDS, NAMED, OwnPart

Tuning = Literal["frozen", "lora", "full"]
TUNINGS: tuple[Tuning, ...] = get_args(Tuning)
"""Whether an encoder is trained: not, by low-rank adapters, or all its weights."""
LLAMA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL_LINEAR = "all-linear"
"""As the only target: every linear layer of the model."""
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
LOGGERS = ("csv", "tensorboard", "wandb")
SHARDED = ("fsdp", "deepspeed")


def several(given: Any) -> tuple[Any, ...]:
    """Names and own parts; objects and classes of a user as such parts, one thing as a tuple of one."""
    things = given if isinstance(given, list | tuple) else (given,)
    return tuple(one if isinstance(one, str | dict) else OwnPart.given(one) for one in things)


def missing_loggers(names: Sequence[object]) -> list[str]:
    """What must be installed for these loggers, in words."""
    absent = [name for name in LOGGERS[1:] if name in names and not find_spec(name)]
    return [f"{name} is not installed (pip install {name})" for name in absent]


@dataclass(frozen=True)
class DeviceSettings:
    """On what to train, and where the log goes; base of the settings of every training.

    Parameters
    ----------
    precision : str
        auto (bf16-mixed on a GPU, 32-true on CPU), or one of ``PRECISIONS`` such as 32-true. Scores of an alignment are
        float32 always.
    accelerator : str
        auto (a CUDA GPU where there is one), cpu or gpu.
    devices : int or "auto"
        GPUs, or processes on the CPU; auto or -1: all.
    strategy : str or strategy of Lightning
        auto or ddp, as Lightning names them; or one by its class, {_target_: module.Class, option: value}.
    loggers : sequence of {"csv", "tensorboard", "wandb"} or loggers of Lightning
        Any of csv, tensorboard, wandb (which sends data away); or some by their class, as callbacks.
    callbacks : sequence of callbacks of Lightning
        Beside the package's own: [{_target_: my_module.MyCallback, option: value}], with plugins=[my_module.py] for a
        file of your own.
    """

    section: ClassVar[str] = "trainer"
    """Name of these settings in a configuration, for messages."""
    strategies: ClassVar[tuple[str, ...]] = ("auto", "ddp")

    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int | str = 1
    strategy: object = "auto"
    loggers: tuple[object, ...] = ("csv",)
    callbacks: tuple[object, ...] = ()

    def device_problems(self) -> list[str]:
        """What is misspelt or does not fit together, on whatever machine."""
        for key in ("loggers", "callbacks"):
            object.__setattr__(self, key, several(getattr(self, key)))
        object.__setattr__(self, "strategy", several(self.strategy)[0])
        problems = []
        for key, known in (
            ("precision", PRECISIONS), ("accelerator", ACCELERATORS), ("strategy", self.strategies),
        ):  # fmt: skip
            if (word := getattr(self, key)) not in known and not isinstance(word, OwnPart):
                problems.append(f"{self.section}.{key}={word}: use one of {', '.join(known)}")
        if self.devices != "auto" and not (isinstance(self.devices, int) and (self.devices >= 1 or self.devices == -1)):
            problems.append(f"{self.section}.devices={self.devices}: use a whole number from 1 on, -1 or auto (all)")
        for key, names in (("loggers", LOGGERS), ("callbacks", ())):
            if unknown := [one for one in getattr(self, key) if one not in names and not isinstance(one, OwnPart)]:
                use = ", ".join((*names, NAMED))
                problems.append(f"{self.section}.{key}={unknown}: use {use} on the command line; a file names none")
        if self.accelerator == "cpu":
            problems += self._needs_gpu()
        return problems

    def on_gpu(self) -> bool:
        """Whether training will run on a GPU.

        Raises
        ------
        UserError
            Everything this machine cannot provide; not in ``device_problems``, as settings may be made elsewhere.
        """
        import torch

        gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        problems = [] if gpu else self._needs_gpu()
        problems += [f"{self.section}.loggers: {words}" for words in missing_loggers(self.loggers)]
        problems += self._unmade()
        if not gpu and self.accelerator in ("gpu", "cuda"):
            problems.append(
                f"{self.section}.accelerator={self.accelerator}: this machine shows no CUDA GPU; use "
                f"{self.section}.accelerator=auto"
                + (" and trainer=default instead of trainer=ddp" if self.section == "trainer" else "")
            )
        if gpu and isinstance(self.devices, int) and self.devices > torch.cuda.device_count():
            problems.append(
                f"{self.section}.devices={self.devices}, but this machine shows {torch.cuda.device_count()} GPUs; "
                f"use {self.section}.devices=auto for all of them"
            )
        if problems:
            raise UserError("; ".join(problems))
        return gpu

    def _unmade(self) -> list[str]:
        """Parts of the user's own that cannot be made."""
        problems = []
        for key in KINDS:
            for part in several(getattr(self, key)):
                try:
                    if isinstance(part, OwnPart):
                        part.try_to_make(key)
                except UserError as error:
                    problems.append(f"{self.section}.{key}: {error}")
        return problems

    def _needs_gpu(self) -> list[str]:
        problems = []
        if str(self.strategy).startswith(SHARDED):
            problems.append(f"{self.section}.strategy={self.strategy} needs GPUs; on CPU use auto or ddp")
        if self.precision.startswith("16"):
            problems.append(f"{self.section}.precision={self.precision} needs a GPU; on CPU use 32-true or bf16-mixed")
        return problems


@dataclass(frozen=True)
class LoraSettings:
    """Which linear layers get an adapter, and how large.

    Parameters
    ----------
    rank : int
        Width of an adapter: a layer of ``[out, in]`` gets ``rank * (out + in)`` trainable numbers.
    alpha : float
        The scale of an adapter is ``alpha / rank``.
    dropout : float
        On the input of an adapter, in training only; in [0, 1).
    targets : sequence of str
        Linear layers that get one, by their names or the last parts of these; [all-linear] for every one. The default
        is the four projections of Llama's attention.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: Sequence[str] = LLAMA_TARGETS

    def __post_init__(self) -> None:
        targets = (self.targets,) if isinstance(self.targets, str) else tuple(self.targets)
        object.__setattr__(self, "targets", targets)
        problems = []
        if self.rank < 1:
            problems.append(f"lora.rank={self.rank}: must be at least 1")
        if self.alpha <= 0:
            problems.append(f"lora.alpha={self.alpha}: must be positive")
        if not 0 <= self.dropout < 1:
            problems.append(f"lora.dropout={self.dropout}: must be in [0, 1)")
        if not targets:
            problems.append(f"lora.targets is empty: name linear layers, or {ALL_LINEAR}")
        if problems:
            raise UserError("; ".join(problems))
