"""Chunks of tokens to vectors: the ChunkEnsemble of GENERator, with its traps closed.

Every chunk goes through the decoder alone, positions from 0, no state carried between chunks, and all token poolings
come from one pass. Padding on either side never changes a number; an empty chunk gives zeros and says so in a mask.

Differences to the published code, which reads a padding position for left-padded or empty chunks, fails on inputs
shorter than a chunk and drops the tail in silence: all are handled here; ``parity=True`` keeps the dropped tail.
Source: GenerTeam/GENERator, sequence understanding task, ChunkEnsemble.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.sliding_window import pool_stream
from genebrain.genetics.model.tokenizer import PAD
from genebrain.genetics.model.views import HiddenLayers

POOLINGS = ("last", "mean", "max")


@dataclass(frozen=True)
class Chunks:
    """A token batch cut into chunks.

    Attributes
    ----------
    ids : int64 [batch, chunks, chunk_size]
    mask : bool [batch, chunks, chunk_size]
        True at real tokens.
    starts : list of int, length chunks
        First position of each chunk in the (possibly re-aligned) input.
    tokens_never_read : int
        Positions of the input behind the last chunk; 0 unless ``parity``.
    """

    ids: Tensor
    mask: Tensor
    starts: list[int]
    tokens_never_read: int

    @property
    def defined(self) -> Tensor:
        """Bool [batch, chunks]: the chunk holds at least one real token."""
        return self.mask.any(-1)


def cut(
    token_ids: Tensor,
    mask: Tensor,
    *,
    chunk_size: int,
    max_chunks: int,
    overlap_fraction: float = 0.0,
    parity: bool = False,
) -> Chunks:
    """Cut a padded token batch ``[batch, length]`` into overlapping chunks.

    By default rows are first aligned to the left (so the padding side does not move the cuts) and a last
    chunk shorter than ``chunk_size`` is kept, padded and masked. With ``parity`` the cuts are the
    published ones: plain slices of the padded batch, tail and chunks beyond ``max_chunks`` dropped and
    counted; an input shorter than one chunk, an error there, is padded here.

    Raises
    ------
    UserError
        If an option is out of range, or ``max_chunks`` would drop tokens and ``parity`` is off (both
        numbers).
    """
    overlap = int(chunk_size * overlap_fraction)
    if chunk_size < 1 or max_chunks < 1 or not 0 <= overlap < chunk_size:
        raise UserError(
            f"chunk_size {chunk_size} and max_chunks {max_chunks} must be at least 1, and overlap_fraction "
            f"{overlap_fraction} in [0, 1)"
        )
    _check_batch(token_ids, mask)
    stride = chunk_size - overlap
    if not parity:
        token_ids, mask = align_left(token_ids, mask)
    length = token_ids.shape[1]
    beyond = max(0, length - chunk_size)
    available = 1 + (beyond // stride if parity else -(-beyond // stride))
    if available > max_chunks and not parity:
        raise UserError(
            f"{length} tokens need {available} chunks of {chunk_size} (overlap {overlap}), but max_chunks is "
            f"{max_chunks}; raise max_chunks, enlarge the chunk, or shorten the input"
        )
    used = min(available, max_chunks)
    end = (used - 1) * stride + chunk_size
    missing = max(0, end - length)
    ids = pad(token_ids, (0, missing), value=PAD)[:, :end]
    real = pad(mask.bool(), (0, missing))[:, :end]
    return Chunks(
        ids=ids.unfold(1, chunk_size, stride),
        mask=real.unfold(1, chunk_size, stride),
        starts=[i * stride for i in range(used)],
        tokens_never_read=max(0, length - end),
    )


def align_left(token_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move the real tokens of each row ``[batch, length]`` to its beginning and cut off common padding.

    ``ValueError`` if the real tokens of a row are not one run: dropping holes would join strangers.
    """
    mask = mask.bool()
    lengths = mask.sum(1)
    first = (mask.cumsum(1) == 0).sum(1)
    position = torch.arange(mask.shape[1], device=mask.device)
    run = (position >= first[:, None]) & (position < (first + lengths)[:, None])
    if not torch.equal(run, mask):
        rows = (run != mask).any(1).nonzero().flatten().tolist()
        raise ValueError(f"real tokens are not one run in {len(rows)} rows of the mask, the first: {rows[:5]}")
    longest = int(lengths.max()) if len(lengths) else 0
    source = (position[:longest] + first[:, None]).clamp(max=max(0, mask.shape[1] - 1))
    aligned = position[:longest] < lengths[:, None]
    return token_ids.gather(1, source).masked_fill(~aligned, PAD), aligned


