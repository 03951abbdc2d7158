"""Choose the next 6-mer from logits: as one token, or base by base from marginal probabilities.

One draw per row, decided by uniform numbers that the caller gives. Control tokens have no chance; the same logits
and the same numbers give the same choice whatever else is in the batch; with temperature 1 and no truncation both
policies draw from the same distribution.

Source: token-level greedy decoding of GenerTeam/GENERator's recovery script; base by base as described in audits of
the model class on the hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.model.tokenizer import CONTROL_TOKENS, K

Policy = Literal["token", "base"]
_CONTROL = len(CONTROL_TOKENS)


@dataclass(frozen=True)
class SamplingSettings:
    """How the next 6-mer is chosen.

    Attributes
    ----------
    policy : {"token", "base"}
        ``token`` draws one of 4,096 6-mers. ``base`` draws six bases in turn, each from the summed probability of the
        6-mers that begin with the bases drawn so far.
    temperature : float
        0 is greedy: the most likely choice, the first in alphabetical order A, T, C, G on ties.
    top_k : int
        Only the k most likely choices (of 6-mers, or of the four bases); 0 is off.
    top_p : float
        Only the most likely choices that together reach this probability; 1 is off.
    """

    policy: Policy = "token"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        if self.policy not in get_args(Policy):
            problems.append(f"policy={self.policy!r} (use {' or '.join(get_args(Policy))})")
        if not 0 <= self.temperature < float("inf"):
            problems.append(f"temperature={self.temperature} (0 is greedy, 1 draws as the model says)")
        if self.top_k < 0:
            problems.append(f"top_k={self.top_k} (0 switches it off)")
        if not 0 < self.top_p <= 1:
            problems.append(f"top_p={self.top_p} (above 0, at most 1)")
        if problems:
            raise UserError("sampling: " + "; ".join(problems))

    @property
    def draws_per_token(self) -> int:
        """Uniform numbers that one 6-mer takes."""
        return K if self.policy == "base" else 1


def choose(logits: NDArray[np.floating], settings: SamplingSettings, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ids of the next 6-mers.

    Parameters
    ----------
    logits : float [rows, 4128]
    settings
    uniform : float64 [rows, settings.draws_per_token]
        Numbers in [0, 1); not used when greedy.

    Returns
    -------
    int64 [rows]
        Ids from 32 on.
    """
    scores = np.asarray(logits, np.float64)[:, _CONTROL:]
    probabilities = np.exp(scores - scores.max(1, keepdims=True))
    if settings.policy == "token":
        return _CONTROL + _draw(probabilities, settings, uniform[:, 0])
    left = probabilities
    number = np.zeros(len(left), np.int64)
    for place in range(K):
        by_base = left.reshape(len(left), 4, -1)
        base = _draw(by_base.sum(2), settings, uniform[:, place])
        left = by_base[np.arange(len(left)), base]
        number = 4 * number + base
    return _CONTROL + number


def _draw(weights: NDArray[np.float64], settings: SamplingSettings, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Column drawn from each row of non-negative ``weights`` ``[rows, choices]``."""
    if settings.temperature == 0:
        return weights.argmax(1)
    if settings.temperature != 1:
        weights = (weights / weights.max(1, keepdims=True)) ** (1 / settings.temperature)
    # Most likely first, so that truncation keeps a beginning and a draw reads the cumulative sum.
    order = np.argsort(-weights, axis=1, kind="stable")
    ranked = np.take_along_axis(weights, order, 1)
    if 0 < settings.top_k < ranked.shape[1]:
        ranked[:, settings.top_k :] = 0
    cumulative = ranked.cumsum(1)
    if settings.top_p < 1:
        before = cumulative - ranked
        ranked = np.where(before < settings.top_p * cumulative[:, -1:], ranked, 0)
        cumulative = ranked.cumsum(1)
    total = cumulative[:, -1]
    rank = (cumulative <= (uniform * total)[:, None]).sum(1)
    # Rounding may carry a draw to the total itself: then the last choice that has any weight is meant.
    rank = np.minimum(rank, (ranked > 0).sum(1) - 1)
    return order[np.arange(len(order)), rank]
