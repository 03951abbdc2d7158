"""Contexts of a variant: the letters that are read before it, and the two strings that are compared.

The rules of variant scoring on letters alone. The reference rule of GENERator's zero-shot script (upstream context,
cut on the left to whole 6-mers) and its extension to alleles of any length, both strands and downstream letters;
what cannot be scored gets a named status, never a number.

Source: variant-effect script of GenerTeam/GENERator (rule of the context); the allele rule is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from genebrain.common.types import UserError
from genebrain.genetics.genome.reference import COMPLEMENT, Reference, agrees
from genebrain.genetics.model.tokenizer import K

Strands = Literal["both", "forward", "reverse"]

SCORED = "scored"
STATUSES = {
    SCORED: "scored",
    "not_acgt": "alleles that are not plain letters A, C, G, T (N, symbolic such as <DEL>, '*', breakends, none)",
    "same_alleles": "REF and ALT are the same",
    "too_long": "alleles longer than max_allele_bp",
    "not_single_base": "alleles of several bases, which parity does not score",
    "contig_absent": "contigs that the reference does not have",
    "outside": "positions behind the end of their contig",
    "mismatch": "REF differs from the reference",
    "no_downstream": "no known letter behind the allele to tell the two apart",
}
"""Every status of a variant in words; only the first has a score."""

_SLAB = 1 << 16
_KNOWN = frozenset("ACGT")
_CLEAN = bytes.maketrans(b"acgt", b"ACGT").translate(
    bytes(code if chr(code) in "ACGT" else ord("N") for code in range(256))
)
_FURTHEST_ROLL = 1 << 13
_FLIP = bytes.maketrans(b"acgt", b"tgca")


@dataclass(frozen=True)
class ScoreRule:
    """Which letters decide a score.

    Attributes
    ----------
    context_bp : int
        Bases before the variant that are read, at most; cut down to whole 6-mers, so 6 at least.
    strands : {"both", "forward", "reverse"}
        ``reverse`` reads the other strand, so the bases behind the variant are its context; ``both`` averages.
    downstream_bp : int
        Bases behind the longer allele whose likelihood counts too.
    max_allele_bp : int
        Longer alleles are counted, not scored.
    parity : bool
        The published rule alone: forward strand, substitutions of one base, no downstream letters, the
        letters of the reference as they are (a lower-case one becomes ``<oov>``).
    """

    context_bp: int = 8192
    strands: Strands = "both"
    downstream_bp: int = 30
    max_allele_bp: int = 1000
    parity: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.strands not in get_args(Strands):
            problems.append(f"strands={self.strands!r} (use {', '.join(get_args(Strands))})")
        problems += [
            f"{name}={getattr(self, name)} (at least {least})"
            for name, least in (("context_bp", K), ("downstream_bp", 0), ("max_allele_bp", 1))
            if getattr(self, name) < least
        ]
        if problems:
            raise UserError("variant scores: " + "; ".join(problems))

    @property
    def directions(self) -> tuple[bool, ...]:
        """For each strand that is read: whether it is the reverse one."""
        if self.parity or self.strands == "forward":
            return (False,)
        return (True,) if self.strands == "reverse" else (False, True)

    @property
    def longest_string(self) -> int:
        """Most letters whose likelihood can be asked for."""
        return 1 if self.parity else self.max_allele_bp + self.downstream_bp


@dataclass(frozen=True)
class Comparison:
    """What the model is asked on one strand: how likely each of two equally long strings is behind a context.

    Attributes
    ----------
    context : bytes
        A multiple of six letters; may be empty.
    reference, alternative : str
        ``A``, ``C``, ``G``, ``T`` only, of the same length, at least one letter, never equal.
    """

    context: bytes
    reference: str
    alternative: str


class GenomeLetters:
    """Letters of a reference, as they are in the file, read in slabs so that neighbours cost one look-up."""

    def __init__(self, reference: Reference) -> None:
        self.contigs = reference.contigs

        @lru_cache(maxsize=64)
        def slab(contig: str, number: int) -> str:
            return reference.letters(contig, number * _SLAB, min((number + 1) * _SLAB, self.contigs[contig]))

        self._slab = slab

    def span(self, contig: str, start: int, end: int) -> str:
        """Letters ``start`` to ``end`` (0-based half-open), cut to the contig."""
        start, end = max(0, start), min(end, self.contigs[contig])
        if start >= end:
            return ""
        first, last = start // _SLAB, (end - 1) // _SLAB
        text = "".join(self._slab(contig, number) for number in range(first, last + 1))
        return text[start - first * _SLAB : end - first * _SLAB]


def status_of(
    genome: GenomeLetters, contig: str | None, position: int, reference: str, alternative: str, rule: ScoreRule
) -> str:
    """Status of a variant before any letter around it is read; ``contig`` is None when the reference lacks it."""
    if not (_plain(reference) and _plain(alternative)):
        return "not_acgt"
    if reference == alternative:
        return "same_alleles"
    if rule.parity and (len(reference), len(alternative)) != (1, 1):
        return "not_single_base"
    if max(len(reference), len(alternative)) > rule.max_allele_bp:
        return "too_long"
    if contig is None:
        return "contig_absent"
    if position - 1 + len(reference) > genome.contigs[contig]:
        return "outside"
    there = genome.span(contig, position - 1, position - 1 + len(reference)).upper()
    if not agrees(reference.encode(), there.encode()):
        return "mismatch"
    return SCORED


def comparisons(
    genome: GenomeLetters, contig: str, position: int, reference: str, alternative: str, rule: ScoreRule
) -> list[Comparison] | None:
    """What to ask about a variant of status ``scored``, one comparison per strand of ``rule.directions``.

    The alleles lose the letters they share (first behind, then in front), so the anchor base of an indel is no part
    of it, and an indel in a repeat moves to its last equivalent place in reading direction: all ways to write one
    variant give one score. With U the letters before it, R and A what is left of the alleles, and D the letters
    behind, the two strings are the first ``n`` letters of R D and of A D, where
    ``n = max(|R|, |A|) + downstream_bp``, or fewer where the contig or an unknown letter ends D. Strings of the same
    length after the same context are alternatives of one distribution, so their likelihoods may be compared whatever
    the length of the alleles. On the reverse strand the same is done with the reverse complement of everything.

    Returns
    -------
    list of Comparison, or None
        None where no letter behind the alleles is known to tell them apart.
    """
    shift, ref, alt = trim(reference, alternative)
    start = position - 1 + shift
    end = start + len(ref)
    roll = 0 if ref and alt else _FURTHEST_ROLL
    reach = max(len(ref), len(alt)) + rule.downstream_bp
    asked = []
    for is_reverse in rule.directions:
        if is_reverse:
            before = other_strand(genome.span(contig, end, end + rule.context_bp))
            behind = other_strand(genome.span(contig, start - reach - roll, start))
            pair = other_strand(ref), other_strand(alt)
        else:
            before = genome.span(contig, start - rule.context_bp, start)
            behind = genome.span(contig, end, end + reach + roll)
            pair = ref, alt
        passed, pair, behind = _rolled(*pair, "" if rule.parity else behind.upper(), roll)
        strings = _equal_strings(*pair, behind, reach)
        if strings is None:
            return None
        context = upstream_context(before + passed, rule.context_bp, as_written=rule.parity)
        asked.append(Comparison(context, *strings))
    return asked


def upstream_context(letters: str, context_bp: int, *, as_written: bool = False) -> bytes:
    """The context of the published rule: the letters before the variant, without a leading run of N, then cut on
    the left to a multiple of six.

    Parameters
    ----------
    letters : str
        What stands before the variant; only the last ``context_bp`` count.
    as_written : bool
        Keep lower case and ambiguity codes, as the published script does. Otherwise letters become upper case
        and all but A, C, G, T become N, so that a soft-masked genome gives the same context as its twin.
    """
    text = letters[-context_bp:] if context_bp else ""
    if not as_written:
        text = text.encode("ascii").translate(_CLEAN).decode("ascii")
    text = text.lstrip("N")
    return text[len(text) % K :].encode("ascii")


def trim(reference: str, alternative: str) -> tuple[int, str, str]:
    """Alleles without the letters they share: first behind, then in front; either may become empty.

    Returns
    -------
    shift : int
        Letters removed in front.
    reference, alternative : str
    """
    shorter = min(len(reference), len(alternative))
    behind = 0
    while behind < shorter and reference[-1 - behind] == alternative[-1 - behind]:
        behind += 1
    reference, alternative = reference[: len(reference) - behind], alternative[: len(alternative) - behind]
    front = 0
    while front < shorter - behind and reference[front] == alternative[front]:
        front += 1
    return front, reference[front:], alternative[front:]


def other_strand(text: str) -> str:
    """Reverse complement that keeps the case of the letters."""
    return text.encode("ascii").translate(COMPLEMENT).translate(_FLIP)[::-1].decode("ascii")


def _plain(allele: str) -> bool:
    return bool(allele) and _KNOWN.issuperset(allele)


def _rolled(reference: str, alternative: str, behind: str, furthest: int) -> tuple[str, tuple[str, str], str]:
    """Move an insertion or deletion along the letters behind it as far as it stays the same variant.

    Returns
    -------
    passed : str
        Letters that now stand before it.
    alleles : (reference, alternative)
    behind : str
    """
    allele = reference or alternative
    if not furthest:
        return "", (reference, alternative), behind
    # A letter may be passed when it repeats the one that stands an allele's length before it.
    line = allele + behind
    steps = 0
    while steps < min(furthest, len(behind)) and line[steps] == behind[steps]:
        steps += 1
    moved = line[steps : steps + len(allele)]
    return line[:steps], (moved, "") if reference else ("", moved), behind[steps:]


def _equal_strings(reference: str, alternative: str, behind: str, reach: int) -> tuple[str, str] | None:
    known = next((i for i, letter in enumerate(behind[:reach]) if letter not in _KNOWN), min(len(behind), reach))
    length = min(reach, min(len(reference), len(alternative)) + known)
    return ((reference + behind)[:length], (alternative + behind)[:length]) if length else None
