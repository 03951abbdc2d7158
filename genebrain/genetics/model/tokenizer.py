"""DNA letters to GENERator token ids: a fixed table of non-overlapping 6-mers, written out here in full.

The tokenizer of the published GENERator checkpoints without remote code, plus the two things it lacks: an explicit
rule for lengths that are no multiple of six, and a report of letters it would silently turn into ``<oov>``.

Ids 0..31 are control tokens, 32..4127 the 6-mers in the order of the product of A, T, C, G. No mark is ever added
unasked.

Source: vocabulary and scan rules of the tokenizer published with GenerTeam/GENERator (described, not copied).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError

K = 6
CONTROL_TOKENS = (
    *("<oov>", "<s>", "</s>", "<pad>", "<mask>", "<bog>", "<eog>", "<bok>", "<eok>", "<+>", "<->"),
    *("<cds>", "<pseudo>", "<tRNA>", "<rRNA>", "<ncRNA>", "<miscRNA>"),
    *("<mam>", "<vrt>", "<inv>", "<pln>", "<fng>", "<prt>", "<arc>", "<bct>", "<mit>", "<plt>", "<plm>"),
    *("<vir>", "<sp0>", "<sp1>", "<sp2>"),
)
OOV, BOS, EOS, PAD = 0, 1, 2, 3
VOCAB_SIZE = len(CONTROL_TOKENS) + 4**K
RULE = "six-mer-ATCG/1"
"""Name of the id rule; part of every store fingerprint, so a change of the rule can never mix two tables."""

FrameRule = Literal["pad_right", "pad_left", "trim_left", "trim_right"]
Side = Literal["left", "right"]

_DIGIT = np.full(256, -1, np.int16)
for _value, _letter in enumerate(b"ATCG"):
    _DIGIT[_letter] = _value
_PLACE = np.array([4**p for p in range(K - 1, -1, -1)], np.int16)
_SCAN = re.compile("|".join(map(re.escape, CONTROL_TOKENS)) + f"|[A-Z]{{1,{K}}}|.", re.DOTALL)
_UPPER_ONLY = re.compile(rb"[A-Z]*").fullmatch
_IUPAC_AMBIGUOUS = str.maketrans(dict.fromkeys("RYSWKMBDHV", "N"))


@dataclass(frozen=True)
class CleanReport:
    """What :meth:`SixMerTokenizer.clean` changed in one sequence; all fields are counts of letters."""

    length: int
    lower_case: int
    uracil: int
    ambiguous: int
    blank: int
    unknown: int
    """Letters N after cleaning; each makes the 6-mer that holds it ``<oov>``."""

    def as_dict(self) -> dict[str, int]:
        """JSON-ready counts."""
        return asdict(self)


class SixMerTokenizer:
    """Encode, decode, frame and clean DNA for GENERator; stateless, so one instance serves everybody."""

    def __init__(self) -> None:
        kmers = ("".join(letters) for letters in product("ATCG", repeat=K))
        self.id_to_token: tuple[str, ...] = (*CONTROL_TOKENS, *kmers)
        self.token_to_id = {token: i for i, token in enumerate(self.id_to_token)}

    def tokenize(self, text: str) -> list[str]:
        """Cut a text as the published tokenizer does, left to right.

        A control token written out wins; else up to six upper-case letters A-Z; else one character. One
        lower-case letter therefore breaks the run *and* shifts the 6-mer frame of everything after it:
        :meth:`clean` first.
        """
        return _SCAN.findall(text)

    def encode(self, text: str) -> list[int]:
        """Token ids of one text; pieces outside the vocabulary become ``<oov>`` (0); no marks are added."""
        return [self.token_to_id.get(token, OOV) for token in self.tokenize(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, control tokens written out. ``ValueError`` names ids outside the vocabulary."""
        if bad := [i for i in ids if not 0 <= i < VOCAB_SIZE]:
            raise ValueError(f"{len(bad)} token ids outside 0..{VOCAB_SIZE - 1}, the first: {bad[:5]}")
        return "".join(self.id_to_token[i] for i in ids)

    def encode_many(self, sequences: Sequence[bytes]) -> list[NDArray[np.int64]]:
        """Token ids of many sequences, equal to :meth:`encode` of each, one numpy pass per sequence.

        Sequences of upper-case letters only take the vectorised path; any other goes through the slow scan.
        """
        return [
            _encode_upper(s) if _UPPER_ONLY(s) else np.array(self.encode(s.decode("latin-1")), np.int64)
            for s in sequences
        ]

    @staticmethod
    def frame(sequence: str, rule: FrameRule = "pad_right") -> str:
        """Bring a sequence to a multiple of six letters.

        Parameters
        ----------
        sequence : str
            DNA letters.
        rule : {"pad_right", "pad_left", "trim_left", "trim_right"}
            ``pad_*`` adds the letter A on that side (at most five; ``pad_right`` is what the published
            fine-tuning does), ``trim_*`` cuts letters on that side (what the variant-effect recipe does on
            the left). Padding on the right keeps the frame of all real 6-mers.
        """
        _check_rule(rule)
        excess = len(sequence) % K
        if not excess:
            return sequence
        if rule == "pad_right":
            return sequence + "A" * (K - excess)
        if rule == "pad_left":
            return "A" * (K - excess) + sequence
        return sequence[excess:] if rule == "trim_left" else sequence[:-excess]

    @staticmethod
    def clean(sequence: str, uracil: Literal["to_t", "error"] = "error") -> tuple[str, CleanReport]:
        """Upper-case, drop blanks, turn ambiguity codes into N, and say how often.

        Raises
        ------
        UserError
            For a letter U under ``uracil="error"`` (RNA where DNA is expected), and for any character that is
            no nucleotide code, naming the characters and the first position.
        """
        upper = "".join(sequence.split()).upper()
        n_uracil = upper.count("U")
        if n_uracil and uracil == "error":
            raise UserError(
                f"{n_uracil} letters U (RNA) of {len(upper)}, the first at position {upper.index('U') + 1}; "
                "give DNA, or allow the replacement with uracil='to_t'"
            )
        upper = upper.replace("U", "T")
        cleaned = upper.translate(_IUPAC_AMBIGUOUS)
        if foreign := re.search("[^ATCGN]", cleaned):
            kinds = sorted(set(re.findall("[^ATCGN]", cleaned)))
            raise UserError(
                f"characters that are no nucleotide code: {' '.join(kinds)} "
                f"(the first at position {foreign.start() + 1} of {len(cleaned)}); is this a DNA sequence?"
            )
        n_unknown = cleaned.count("N")
        report = CleanReport(
            length=len(cleaned),
            lower_case=sum(map(str.islower, sequence)),
            uracil=n_uracil,
            ambiguous=n_unknown - upper.count("N"),
            blank=len(sequence) - len(cleaned),
            unknown=n_unknown,
        )
        return cleaned, report


