"""Continue DNA: prompts in, bases out, by the language model's keys and values of what it has read.

Batched, resumable generation. Every record has its own stream of random numbers (seed, record, sample), so a
sequence does not depend on the batch it was made in (logits differ by 1e-6 between batch shapes, which can turn a
draw only when it lies that close to a boundary); prompts stand on the 6-mer grid by one stated rule; parts on disk
are complete or absent.

Source: sequence-recovery script of GenerTeam/GENERator (prompt rule, suppressed control tokens).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from genebrain.common.types import UserError
from genebrain.common.words import no_bar
from genebrain.genetics.generation.sampling import SamplingSettings, choose
from genebrain.genetics.model.language_model import GeneratorLanguageModel
from genebrain.genetics.model.tokenizer import BOS, K, SixMerTokenizer, pad
from genebrain.genetics.store.work_parts import Shard, WorkParts, as_text, from_text
from genebrain.training.batch_threads import in_order

PromptRule = Literal["error", "trim_left", "pad_left"]
_TOKENIZER = SixMerTokenizer()


@dataclass(frozen=True)
class Prompt:
    """Letters to continue, and the place of their record, which names its random numbers."""

    letters: str
    record: int
    sample: int = 0

    @property
    def n_tokens(self) -> int:
        """Tokens with ``<s>``; an incomplete 6-mer is one ``<oov>``."""
        return -(-len(self.letters) // K) + 1


def last_six_mers(sequence: str, max_bp: int) -> str:
    """The published rule: the last ``floor(min(length, max_bp) / 6) * 6`` letters; fewer than six stay as they are."""
    keep = min(len(sequence), max_bp) // K * K
    return sequence[-keep:] if keep else sequence


def on_grid(sequences: Sequence[str], names: Sequence[str], rule: PromptRule, max_bp: int) -> list[str]:
    """Prompts of whole 6-mers, at most ``max_bp`` letters, always the last ones.

    Parameters
    ----------
    sequences, names : list of str
        Clean letters and what to call them in an error.
    rule : {"error", "trim_left", "pad_left"}
        A length that is no multiple of six: refuse it, drop up to five letters in front, or put up to five A there.
        The right end is never touched: the next 6-mer begins behind it.

    Raises
    ------
    UserError
        Naming the prompts that are off the grid (``error``) or shorter than one 6-mer.
    """
    if rule not in get_args(PromptRule):
        raise UserError(f"prompt_rule={rule!r}: use {', '.join(get_args(PromptRule))}")
    if max_bp < K:
        raise UserError(f"max_prompt_bp={max_bp}: a prompt needs one 6-mer at least")
    off = [f"{n} ({len(s)})" for s, n in zip(sequences, names, strict=True) if len(s) % K]
    if off and rule == "error":
        raise UserError(
            f"{len(off)} of {len(sequences)} prompts are no whole number of 6-mers: {', '.join(off[:5])}"
            f"{' ...' if len(off) > 5 else ''} bases. The model would read the rest as <oov>: choose "
            "prompt_rule=trim_left (drops up to 5 bases in front) or prompt_rule=pad_left (puts A in front)"
        )
    if short := [f"{n} ({len(s)})" for s, n in zip(sequences, names, strict=True) if len(s) < K]:
        raise UserError(
            f"{len(short)} prompts are shorter than one 6-mer: {', '.join(short[:5])} bases; leave them out"
        )
    if rule == "pad_left":
        sequences = [SixMerTokenizer.frame(s, "pad_left") for s in sequences]
    return [last_six_mers(s, max_bp) for s in sequences]


def check_length(model: GeneratorLanguageModel, prompts: Sequence[Prompt], n_bp: int) -> None:
    """``UserError`` if a prompt with ``n_bp`` bases behind it is longer than the model reads."""
    longest = max((p.n_tokens for p in prompts), default=0) - (-n_bp // K)
    if longest > model.max_tokens:
        raise UserError(
            f"the longest prompt with its continuation is {longest} tokens, {model.name} reads {model.max_tokens}; "
            "lower max_prompt_bp or n_bp"
        )


@torch.inference_mode()
def continue_batch(
    model: GeneratorLanguageModel, prompts: Sequence[Prompt], n_tokens: int, settings: SamplingSettings, seed: int
) -> list[str]:
    """``n_tokens`` 6-mers behind each prompt, as letters.

    The prompts run once; afterwards each step runs one token per row behind the stored keys and values.
    """
    device = model.device
    draws = [
        np.random.default_rng([seed, p.record, p.sample]).random((n_tokens, settings.draws_per_token)) for p in prompts
    ]
    ids, mask = pad([[BOS, *_TOKENIZER.encode(p.letters)] for p in prompts])
    lengths = torch.from_numpy(mask.sum(1)).to(device)
    n_context = ids.shape[1]
    # Padding stands on the right: causal attention never sees it here, and the steps below leave it out.
    out = model.model.model(torch.from_numpy(ids).to(device), use_cache=True)
    cache = out.past_key_values
    hidden = out.last_hidden_state[torch.arange(len(ids), device=device), lengths - 1]
    padding = torch.arange(n_context, device=device)[None, :] >= lengths[:, None]
    hide = torch.zeros(padding.shape, dtype=model.dtype, device=device).masked_fill(
        padding, torch.finfo(model.dtype).min
    )
    chosen: list[NDArray[np.int64]] = []
    for step in range(n_tokens):
        logits = model.model.lm_head(hidden).float()
        if not torch.isfinite(logits).all():
            raise UserError(f"{model.name} gave logits that are not finite ({model.dtype}); use float32")
        chosen.append(choose(logits.cpu().numpy(), settings, np.stack([d[step] for d in draws])))
        if step + 1 < n_tokens:
            hide = torch.cat([hide, hide.new_zeros(len(ids), 1)], dim=1)
            hidden = model.model.model(
                torch.from_numpy(chosen[-1]).to(device)[:, None],
                attention_mask=hide[:, None, None],
                position_ids=lengths[:, None] + step,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, 0]
    return [_TOKENIZER.decode(row.tolist()) for row in np.stack(chosen, axis=1)] if chosen else [""] * len(prompts)


def continue_all(
    model: GeneratorLanguageModel,
    prompts: Sequence[Prompt],
    n_bp: int,
    settings: SamplingSettings,
    seed: int,
    parts: WorkParts,
    *,
    block_size: int = 64,
    tokens_per_batch: int | None = None,
    shard: Shard | None = None,
    progress: bool = True,
) -> int:
    """Put ``n_bp`` bases behind each prompt into ``parts``; what an interrupted run left there is not made again.

    Returns
    -------
    int
        Number of parts of the whole work; this shard's are there.
    """
    shard = shard or Shard()
    n_tokens = -(-n_bp // K)
    budget = tokens_per_batch or (4096 if model.device.type == "cpu" else 32_768)
    blocks = [range(i, min(i + block_size, len(prompts))) for i in range(0, len(prompts), block_size)]
    todo = parts.missing(number for number in range(len(blocks)) if shard.has(number))

    def batches() -> Iterator[tuple[int, list[int]]]:
        for number in todo:
            order = sorted(blocks[number], key=lambda i: (-prompts[i].n_tokens, i))
            while order:
                size = max(1, budget // (prompts[order[0]].n_tokens + n_tokens))
                yield number, order[:size]
                order = order[size:]

    def run(batch: tuple[int, list[int]]) -> list[str]:
        return continue_batch(model, [prompts[i] for i in batch[1]], n_tokens, settings, seed)

    made: dict[int, str] = {}
    n_todo = sum(len(blocks[number]) for number in todo)
    with (
        tqdm(total=n_todo, unit="sequence", desc="generate", disable=no_bar(progress)) as bar,
        closing(in_order(run, batches(), model.device)) as results,
    ):
        for (number, rows), texts in results:
            made |= {row: text[:n_bp] for row, text in zip(rows, texts, strict=True)}
            bar.update(len(rows))
            if all(row in made for row in blocks[number]):
                parts.write(number, as_text(made.pop(row) for row in blocks[number]))
    return len(blocks)


def collected(parts: WorkParts, n_blocks: int) -> list[str]:
    """Continuations of all blocks, in the order of the prompts; a part that is missing is a ``UserError``."""
    return [text for number in range(n_blocks) for text in from_text(*parts.read(number, "text", "text_lengths"))]
