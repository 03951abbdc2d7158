"""Settings of an alignment: start, training, score, loss, projector."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from genebrain.alignment.losses import infonce, siglip  # noqa: F401 - each registers its loss
from genebrain.alignment.losses.registry import LOSSES
from genebrain.alignment.towers.projector import Projector
from genebrain.common.types import UserError


@dataclass(frozen=True)
class ProjectorSettings:
    """Form of both projectors: ``Linear(in, hidden) - GELU - Dropout - Linear(hidden, width) - LayerNorm(width)``.

    Parameters
    ----------
    kind : {"mlp", "linear"}
    hidden, width : int
    dropout : float
    """

    kind: str = "mlp"
    hidden: int = 1024
    width: int = 512
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _one_of("projector.kind", self.kind, ("mlp", "linear"))
        if not 0 <= self.dropout < 1 or min(self.hidden, self.width) < 1:
            raise UserError(
                f"projector: dropout={self.dropout} must lie in [0, 1), hidden={self.hidden} and "
                f"width={self.width} must be positive"
            )

    def build(self, features: int) -> Projector:
        """Make a projector for so many features."""
        return Projector(features, self.hidden, self.width, self.dropout, self.kind)


@dataclass(frozen=True)
class AlignmentSettings:
    """Where the towers start, what is trained, and how a pair is scored.

    Parameters
    ----------
    start : {"closed_form", "random"}
    train : {"none", "residual", "full"}
        ``residual``: a correction on the frozen start; ``full``: everything.
    score : {"llr", "cosine"}
        Calibrated log-likelihood ratio, or cosine.
    loss : {"infonce", "siglip"}
    relatives : {"ignore", "negative"}
        What members of one family with different genomes are to each other.
    projector : ProjectorSettings
    """

    start: str = "closed_form"
    train: str = "residual"
    score: str = "llr"
    loss: str = "infonce"
    relatives: str = "ignore"
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


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{key}={value}: use one of {', '.join(allowed)}")
