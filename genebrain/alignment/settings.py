"""Settings of an alignment: start, score, loss, projector, and how long and fast it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from genebrain.alignment.losses.registry import LOSSES
from genebrain.alignment.towers.registry import PROJECTORS
from genebrain.common.types import UserError
from genebrain.training.settings import DeviceSettings

if TYPE_CHECKING:
    from torch import nn

    from genebrain.alignment.towers.projector import Projector


@dataclass(frozen=True)
class ProjectorSettings:
    """Form of both projectors, the trained body of the towers.

    Parameters
    ----------
    kind : str
        mlp (``Linear(in, hidden) - GELU - Dropout - Linear(hidden, width) - LayerNorm(width)``), linear (one map), or
        one of a plugin.
    hidden : int
        Width of the hidden layer.
    width : int
        Dimensions of the shared space.
    dropout : float
        Behind the hidden layer, in training only.
    """

    kind: str = "mlp"
    hidden: int = 1024
    width: int = 512
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in PROJECTORS:
            raise UserError(f"alignment.projector.kind={self.kind}: {PROJECTORS.unknown(self.kind)}")
        if not 0 <= self.dropout < 1 or min(self.hidden, self.width) < 1:
            raise UserError(
                f"projector: dropout={self.dropout} must lie in [0, 1), hidden={self.hidden} and "
                f"width={self.width} must be positive"
            )

    def build(self, features: int) -> Projector:
        """Make a projector for so many features."""
        from genebrain.alignment.towers.projector import Projector

        return Projector(features, self.hidden, self.width, self.dropout, self.kind)


@dataclass(frozen=True)
class AlignmentSettings:
    """Where the towers start, what is trained, and how a pair is scored.

    Parameters
    ----------
    start : {"closed_form", "random"}
        Towers of the closed form, or random projectors.
    train : {"none", "residual", "full"}
        Nothing, a correction on the frozen start, or everything.
    score : {"llr", "cosine"}
        Calibrated log-likelihood ratio, or cosine.
    loss : str
        infonce, siglip, or one of a plugin.
    relatives : {"ignore", "negative"}
        What members of one family with different genomes are to each other.
    projector : ProjectorSettings
        Form of the projectors.
    """

    start: Literal["closed_form", "random"] = "closed_form"
    train: Literal["none", "residual", "full"] = "residual"
    score: Literal["llr", "cosine"] = "llr"
    loss: str = "infonce"
    relatives: Literal["ignore", "negative"] = "ignore"
    projector: ProjectorSettings = field(default_factory=ProjectorSettings)

    def __post_init__(self) -> None:
        _one_of("alignment.start", self.start, ("closed_form", "random"))
        _one_of("alignment.train", self.train, ("none", "residual", "full"))
        _one_of("alignment.score", self.score, ("llr", "cosine"))
        _one_of("alignment.loss", self.loss, tuple(LOSSES))
        _one_of("alignment.relatives", self.relatives, ("ignore", "negative"))
        if self.start == "random" and self.train != "full":
            raise UserError(
                f"alignment.start=random with train={self.train} leaves random projectors as they are: "
                "use train=full, or start=closed_form"
            )
        if self.start == "random" and self.score == "llr":
            raise UserError(
                "alignment.score=llr needs the variances that the closed form estimates: use score=cosine with "
                "start=random"
            )

    def build_loss(self) -> nn.Module:
        """Make the loss."""
        return LOSSES[self.loss](self.relatives)


@dataclass(frozen=True)
class TrainerSettings(DeviceSettings):
    """How long, how fast and on what to train.

    Parameters
    ----------
    max_epochs : int
        Passes over the training people at most.
    patience : int
        Epochs without a better validation recall before stopping.
    batch_size : int
        Subjects (scans, where these are the rows of training) per step over all devices; more negatives, more memory.
    learning_rate : float
        Of projectors and heads.
    weight_decay : float
        Of AdamW.
    encoder_learning_rate : float
        Of encoders in training (``tuning`` of a side); larger ones lose the start. What people share of an embedding is
        a hundred times larger than what tells them apart, and the towers read the latter.
    sampler : {"random", "within_stratum"}
        Batches of anybody, or of people of one stratum: negatives share site and ancestry.
    """

    max_epochs: int = 200
    patience: int = 20
    batch_size: int = 1024
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    encoder_learning_rate: float = 1e-5
    sampler: Literal["random", "within_stratum"] = "random"

    def __post_init__(self) -> None:
        problems = self.device_problems()
        if self.sampler not in ("random", "within_stratum"):
            problems.append(f"trainer.sampler={self.sampler}: use random or within_stratum")
        if min(self.max_epochs, self.patience) < 1 or self.batch_size < 2:
            problems.append(
                f"trainer: max_epochs={self.max_epochs} and patience={self.patience} must be at least 1, "
                f"batch_size={self.batch_size} at least 2"
            )
        if min(self.learning_rate, self.encoder_learning_rate) <= 0 or self.weight_decay < 0:
            problems.append(
                f"trainer: learning_rate={self.learning_rate} and encoder_learning_rate={self.encoder_learning_rate} "
                f"must be positive, weight_decay={self.weight_decay} not negative"
            )
        if problems:
            raise UserError("; ".join(problems))


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{key}={value}: use one of {', '.join(allowed)}")
