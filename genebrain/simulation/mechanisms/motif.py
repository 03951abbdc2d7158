"""Counts of degenerate words of the sequence over both haplotypes: a code that no single variant tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.simulation.genome.genomes import BASES, LONGEST_INDEL, Region
from genebrain.simulation.genome.sources import Genomes, SimulatedGenomes
from genebrain.simulation.mechanisms.modes import ModeMechanism
from genebrain.simulation.mechanisms.registry import Floats, GeneticPart, Streams, register_mechanism
from genebrain.simulation.tiers import Tier
from genebrain.simulation.traits import whitened

WORD = 8
"""Letters of a word."""
N_WORDS, DRAWN = 40, 240
"""Words that act, and words drawn to choose them from."""
LARGEST_CORRELATION = 0.5
"""Among the counts of the words that act."""
PIECE_BP = 250
LETTER_SETS = (1, 2, 3)
"""How many of the four letters a position of a word may allow; which ones is drawn."""


@register_mechanism
class Motif(ModeMechanism):
    """Standardised counts of degenerate 8-letter words; scans as in ``modes``."""

    name = "motif"
    summary = "counts of 40 degenerate 8-letter words over both haplotypes shape the trait"
    tier = Tier(k=16, h2=0.49, rel=0.99, n_active=20, causal_per_dim=4)
    sequences = True

    def genetics(self, source: Genomes, tier: Tier, groups: NDArray[np.int64], rng: Streams) -> GeneticPart:
        """Choose words whose counts vary and differ from one another; normal effects on every dimension."""
        assert isinstance(source, SimulatedGenomes)
        words = draw_words(DRAWN, rng["causal"])
        counts = word_counts(source.regions, words).astype(np.float64)
        n = source.n_fitted
        counts -= counts[:n].mean(axis=0)
        spread = counts[:n].std(axis=0)
        chosen = choose_words(counts[:n], spread)
        if len(chosen) < tier.k:
            raise UserError(
                f"the counts of {len(chosen)} words vary among these people, and the trait has k={tier.k}: take more "
                "or longer windows, more people or a smaller k"
            )
        columns = counts[:, chosen] / spread[chosen]
        effects = rng["trait"].normal(size=(len(chosen), tier.k))
        values = whitened(columns @ effects, groups, n, f"counts of {len(chosen)} words")
        return GeneticPart(values, [], columns / np.sqrt(len(chosen)))

    def problems(self, tier: Tier, settings: Mapping[str, Any]) -> list[str]:
        """Words need letters that stay as they are."""
        wrong = super().problems(tier, settings)
        if settings["awkward"]:
            wrong.append("mechanism=motif with awkward=true: the added records would change the words")
        return wrong


def draw_words(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which letters each position of each word allows, bool ``[words, 8, 4]``."""
    words = np.zeros((n, WORD, len(BASES)), bool)
    for word in words:
        for position in word:
            position[rng.permutation(len(BASES))[: rng.choice(LETTER_SETS)]] = True
    return words


def choose_words(counts: Floats, spread: Floats) -> list[int]:
    """The words whose counts vary most, little correlated with one another, at most :data:`N_WORDS`."""
    chosen: list[int] = []
    unit = counts / np.where(spread > 0, spread, 1) / np.sqrt(len(counts))
    for word in np.argsort(-spread, kind="stable"):
        if spread[word] == 0 or len(chosen) == N_WORDS:
            break
        if np.all(np.abs(unit[:, chosen].T @ unit[:, word]) <= LARGEST_CORRELATION):
            chosen.append(int(word))
    return chosen


def word_counts(regions: Sequence[Region], words: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Occurrences of each word that begin inside the gene windows, over both haplotypes, ``[people, words]``.

    Only the forward strand of the contig is read.
    """
    matching = _table(words)
    total: NDArray[np.int64] | None = None
    for region in regions:
        n_people = region.haplotypes.shape[1]
        if total is None:
            total = np.zeros((n_people, len(words)), np.int64)
        for strings, carried in _pieces(region):
            found = np.stack([_counts(text, begins, matching) for text, begins in strings])
            total += found[carried].sum(axis=1)
    assert total is not None
    return total


def _table(words: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Which of all 4^8 strings a word matches, int8 ``[65536, words]``."""
    matching = np.ones((1, len(words)), bool)
    for position in range(WORD):
        matching = (matching[:, None, :] & words[:, position].T[None]).reshape(-1, len(words))
    return matching.astype(np.int8)


def _counts(text: bytes, begins: int, matching: NDArray[np.int8]) -> NDArray[np.int64]:
    letters = np.searchsorted(BASES, np.frombuffer(text, np.uint8))
    starts = min(begins, len(letters) - WORD + 1)
    if starts < 1:
        return np.zeros(matching.shape[1], np.int64)
    code = np.zeros(starts, np.int64)
    for position in range(WORD):
        code = 4 * code + letters[position : position + starts]
    return matching[code].sum(axis=0, dtype=np.int64)


def _pieces(region: Region) -> Iterator[tuple[list[tuple[bytes, int]], NDArray[np.int64]]]:
    """The distinct strings of one piece of a window after another, and which of them each haplotype carries.

    A string goes on for the letters that words which begin in its piece reach; with it, how many letters lie in the
    piece. Haplotypes: int ``[people, 2]``.
    """
    reference = region.sequence.tobytes().decode()
    first, last = region.window
    ends = region.position + np.array([len(ref) for ref in region.ref], np.int64)
    for begin in range(first, last, PIECE_BP):
        end = min(begin + PIECE_BP, last)
        # Deletions are at most 50 letters long: two behind the piece still leave the letters that its words reach.
        reach = end + 2 * LONGEST_INDEL + 2 * WORD
        sites = np.flatnonzero((ends > begin) & (region.position < reach))
        alleles = region.haplotypes[sites].reshape(len(sites), 2 * region.haplotypes.shape[1]).T
        distinct, carried = np.unique(alleles, axis=0, return_inverse=True)
        strings = [_string(region, reference, sites, row, begin, end, reach) for row in distinct]
        yield strings, carried.reshape(-1, 2)


def _string(
    region: Region,
    reference: str,
    sites: NDArray[np.int64],
    alleles: NDArray[np.int8],
    begin: int,
    end: int,
    reach: int,
) -> tuple[bytes, int]:
    """Letters of one haplotype from ``begin`` to behind ``end``, and how many belong to reference letters before it."""
    parts: list[str] = []
    length, here, inside = 0, begin, None
    for site, carried in zip(sites.tolist(), alleles.tolist(), strict=True):
        if not carried:
            continue
        position = int(region.position[site])
        if position < begin:  # a deletion that reaches into this piece; its first letter lies in the one before
            here = position + len(region.ref[site])
            continue
        if inside is None and position >= end:
            inside = length + max(0, end - here)
        plain = reference[here - region.start : position - region.start]
        parts += [plain, region.alt[site]]
        length += len(plain) + len(region.alt[site])
        here = position + len(region.ref[site])
    if inside is None:
        inside = length + max(0, end - here)
    parts.append(reference[here - region.start : max(here, reach) - region.start])
    return "".join(parts).encode(), inside