def oov_share(ids: NDArray[np.int64], mask: NDArray[np.bool_]) -> float:
    """Share of the real tokens ``ids[mask]`` that are ``<oov>``, 0..1 (0 when nothing is real)."""
    return float((ids[mask] == OOV).mean()) if mask.any() else 0.0


def pad(
    rows: Sequence[NDArray[np.int64] | list[int]],
    *,
    side: Side = "right",
    multiple_of: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Put token rows of different lengths into one array.

    Parameters
    ----------
    rows : sequence of int rows
    side : {"right", "left"}
        Where ``<pad>`` goes.
    multiple_of : int
        The common length is rounded up to this.

    Returns
    -------
    ids : int64 [rows, length]
    mask : bool [rows, length]
        True at real tokens.
    """
    longest = max(map(len, rows), default=0)
    ids = np.full((len(rows), -(-longest // multiple_of) * multiple_of), PAD, np.int64)
    mask = np.zeros(ids.shape, bool)
    for i, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(ids.shape[1] - len(row), None)
        ids[i, where] = row
        mask[i, where] = True
    return ids, mask


def _check_rule(rule: str) -> None:
    if rule not in get_args(FrameRule):
        raise UserError(f"unknown length rule {rule!r}; choose one of {', '.join(get_args(FrameRule))}")


def _encode_upper(sequence: bytes) -> NDArray[np.int64]:
    n_full, tail = divmod(len(sequence), K)
    digits = _DIGIT[np.frombuffer(sequence, np.uint8, n_full * K)].reshape(n_full, K)
    ids = np.where((digits < 0).any(1), OOV, digits @ _PLACE + len(CONTROL_TOKENS)).astype(np.int64)
    return np.append(ids, OOV) if tail else ids
