"""Settings of fine-tuning: table, tokens, folds, head, training.

Values are checked here and nothing heavy is imported: settings are read to show help and to check a command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from genebrain.common.types import UserError
from genebrain.genetics.model.tokenizer import FrameRule, Side
from genebrain.genetics.sequences.hygiene import Unreadable, Uracil, check_choices
from genebrain.training.settings import DeviceSettings

TASKS = ("classification", "multilabel", "regression", "causal_lm")
HUB = "hub:"
HEAD_POOLINGS = ("last", "mean", "max", "chunks")
LEAKS = ("error", "drop")
SCHEDULES = ("constant", "plateau", "cosine")
RATES = {"frozen": 1e-3, "lora": 2e-4, "full": 1e-5}
"""Learning rate by tuning, where none is given; 1e-5 is the published one for full fine-tuning."""


@dataclass(frozen=True)
class TableSettings:
    """How the columns of the table are called, and what to do with sequences that cannot be read.

    Parameters
    ----------
    sequence : str, optional
        Column of the letters; None: the first of sequence, seq, dna_sequence, dna_seq, text.
    label : str or list of str
        Column of the label, or [a,b] for several labels or numbers; one column may hold lists such as 0,1,1.
    group : str, optional
        Column: rows with one value (a gene, a family of sequences) stay on one side of every split.
    split : str, optional
        Column with train, validation, test; None: ``split`` if there is one.
    uracil : {"error", "to_t"}
        RNA letters U.
    unreadable : {"error", "skip"}
        Sequences under six letters or of N alone.
    unlabelled : {"error", "skip"}
        Rows whose label is empty, NA, NaN, NULL, n/a and the like: refuse, or leave out and count.
    """

    sequence: str | None = None
    label: str | list[str] = "label"
    group: str | None = None
    split: str | None = None
    uracil: Uracil = "error"
    unreadable: Unreadable = "error"
    unlabelled: Unreadable = "error"

    def __post_init__(self) -> None:
        check_choices(self.uracil, self.unreadable)
        if self.unlabelled not in get_args(Unreadable):
            raise UserError(f"unlabelled={self.unlabelled!r}: use one of {', '.join(get_args(Unreadable))}")
        if not self.label:
            raise UserError("table.label is empty: name the column of the labels")

    @property
    def labels(self) -> list[str]:
        """Label columns as a list."""
        return [self.label] if isinstance(self.label, str) else list(self.label)


@dataclass(frozen=True)
class TokenSettings:
    """How letters become tokens.

    Parameters
    ----------
    length_rule : {"pad_right", "pad_left", "trim_left", "trim_right"}
        Lengths that are no multiple of six: letters A added, or letters cut.
    max_tokens : int, optional
        Longest input with its two marks (6 bases a token); None: what model and head take.
    truncation : {"right", "left"}
        The side that longer sequences lose.
    padding : {"right", "left"}
        The side of ``<pad>`` in a batch; no number depends on it.
    parity : bool
        The published input of classification: no length rule, marks may be cut off.
    """

    length_rule: FrameRule = "pad_right"
    max_tokens: int | None = None
    truncation: Side = "right"
    padding: Side = "right"
    parity: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"tokens.{name}={value!r}: use {', '.join(get_args(known))}"
            for name, value, known in (
                ("length_rule", self.length_rule, FrameRule),
                ("truncation", self.truncation, Side),
                ("padding", self.padding, Side),
            )
            if value not in get_args(known)
        ]
        if self.max_tokens is not None and self.max_tokens < 3:
            problems.append(f"tokens.max_tokens={self.max_tokens}: two marks and one 6-mer need 3")
        if problems:
            raise UserError("; ".join(problems))


@dataclass(frozen=True)
class FoldSettings:
    """How rows are divided.

    Parameters
    ----------
    folds : int
        0: one split; k: k models, each tested on its k-th part.
    test : float
        Share of the rows, when the table gives no split.
    validation : float
        Share of the rows that are not test; early stopping reads it.
    leaks : {"error", "drop"}
        Rows of a given split whose sequence (or its reverse complement) stands on a later side too: refuse, or leave
        out and count.
    """

    folds: int = 0
    test: float = 0.2
    validation: float = 0.1
    leaks: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        problems = []
        if self.folds < 0 or self.folds == 1:
            problems.append(f"folds.folds={self.folds}: use 0 (one split) or at least 2")
        if not (0 < self.test < 1 and 0 < self.validation < 1):
            problems.append(f"folds.test={self.test} and folds.validation={self.validation}: shares between 0 and 1")
        if self.leaks not in LEAKS:
            problems.append(f"folds.leaks={self.leaks}: use error or drop")
        if problems:
            raise UserError("; ".join(problems))


@dataclass(frozen=True)
class HeadSettings:
    """From tokens to one vector.

    Parameters
    ----------
    pooling : {"last", "mean", "max", "chunks"}
        The last real token, the mean or maximum, or long inputs in chunks: one vector per chunk, side by side.
    chunk_tokens : int
        For chunks: tokens per chunk.
    max_chunks : int
        For chunks: the head has weights for so many.
    overlap_fraction : float
        For chunks: share that the next chunk repeats, in [0, 1).
    parity : bool
        For chunks: drop a short tail and what lies behind ``max_chunks``, as published.
    bias : bool
        The published heads have none.
    """

    pooling: Literal["last", "mean", "max", "chunks"] = "last"
    chunk_tokens: int = 4096
    max_chunks: int = 8
    overlap_fraction: float = 0.0
    parity: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        if self.pooling not in HEAD_POOLINGS:
            raise UserError(f"head.pooling={self.pooling!r}: use one of {', '.join(HEAD_POOLINGS)}")
        if self.chunk_tokens < 3 or self.max_chunks < 1 or not 0 <= self.overlap_fraction < 1:
            raise UserError(
                f"head: chunk_tokens={self.chunk_tokens} must be at least 3, max_chunks={self.max_chunks} at least 1, "
                f"overlap_fraction={self.overlap_fraction} in [0, 1)"
            )

    def width(self, hidden_size: int) -> int:
        """Numbers that the head reads."""
        return hidden_size * (self.max_chunks if self.pooling == "chunks" else 1)

    def max_tokens(self, of_model: int) -> int:
        """Longest input in tokens, given that of the model."""
        if self.pooling != "chunks":
            return of_model
        if self.chunk_tokens > of_model:
            raise UserError(f"head.chunk_tokens={self.chunk_tokens}, but the model takes {of_model} tokens at a time")
        stride = self.chunk_tokens - int(self.chunk_tokens * self.overlap_fraction)
        return self.chunk_tokens + (self.max_chunks - 1) * stride


@dataclass(frozen=True)
class TrainingSettings(DeviceSettings):
    """How long, how fast and on what to train.

    Parameters
    ----------
    max_epochs : int
        Passes over the training rows at most.
    patience : int
        Epochs without a better monitored metric before stopping.
    monitor : str, optional
        Validation metric; None: mcc, f1_max, mse or nats_per_base.
    batch_size : int
        Sequences per step over all devices.
    accumulate : int
        Steps whose gradients are added up.
    learning_rate : float, optional
        None: 1e-3 frozen, 2e-4 lora, 1e-5 full (the published one).
    weight_decay : float
        Of AdamW; parameters of one dimension are not decayed.
    schedule : {"plateau", "constant", "cosine"}
        Plateau: halve after two epochs without gain; cosine: fall to a tenth.
    warmup_steps : int
        For cosine: steps of linear rise.
    clip : float
        Largest norm of a gradient; 0: none.
    strategy : {"auto", "ddp", "fsdp", "deepspeed_stage_2", "deepspeed_stage_3"}
        The last three need GPUs.
    """

    section: ClassVar[str] = "training"
    strategies: ClassVar[tuple[str, ...]] = ("auto", "ddp", "fsdp", "deepspeed_stage_2", "deepspeed_stage_3")

    precision: str = "auto"
    max_epochs: int = 20
    patience: int = 5
    monitor: str | None = None
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.1
    schedule: Literal["plateau", "constant", "cosine"] = "plateau"
    warmup_steps: int = 0
    clip: float = 1.0

    def __post_init__(self) -> None:
        problems = self.device_problems()
        if min(self.max_epochs, self.patience, self.batch_size, self.accumulate) < 1:
            problems.append(
                f"training: max_epochs={self.max_epochs}, patience={self.patience}, batch_size={self.batch_size} and "
                f"accumulate={self.accumulate} must be at least 1"
            )
        if self.schedule not in SCHEDULES:
            problems.append(f"training.schedule={self.schedule}: use {', '.join(SCHEDULES)}")
        if self.learning_rate is not None and self.learning_rate <= 0:
            problems.append(f"training.learning_rate={self.learning_rate} must be positive")
        if self.weight_decay < 0 or self.clip < 0 or self.warmup_steps < 0:
            problems.append("training: weight_decay, clip and warmup_steps must not be negative")
        if problems:
            raise UserError("; ".join(problems))

    def rate(self, tuning: str) -> float:
        """Learning rate."""
        return self.learning_rate or RATES[tuning]
