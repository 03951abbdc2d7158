"""Likelihood of DNA letters behind a context, under a language model of 6-mers.

The probability of a string of any length from the probabilities of whole 6-mers. A string is cut into 6-mers from
its first letter; a last piece of fewer letters has the summed probability of all 6-mers that begin with it; control
tokens keep their share (nothing is renormalised), as in the published script. One forward pass per distinct context,
whose keys and values all its strings reuse.

Source: variant-effect script of GenerTeam/GENERator (first letter only); longer strings by the chain rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from genebrain.common.types import UserError
from genebrain.genetics.model.language_model import GeneratorLanguageModel
from genebrain.genetics.model.tokenizer import BOS, CONTROL_TOKENS, VOCAB_SIZE, K, SixMerTokenizer, pad

LETTERS = "ATCG"
"""Letters in the order of the vocabulary: 6-mers that begin with the same letters have neighbouring ids."""

PARITY_OFFSET = 1e-10
_TOKENIZER = SixMerTokenizer()
_CONTROL = len(CONTROL_TOKENS)


def begins_with(logits: Tensor, prefixes: Sequence[str], rows: Sequence[int] | None = None) -> Tensor:
    """Log probability that the next 6-mer begins with the letters of ``prefixes``.

    Parameters
    ----------
    logits : float [rows, 4128]
        Over the whole vocabulary, in any number format; log probabilities will do as well.
    prefixes : list of str
        One to six letters A, C, G, T each.
    rows : list of int, optional
        Row of ``logits`` for each prefix; by default one each, in order.

    Returns
    -------
    float64 [prefixes]

    Raises
    ------
    UserError
        For any other letters: the published script gives them probability 0 and an infinite score.
    """
    if bad := [p for p in prefixes if not 0 < len(p) <= K or set(p) - set(LETTERS)]:
        raise UserError(
            f"{len(bad)} of {len(prefixes)} strings are not one to six letters A, C, G, T ({', '.join(bad[:5])}): "
            "no 6-mer begins with them, so they have no likelihood"
        )
    rows = range(len(prefixes)) if rows is None else rows
    result = logits.new_empty(len(prefixes), dtype=torch.float64)
    for size in sorted({len(p) for p in prefixes}):
        group = [i for i, prefix in enumerate(prefixes) if len(prefix) == size]
        row = torch.tensor([rows[i] for i in group], device=logits.device)
        number = torch.tensor([_number(prefixes[i]) for i in group], device=logits.device)
        if size == K:
            found = logits[row, _CONTROL + number].double()  # a whole 6-mer
        else:
            width = 4 ** (K - size)
            columns = (_CONTROL + number * width)[:, None] + torch.arange(width, device=logits.device)
            found = _log_sum(logits[row[:, None], columns])
        result[torch.tensor(group, device=logits.device)] = found
    return result - _log_sum(logits)[torch.tensor(list(rows), device=logits.device)]


def published_score(p_ref: NDArray[np.float64], p_alt: NDArray[np.float64]) -> NDArray[np.float64]:
    """``ln(p_ref / (p_alt + 1e-10))``, the score of the published script; higher means less expected."""
    return np.log(p_ref / (p_alt + PARITY_OFFSET))


@dataclass(frozen=True)
class Question:
    """A context (a multiple of six letters, may be empty) and the strings whose likelihood behind it is asked."""

    context: bytes
    strings: tuple[str, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of the context, ``<s>`` included."""
        return len(self.context) // K + 1


