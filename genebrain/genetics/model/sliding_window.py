"""One pass over a sequence of any length in constant memory: a sliding window with rolling key/value state.

Hidden states segment by segment, and their poolings without ever holding ``[length, hidden]``. Each token
sees the window's last keys, its own included, whatever the segments are; memory depends on window and segment, not
on length.

The masks, the kernels' windows and the rolling cache are the library's own (transformers: Mistral). Positions count
on through the stream; a rotary position only enters as a distance, and no distance is longer than the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from transformers import DynamicCache

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.views import HiddenLayers


def stream_hidden(
    backbone: GeneratorBackbone, pieces: Iterable[Tensor], layers: HiddenLayers | None = None
) -> Iterator[Tensor]:
    """Hidden states of a stream of tokens.

    Parameters
    ----------
    backbone : GeneratorBackbone
        Loaded with ``context=sliding_window``.
    pieces : iterable of int64 [batch, n]
        The stream, cut anywhere; ``n`` may differ. Pieces longer than ``segment_tokens`` are cut again.
    layers : HiddenLayers, optional
        Which hidden states; the last, behind the final norm, by default.

    Yields
    ------
    float32 [batch, m, hidden]
        In order; together as many positions as the pieces.

    Raises
    ------
    UserError
        If the backbone has no sliding window.
    """
    options = backbone.options
    if options.context != "sliding_window":
        raise UserError(
            f"a stream needs a model with a sliding window, but {backbone.name} was loaded with "
            f"context={options.context}"
        )
    # A window of one key needs no state (and the library's rolling state would keep everything: its slice [-0:]).
    state = DynamicCache(config=backbone.model.config) if options.window > 1 else None
    for piece in pieces:
        if not piece.shape[1]:
            continue
        for segment in piece.to(backbone.device).split(options.segment_tokens, dim=1):
            yield (layers or HiddenLayers()).run(backbone, segment, state)


class TokenPools:
    """Running ``last``, ``mean`` and ``max`` over the real tokens of a stream, whole or per fixed number of tokens.

    Parameters
    ----------
    lengths : int64 [batch]
        Real tokens of each row; they come first.
    mean_from : int
        Real tokens left out of the mean at the beginning; 1 leaves out the opening mark.
    every : int, optional
        Tokens per pooled segment; None pools the whole row into one.
    """

    def __init__(self, lengths: Tensor, *, mean_from: int = 0, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise UserError(f"pool_every={every}: must be at least 1 token")
        self._lengths, self._mean_from, self._every = lengths, mean_from, every
        self._position = 0
        self._done: list[dict[str, Tensor]] = []
        self._open: dict[str, Tensor] | None = None

    def add(self, hidden: Tensor) -> None:
        """Take the next positions, float32 ``[batch, n, hidden]``."""
        while hidden.shape[1]:
            room = hidden.shape[1] if self._every is None else self._every - self._position % self._every
            part, hidden = hidden[:, :room], hidden[:, room:]
            self._pool(part)
            self._position += part.shape[1]
            if self._every is not None and self._position % self._every == 0:
                self._close()

    def result(self) -> tuple[dict[str, Tensor], Tensor]:
        """Poolings, float32 ``[batch, segments, hidden]``, and bool ``[batch, segments]``: holds a real token.

        Without real tokens (in the mean: behind ``mean_from``) a vector is zero.
        """
        self._close()
        if not self._done:
            raise UserError("a stream without a single token has no vector")
        stacked = {name: torch.stack([segment[name] for segment in self._done], 1) for name in self._done[0]}
        defined = stacked.pop("seen") > 0
        mean = stacked.pop("total") / stacked.pop("counted").clamp(min=1)[..., None]
        last, highest = stacked["last"], stacked["max"].masked_fill(~defined[..., None], 0)
        return {"last": last, "mean": mean.float(), "max": highest}, defined

    def _pool(self, part: Tensor) -> None:
        n, device = part.shape[1], part.device
        left = (self._lengths.to(device) - self._position).clamp(0, n)
        position = torch.arange(n, device=device)
        real = position < left[:, None]
        counted = real & (position + self._position >= self._mean_from)
        rows = torch.arange(len(part), device=device)
        now = {
            "seen": left,
            "counted": counted.sum(1),
            "total": (part * counted[..., None]).sum(1, dtype=torch.float64),
            "max": part.masked_fill(~real[..., None], -torch.inf).amax(1),
            "last": part[rows, (left - 1).clamp(min=0)].masked_fill(left[:, None] == 0, 0),
        }
        if (before := self._open) is None:
            self._open = now
            return
        self._open = {name: before[name] + now[name] for name in ("seen", "counted", "total")}
        self._open["max"] = torch.maximum(before["max"], now["max"])
        self._open["last"] = torch.where(left[:, None] > 0, now["last"], before["last"])

    def _close(self) -> None:
        if self._open is not None:
            self._done.append(self._open)
            self._open = None


def pool_stream(
    backbone: GeneratorBackbone,
    token_ids: Tensor,
    lengths: Tensor | None = None,
    *,
    mean_from: int = 0,
    pool_every: int | None = None,
    layers: HiddenLayers | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Encode long sequences in one pass each and pool their tokens on the way.

    Parameters
    ----------
    backbone : GeneratorBackbone
        Loaded with ``context=sliding_window``.
    token_ids : int64 [batch, length]
    lengths : int64 [batch], optional
        Real tokens of each row, which come first; default: all.
    mean_from, pool_every
        As ``mean_from`` and ``every`` of :class:`TokenPools`.
    layers : HiddenLayers, optional
        Which hidden states; the last, behind the final norm, by default.

    Returns
    -------
    vectors : dict of float32 [batch, segments, hidden]
        ``last``, ``mean`` and ``max``; one segment unless ``pool_every`` is given.
    defined : bool [batch, segments]
        False where a segment holds padding only (its vectors are zero).
    """
    if lengths is None:
        lengths = torch.full((len(token_ids),), token_ids.shape[1])
    pools = TokenPools(lengths, mean_from=mean_from, every=pool_every)
    for hidden in stream_hidden(backbone, [token_ids], layers):
        pools.add(hidden)
    return pools.result()
