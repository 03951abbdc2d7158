"""Chunk strings of one place that begin alike: read the shared beginning once (a trie) against reading every string.

Run: ``python benchmarks/prefix_reuse.py [--samples 300] [--chunks 600]``. Real chunk strings of the chr20 example data,
one thread, both ways in turn. The trie was to be built into the encoder if it is 1.3 times faster at equal numbers.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaModel

from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.haplotypes.policies import Policies
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer, pad

DATA = Path(__file__).parent.parent / "data" / "chr20_1000g"
BUDGET = 4096


@dataclass
class Edge:
    """Tokens between two forks of the trie."""

    tokens: list[int]
    start: int
    parent: Edge | None
    rows: list[int] = field(default_factory=list)  # strings that end here
    forks: bool = False
    cache: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # per layer [heads, start + tokens, width]


def strings(n_samples: int, n_chunks: int) -> list[list[int]]:
    """Token rows of the first unique chunks of real people, marks included."""
    import pysam

    with pysam.VariantFile(str(DATA / "genotypes.vcf.gz")) as file:
        samples = list(file.header.samples)[:n_samples]
    chunks = build_chunks(
        DATA / "genotypes.vcf.gz", DATA / "reference.fa.gz", read_windows(DATA / "genes.bed"), samples,
        chunk_bp=1500, cut_origin="genome", policies=Policies(), progress=False,
    )  # fmt: skip
    tokenizer = SixMerTokenizer()
    framed = [tokenizer.frame(s.decode()).encode() for s in chunks.sequences[:n_chunks]]
    return [[BOS, *ids.tolist(), BOS] for ids in tokenizer.encode_many(framed)]


def levels(rows: list[list[int]]) -> list[list[Edge]]:
    """Edges of the compressed trie, those without a parent first, then level by level."""
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    found: list[list[Edge]] = []
    waiting: list[tuple[list[int], int, Edge | None, int]] = [(order, 0, None, 0)]
    while waiting:
        group, depth, parent, level = waiting.pop()
        heads: dict[int, list[int]] = {}
        for i in group:
            heads.setdefault(rows[i][depth], []).append(i)
        for members in heads.values():
            first, last = rows[members[0]], rows[members[-1]]
            end = depth
            while end < min(len(first), len(last)) and first[end] == last[end]:
                end += 1
            edge = Edge(first[depth:end], depth, parent, [i for i in members if len(rows[i]) == end])
            left = [i for i in members if len(rows[i]) > end]
            edge.forks = bool(left)
            found += [[] for _ in range(level + 1 - len(found))]
            found[level].append(edge)
            if left:
                waiting.append((left, end, edge, level + 1))
    return found


@torch.inference_mode()
def by_trie(backbone: GeneratorBackbone, edges: list[list[Edge]], n_rows: int) -> Tensor:
    """Last hidden state of every string; each edge runs once, behind the keys and values of its ancestors."""
    result = torch.empty(n_rows, backbone.hidden_size)
    for level in edges:
        todo = sorted(level, key=lambda e: (-e.start, -len(e.tokens)))
        while todo:
            size = max(1, BUDGET // (todo[0].start + max(len(e.tokens) for e in todo[:64])))
            run_edges(backbone, todo[:size], result)
            todo = todo[size:]
    return result


def run_edges(backbone: GeneratorBackbone, batch: list[Edge], result: Tensor) -> None:
    ids, _ = pad([e.tokens for e in batch])
    n_new, starts = ids.shape[1], torch.tensor([e.start for e in batch])
    n_past = int(starts.max())
    bias = None
    cache = DynamicCache()
    if n_past:
        seen = torch.arange(n_past)[None, :] < starts[:, None]
        causal = torch.ones(n_new, n_new, dtype=torch.bool).tril()
        visible = torch.cat([seen[:, None, :].expand(-1, n_new, -1), causal.expand(len(batch), -1, -1)], dim=2)
        bias = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]
        for layer in range(backbone.model.config.num_hidden_layers):
            both = [torch.stack([_padded(e.parent.cache[layer][k], n_past) for e in batch]) for k in (0, 1)]
            cache.update(both[0], both[1], layer)
    position = starts[:, None] + torch.arange(n_new)
    out = backbone.model(
        torch.from_numpy(ids), attention_mask=bias, position_ids=position, past_key_values=cache, use_cache=True
    )
    for i, edge in enumerate(batch):
        n = len(edge.tokens)
        if edge.rows:
            result[edge.rows] = out.last_hidden_state[i, n - 1]
        if edge.forks:
            keep = torch.cat([torch.arange(edge.start), n_past + torch.arange(n)])
            edge.cache = [(layer.keys[i][:, keep], layer.values[i][:, keep]) for layer in cache.layers]


def _padded(values: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, 0, 0, length - values.shape[1]))


@torch.inference_mode()
def one_by_one(backbone: GeneratorBackbone, rows: list[list[int]]) -> Tensor:
    """The encoder as it is: packed batches, longest first."""
    result = torch.empty(len(rows), backbone.hidden_size)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    while order:
        group, order = order[: BUDGET // len(rows[order[0]])], order[BUDGET // len(rows[order[0]]) :]
        ids, mask = pad([rows[i] for i in group])
        result[group] = encode_batch(backbone, torch.from_numpy(ids), torch.from_numpy(mask))["last"]
    return result


def main() -> list[str]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--chunks", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tiny = load_generator(device="cpu")
    rows = strings(arguments.samples, arguments.chunks)
    table = [
        "| unique chunks of 1.5 kb | tokens | tokens in the trie | fewer tokens | times faster | largest difference |",
        "|---|---|---|---|---|---|",
        compare("tiny (64-D, 2 layers)", tiny, rows, arguments.repeats),
        compare("512-D, 4 layers, random", medium(tiny), rows[: len(rows) // 4], arguments.repeats),
    ]
    return [*table, "", "The trie makes many small batches behind copied keys and values: fewer tokens, not less time."]


def medium(tiny: GeneratorBackbone) -> GeneratorBackbone:
    """A model in which arithmetic weighs more beside the overhead of a batch."""
    shape = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 1408}
    config = LlamaConfig.from_dict({**tiny.model.config.to_dict(), **shape, "num_key_value_heads": 2, "head_dim": 64})
    torch.manual_seed(0)
    return dataclasses.replace(tiny, model=LlamaModel(config).eval(), hidden_size=512)


def compare(name: str, backbone: GeneratorBackbone, rows: list[list[int]], repeats: int) -> str:
    """One row of the table."""
    ratios, difference, n_trie = [], 0.0, 0
    for _ in range(repeats):
        start = time.perf_counter()
        plain = one_by_one(backbone, rows)
        middle = time.perf_counter()
        edges = levels(rows)
        shared = by_trie(backbone, edges, len(rows))
        ratios.append((middle - start) / (time.perf_counter() - middle))
        n_trie = sum(len(e.tokens) for level in edges for e in level)
        difference = max(difference, float((plain - shared).abs().max()))
    n_tokens = sum(map(len, rows))
    return (
        f"| {len(rows):,}, {name} | {n_tokens:,} | {n_trie:,} | {n_tokens / n_trie:.2f}x | "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) | {difference:.0e} |"
    )


if __name__ == "__main__":
    print("\n".join(main()))