def fill_batches(questions: Sequence[Question], tokens_per_batch: int) -> Iterator[list[int]]:
    """Rows of the questions in batches, longest first, so that padding stays small.

    Rows times the longest of them stay within ``tokens_per_batch`` (a single longer one goes alone).
    """
    order = sorted(range(len(questions)), key=lambda i: (-questions[i].n_tokens, questions[i].context))
    start = 0
    while start < len(order):
        size = max(1, tokens_per_batch // questions[order[start]].n_tokens)
        yield order[start : start + size]
        start += size


@torch.inference_mode()
def log_likelihoods(
    model: GeneratorLanguageModel, questions: Sequence[Question], tokens_per_batch: int
) -> list[NDArray[np.float64]]:
    """Natural log likelihood of every string of every question, in one batch.

    ``<s>`` and the context run once per question. Strings of more than six letters then run behind the stored
    keys and values of their context, at most ``tokens_per_batch`` tokens (context included) at a time.

    Returns
    -------
    list of float64 [strings], one per question

    Raises
    ------
    UserError
        If a context with its strings is longer than the model reads, or the model gives a value that is not
        finite.
    """
    contexts = [np.concatenate([[BOS], ids]) for ids in _TOKENIZER.encode_many([q.context for q in questions])]
    strings = [(row, text) for row, question in enumerate(questions) for text in question.strings]
    _check_length(model, questions)
    ids, mask = pad(contexts)
    lengths = torch.from_numpy(mask.sum(1)).to(model.device)
    continued = [i for i, (_, text) in enumerate(strings) if len(text) > K]
    # Padding stands on the right, where causal attention never sees it: no mask is needed.
    out = model.model.model(torch.from_numpy(ids).to(model.device), use_cache=bool(continued))
    last = out.last_hidden_state[torch.arange(len(ids), device=model.device), lengths - 1]
    owners = [row for row, _ in strings]
    rows = torch.tensor(owners, device=model.device)
    found = begins_with(model.model.lm_head(last), [text[:K] for _, text in strings], owners).cpu().numpy()
    for part in _slices(continued, strings, ids.shape[1], tokens_per_batch):
        picked = rows[part]
        found[part] += _behind(model, out.past_key_values, lengths, picked, [strings[i][1] for i in part])
    if not np.isfinite(found).all():
        raise UserError(
            f"{model.name} gave non-finite likelihoods for {int((~np.isfinite(found)).sum())} of {len(found)} strings "
            f"of a batch ({model.dtype}); use float32"
        )
    return np.split(found, np.cumsum([len(q.strings) for q in questions])[:-1])


def _behind(
    model: GeneratorLanguageModel, cache: Any, lengths: Tensor, rows: Tensor, strings: list[str]
) -> NDArray[np.float64]:
    """Log likelihood of the letters after the first six of each string, given the context in cache row ``rows``."""
    device, dtype = model.device, model.dtype
    pieces = [[text[i : i + K] for i in range(0, len(text), K)] for text in strings]
    known = [[_TOKENIZER.token_to_id[piece] for piece in row[:-1]] for row in pieces]
    ids, mask = pad(known)
    n_rows, n_new = ids.shape
    n_context = cache.get_seq_length()
    own = DynamicCache()
    for number, layer in enumerate(cache.layers):
        own.update(layer.keys[rows], layer.values[rows], number)
    seen = torch.arange(n_context, device=device)[None, :] < lengths[rows, None]
    causal = torch.ones(n_new, n_new, dtype=torch.bool, device=device).tril()
    visible = torch.cat([seen[:, None, :].expand(-1, n_new, -1), causal.expand(n_rows, -1, -1)], dim=2)
    # Added to the attention scores, so that every attention implementation understands it.
    bias = torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill(~visible, torch.finfo(dtype).min)
    hidden = model.model.model(
        torch.from_numpy(ids).to(device),
        attention_mask=bias[:, None],
        position_ids=lengths[rows, None] + torch.arange(n_new, device=device),
        past_key_values=own,
        use_cache=True,
    ).last_hidden_state
    where = torch.from_numpy(mask).to(device)
    asked = [piece for row in pieces for piece in row[1:]]
    each = begins_with(model.model.lm_head(hidden[where]), asked)
    owner = torch.arange(n_rows, device=device)[:, None].expand(-1, n_new)[where]
    return torch.zeros(n_rows, dtype=torch.float64, device=device).index_add_(0, owner, each).cpu().numpy()


def _slices(
    continued: list[int], strings: list[tuple[int, str]], n_context: int, tokens_per_batch: int
) -> Iterator[list[int]]:
    """Strings of more than six letters in groups that fit the budget, in order."""
    group: list[int] = []
    longest = 0
    for i in continued:
        longest = max(longest, -(-len(strings[i][1]) // K))
        if group and (len(group) + 1) * (n_context + longest) > tokens_per_batch:
            yield group
            group, longest = [], -(-len(strings[i][1]) // K)
        group.append(i)
    if group:
        yield group


def _check_length(model: GeneratorLanguageModel, questions: Sequence[Question]) -> None:
    needed = max(q.n_tokens + -(-max(map(len, q.strings)) // K) for q in questions)
    if needed > model.max_tokens:
        raise UserError(
            f"{model.name} reads {model.max_tokens} tokens, but a context with its alleles needs {needed}; "
            "lower context_bp or max_allele_bp"
        )


def _log_sum(logits: Tensor) -> Tensor:
    """Logarithm of the summed exponentials of each row, float64, the sum in float32 (error about 1e-7)."""
    largest = logits.amax(-1, keepdim=True)
    terms = (logits.float() - largest.float()).exp()
    return terms.sum(-1).double().log() + largest[..., 0].double()


def _number(prefix: str) -> int:
    value = 0
    for letter in prefix:
        value = 4 * value + LETTERS.index(letter)
    return value


assert VOCAB_SIZE == _CONTROL + 4**K
