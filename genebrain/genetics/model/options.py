"""Options of a DNA model: kernels, memory, lengths beyond the trained ones, strands and layers that are read.

One settings object for every place that loads a model. Values are checked here and nothing is loaded; kernels and
memory options change no number beyond rounding, the context mode does and is part of a model's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from genebrain.common.types import UserError
from genebrain.genetics.model.tokenizer import FrameRule

Attention = Literal["sdpa", "flash_attention_2", "eager"]
Context = Literal["chunks", "yarn", "sliding_window"]
ATTENTION: tuple[Attention, ...] = get_args(Attention)
Strand = Literal["forward", "both_mean", "both_concat"]
CONTEXT: tuple[Context, ...] = get_args(Context)
CHUNK_BP = 1500
"""Letters of a chunk where nothing else is said."""


@dataclass(frozen=True)
class ModelOptions:
    """Kernels and long context of one model; every option applies to that model alone, not to the process.

    Attributes
    ----------
    attention : {"sdpa", "flash_attention_2", "eager"}
        Attention kernel; flash_attention_2 needs an NVIDIA GPU and the extra ``gpu``. It takes bfloat16 or float16.
    liger : bool
        Fused norms and MLPs (NVIDIA GPU and the extra ``liger``).
    gradient_checkpointing : bool
        Where the model is trained, keep only the input of each block: less memory, a third more time.
    compile : bool
        torch.compile of every block; slow at the first call of each input length.
    context : {"chunks", "yarn", "sliding_window"}
        Inputs of the trained length, each alone; stretched positions; or any length. With ``yarn`` the position
        encoding is stretched to ``context_tokens``; with ``sliding_window`` each token sees the ``window`` tokens up to
        and including itself.
    context_tokens : int, optional
        Longest input of yarn, in tokens of 6 bases.
    window : int
        Tokens that each token sees with sliding_window, its own included.
    segment_tokens : int
        Tokens computed at once with sliding_window: memory and speed, no number.
    """

    attention: Attention = "sdpa"
    liger: bool = False
    gradient_checkpointing: bool = False
    compile: bool = False
    context: Context = "chunks"
    context_tokens: int | None = None
    window: int = 16384
    segment_tokens: int = 1024

    def __post_init__(self) -> None:
        problems = []
        if self.attention not in ATTENTION:
            problems.append(f"attention={self.attention}: use {', '.join(ATTENTION)}")
        if self.context not in CONTEXT:
            problems.append(f"context={self.context}: use {', '.join(CONTEXT)}")
        if self.context == "yarn" and self.context_tokens is None:
            problems.append("context=yarn: give context_tokens=..., the longest input in tokens of 6 bases")
        if self.context != "yarn" and self.context_tokens is not None:
            problems.append(f"context_tokens={self.context_tokens} is read with context=yarn only, not {self.context}")
        for name in ("window", "segment_tokens"):
            if (value := getattr(self, name)) < 1:
                problems.append(f"{name}={value}: must be at least 1")
        if problems:
            raise UserError("; ".join(problems))

    @property
    def context_identity(self) -> str:
        """What the context mode adds to the identity of a model; empty for ``chunks``."""
        return {
            "chunks": "",
            "yarn": f"yarn:{self.context_tokens}",
            "sliding_window": f"sliding_window:{self.window}",
        }[self.context]


@dataclass(frozen=True)
class ReadingRules:
    """How a chunk is read; each choice has its own table of vectors.

    Parameters
    ----------
    strand : {"forward", "both_mean", "both_concat"}
        Read the other strand too, and average or put side by side.
    phases : sequence of int
        Frames of the 6-mers, some of 0..5; their vectors are averaged.
    layer : int
        Hidden layer from the end; -1 is the last, behind the final norm.
    last_layers : int
        Mean of the last k layers (with layer=-1).
    opening_mark : bool
        <s> in front of every chunk.
    closing_mark : bool
        <s> behind every chunk (the cards of the v2 models put both, those of v1 only the first); without it ``last``
        is the vector of the last 6-mer.
    length_rule : {"pad_right", "pad_left", "trim_right", "trim_left"}
        Lengths that are no multiple of 6.
    """

    strand: Strand = "forward"
    phases: tuple[int, ...] = (0,)
    layer: int = -1
    last_layers: int = 1
    opening_mark: bool = True
    closing_mark: bool = True
    length_rule: FrameRule = "pad_right"

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", tuple(self.phases))  # YAML gives a list
