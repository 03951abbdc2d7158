"""Attention of the region x time BrainLM: full softmax or Nystrom, plus a depthwise convolution of the values.

The published models call themselves Nystromformers, but their number of landmarks equals their segment length, which
selects ordinary softmax attention. That runs here through ``scaled_dot_product_attention``, which never holds a
matrix of tokens x tokens. The Nystrom branch (Xiong et al. 2021, arXiv 2102.03902) runs where the two numbers
differ. Both add, per head, a convolution of the values along the token axis: the one part that sees the order of the
tokens.

Parameters bear the names of the published checkpoints. Source: github.com/vandijklab/BrainLM; Hugging Face
transformers 4.28, Nystromformer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

PSEUDO_INVERSE_STEPS = 6
CONVOLUTION_BLOCK = 128


def iterative_pseudo_inverse(x: Tensor, per_matrix: bool) -> Tensor:
    """Approximate Moore-Penrose inverse by six steps of the third-order iteration of the Nystromformer.

    Parameters
    ----------
    x : Tensor
        ``[batch, heads, landmarks, landmarks]``, rows that sum to one.
    per_matrix : bool
        Scale the starting point by the largest column sum of each matrix. False takes the largest of the
        whole batch, as the published code does; the result then depends on the batch mates.
    """
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    largest = x.sum(dim=-2).amax(dim=-1)[..., None, None] if per_matrix else x.sum(dim=-2).max()
    inverse = x.mT / largest
    for _ in range(PSEUDO_INVERSE_STEPS):
        product = x @ inverse
        inner = 15 * identity - product @ (7 * identity - product)
        inverse = inverse @ (13 * identity - product @ inner) / 4
    return inverse


def segment_means(x: Tensor, segments: int) -> Tensor:
    """Means of consecutive tokens, ``[batch, heads, tokens, width] -> [batch, heads, segments, width]``.

    Segments are equally long, to one token where the count does not divide.
    """
    tokens = x.shape[2]
    if tokens % segments == 0:
        return x.unflatten(2, (segments, -1)).mean(dim=3)
    segment = torch.arange(tokens, device=x.device) * segments // tokens
    sums = x.new_zeros(*x.shape[:2], segments, x.shape[3]).index_add(2, segment, x)
    return sums / torch.bincount(segment, minlength=segments)[:, None]


class TokenConvolution(nn.Module):
    """Convolution along the tokens with one filter per head, shared by its channels; zeros beyond both ends.

    Runs as a product of one band matrix per head with overlapping blocks of tokens: with 65 taps half the
    time and memory of the grouped ``conv2d`` it stands for.

    Parameters
    ----------
    heads, taps : int
        Number of filters, and their length, which must be odd.
    """

    def __init__(self, heads: int, taps: int) -> None:
        super().__init__()
        if taps % 2 == 0:
            raise ValueError(f"a filter of {taps} taps has no middle: the number must be odd")
        self.weight = nn.Parameter(torch.zeros(heads, 1, taps, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, heads, tokens, width]`` in and out."""
        tokens, taps = x.shape[2], self.weight.shape[2]
        blocks = -(-tokens // CONVOLUTION_BLOCK)
        reach = CONVOLUTION_BLOCK + taps - 1
        padded = functional.pad(x, (0, 0, taps // 2, taps // 2 + blocks * CONVOLUTION_BLOCK - tokens))
        tap = torch.arange(reach, device=x.device) - torch.arange(CONVOLUTION_BLOCK, device=x.device)[:, None]
        band = self.weight[:, 0, :, 0][:, tap.clamp(0, taps - 1)].masked_fill((tap < 0) | (tap >= taps), 0)
        mixed = torch.einsum("hij,bhndj->bhnid", band, padded.unfold(2, reach, CONVOLUTION_BLOCK))
        return mixed.flatten(2, 3)[:, :, :tokens]


class ConvolvedAttention(nn.Module):
    """Multi-head self-attention plus a per-head convolution of the values over the tokens.

    Parameters
    ----------
    hidden, heads : int
        Width of a token, number of heads.
    kernel : int
        Taps of the convolution, odd.
    landmarks : int or None
        Landmarks of the Nystrom approximation; None is full softmax attention. A sequence no longer than
        the landmarks gets full attention, which is then both exact and cheaper.
    per_matrix_start : bool
        See :func:`iterative_pseudo_inverse`.

    Raises
    ------
    ValueError
        ``heads`` does not divide ``hidden``.
    """

    def __init__(self, hidden: int, heads: int, kernel: int, landmarks: int | None, per_matrix_start: bool) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"{heads} heads do not divide the width {hidden}")
        self.heads, self.landmarks, self.per_matrix_start = heads, landmarks, per_matrix_start
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.conv = TokenConvolution(heads, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, tokens, hidden]`` in and out, before the output projection."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        if self.landmarks is None or x.shape[1] <= self.landmarks:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:
            mixed = self._nystrom(query, key, value, self.landmarks)
        return (mixed + self.conv(value)).transpose(1, 2).flatten(2)

    def _nystrom(self, query: Tensor, key: Tensor, value: Tensor, landmarks: int) -> Tensor:
        """Products are grouped so that nothing is larger than landmarks x landmarks or the tokens themselves."""
        attend = functional.scaled_dot_product_attention
        mean_query, mean_key = segment_means(query, landmarks), segment_means(key, landmarks)
        scores = mean_query @ mean_key.mT / query.shape[-1] ** 0.5
        inverse = iterative_pseudo_inverse(scores.softmax(dim=-1), self.per_matrix_start)
        return attend(query, mean_key, inverse @ attend(mean_query, key, value))


class ConvolvedBlock(nn.Module):
    """Post-norm transformer block around :class:`ConvolvedAttention`, ``[batch, tokens, hidden]`` in and out.

    Parameters
    ----------
    attention : ConvolvedAttention
    hidden, intermediate : int
        Width of a token and of the feed-forward layer.
    eps : float
        Of both layer norms.
    """

    def __init__(self, attention: ConvolvedAttention, hidden: int, intermediate: int, eps: float) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": attention, "output": _AddAndNorm(hidden, hidden, eps)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(hidden, intermediate)})
        self.output = _AddAndNorm(intermediate, hidden, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the feed-forward layer, each added and normalised."""
        x = self.attention["output"](self.attention["self"](x), x)
        if not torch.is_grad_enabled():
            return self._feed_forward(x)
        # The wide layer is a third of what a block keeps for the backward pass and cheap to make again.
        return checkpoint(self._feed_forward, x, use_reentrant=False, preserve_rng_state=False)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.output(functional.gelu(self.intermediate["dense"](x)), x)


class _AddAndNorm(nn.Module):
    def __init__(self, width: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=eps)

    def forward(self, update: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dense(update))
