"""Token ids of strings, in padded batches of like lengths, to vectors per string: for any model of Transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genebrain.genetics.model.encode import POOLINGS

BATCH_TOKENS = 8192
"""Most tokens of a batch, padding included; a longer string goes alone."""


def pooled_vectors(
    tokens: Sequence[tuple[NDArray[np.int64], NDArray[np.bool_]]],
    model: Any,
    device: torch.device,
    hidden_size: int,
    pad: int,
) -> dict[str, Tensor]:
    """Vectors float32 ``[strings, hidden_size]`` by pooling (last, mean, max).

    Parameters
    ----------
    tokens : sequence of (ids, content)
        Of each string; ``content`` is True at tokens that stand for letters. Marks are read and not pooled; a string
        without content is pooled over all its tokens.
    model : PreTrainedModel
        Called with ids int64 ``[batch, tokens]`` and the mask of the real ones.
    pad : int
        Id behind the end of shorter strings; masked.
    """
    out = {name: torch.zeros(len(tokens), hidden_size) for name in POOLINGS}
    order = np.argsort([len(ids) for ids, _ in tokens], kind="stable")
    for rows in _batches(order, [len(ids) for ids, _ in tokens]):
        longest = max(len(tokens[row][0]) for row in rows)
        ids = np.full((len(rows), longest), pad, np.int64)
        mask, content = np.zeros(ids.shape, bool), np.zeros(ids.shape, bool)
        for place, row in enumerate(rows):
            own, letters = tokens[row]
            ids[place, : len(own)], mask[place, : len(own)] = own, True
            content[place, : len(own)] = letters if letters.any() else True
        with torch.inference_mode():
            read = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device, torch.int64)
            hidden = model(input_ids=read[0], attention_mask=read[1]).last_hidden_state.float().cpu()
        for name, values in _pooled(hidden, torch.from_numpy(content)).items():
            out[name][rows] = values
    return out


def _pooled(hidden: Tensor, content: Tensor) -> dict[str, Tensor]:
    weight = content.unsqueeze(-1)
    last = content.shape[1] - 1 - content.int().flip(1).argmax(dim=1)
    return {
        "last": hidden[torch.arange(len(hidden)), last],
        "mean": (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1),
        "max": hidden.masked_fill(~weight, -torch.inf).amax(dim=1),
    }


def _batches(order: NDArray[Any], lengths: Sequence[int]) -> list[list[int]]:
    batches: list[list[int]] = []
    for row in order.tolist():
        if batches and (len(batches[-1]) + 1) * lengths[row] <= BATCH_TOKENS:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