def encode_batch(
    backbone: GeneratorBackbone,
    token_ids: Tensor,
    mask: Tensor,
    *,
    mean_from: int = 0,
    layers: HiddenLayers | None = None,
) -> dict[str, Tensor]:
    """Encode chunks, each alone, and pool their tokens in every way at once.

    Parameters
    ----------
    backbone : GeneratorBackbone
    token_ids : int64 [chunks, length]
    mask : bool or int [chunks, length]
        1 at real tokens, which are one run per row; padding may be on either side.
    mean_from : int
        Real tokens left out of the mean at the beginning of a chunk; 1 leaves out the opening mark.
    layers : HiddenLayers, optional
        Which hidden states are pooled; the last, behind the final norm, by default.

    Returns
    -------
    dict
        ``last`` (last real token), ``mean`` and ``max`` over real tokens, each float32 ``[chunks,
        hidden]``; zeros for a chunk without real tokens (or, in the mean, without tokens behind
        ``mean_from``).

    Raises
    ------
    UserError
        If a chunk is longer than the position encoding of the backbone.
    """
    _check_batch(token_ids, mask)
    ids, real = align_left(token_ids.to(backbone.device), mask.to(backbone.device))
    if ids.shape[1] > backbone.max_tokens:
        raise UserError(
            f"a chunk of {ids.shape[1]} tokens is longer than the {backbone.max_tokens} positions of "
            f"{backbone.name}; make chunks shorter, or load it with context=yarn or context=sliding_window"
        )
    keep = real.any(1)
    zeros = torch.zeros(len(keep), backbone.hidden_size, device=backbone.device)
    if not keep.any():
        return dict.fromkeys(POOLINGS, zeros)
    # Real tokens come first, so causal attention hides all padding by itself: no mask, and the fast kernel.
    if backbone.options.context == "sliding_window":
        segments, _ = pool_stream(backbone, ids[keep], real[keep].sum(1), mean_from=mean_from, layers=layers)
        pooled = {name: values[:, 0] for name, values in segments.items()}
    else:
        hidden = (layers or HiddenLayers()).run(backbone, ids[keep])
        pooled = _pool_tokens(hidden, real[keep], mean_from)
    return pooled if keep.all() else {name: zeros.index_put((keep,), v) for name, v in pooled.items()}


def encode_chunks(backbone: GeneratorBackbone, chunks: Chunks) -> tuple[dict[str, Tensor], Tensor]:
    """Encode cut chunks, folded into the batch axis.

    Returns
    -------
    vectors : dict of float32 [batch, chunks, hidden]
        As :func:`encode_batch`.
    defined : bool [batch, chunks]
        False where a chunk holds padding only (its vectors are zero).
    """
    vectors = encode_batch(backbone, chunks.ids.flatten(0, 1), chunks.mask.flatten(0, 1))
    shape = chunks.mask.shape[:2]
    return {name: values.unflatten(0, shape) for name, values in vectors.items()}, chunks.defined


def final_representation(vectors: Tensor, max_chunks: int) -> Tensor:
    """Append zero chunks and flatten: ``[batch, chunks, hidden]`` -> ``[batch, max_chunks * hidden]``."""
    missing = max_chunks - vectors.shape[1]
    if missing < 0:
        raise ValueError(f"{vectors.shape[1]} chunks given, but max_chunks is {max_chunks}")
    return pad(vectors, (0, 0, 0, missing)).flatten(1)


def _pool_tokens(hidden: Tensor, real: Tensor, mean_from: int) -> dict[str, Tensor]:
    lengths = real.sum(1)
    last = hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    counted = real.clone()
    counted[:, :mean_from] = False
    total = (hidden * counted[..., None]).sum(1)
    return {
        "last": last,
        "mean": total / counted.sum(1, keepdim=True).clamp(min=1),
        "max": hidden.masked_fill(~real[..., None], -torch.inf).amax(1),
    }


def _check_batch(token_ids: Tensor, mask: Tensor) -> None:
    if token_ids.ndim != 2 or token_ids.shape != mask.shape:
        raise ValueError(f"token ids {tuple(token_ids.shape)} and mask {tuple(mask.shape)} must be one [batch, length]")
