"""Letters to ids: the fast path equals the scan, lengths and hygiene are explicit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genebrain.common.types import UserError
from genebrain.genetics.model.tokenizer import (
    OOV,
    PAD,
    VOCAB_SIZE,
    FrameRule,
    SixMerTokenizer,
    oov_share,
    pad,
)

TOKENIZER = SixMerTokenizer()


@given(st.text("ACGTN", max_size=40) | st.text("ACGTNUacgt <s>\n-1é", max_size=40))
def test_vectorised_path_equals_the_scan(text: str) -> None:
    (ids,) = TOKENIZER.encode_many([text.encode("latin-1")])
    assert ids.dtype == np.int64
    assert ids.tolist() == TOKENIZER.encode(text)


@given(st.lists(st.integers(32, VOCAB_SIZE - 1), max_size=20))
def test_six_mers_survive_a_round_trip(ids: list[int]) -> None:
    assert TOKENIZER.encode(TOKENIZER.decode(ids)) == ids


def test_decode_names_ids_outside_the_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"2 token ids outside 0\.\.4127.*\[-1, 4128\]"):
        TOKENIZER.decode([-1, 5, 4128])


@pytest.mark.parametrize(
    ("rule", "framed"),
    [
        ("pad_right", "ACGTACGTAAAA"),
        ("pad_left", "AAAAACGTACGT"),
        ("trim_left", "GTACGT"),
        ("trim_right", "ACGTAC"),
    ],
)
def test_frame(rule: FrameRule, framed: str) -> None:
    assert TOKENIZER.frame("ACGTACGT", rule) == framed
    assert TOKENIZER.frame("ACGTAC", rule) == "ACGTAC"
    assert TOKENIZER.frame("", rule) == ""


def test_frame_refuses_an_unknown_rule() -> None:
    with pytest.raises(UserError, match=r"'left'.*pad_right, pad_left, trim_left, trim_right"):
        TOKENIZER.frame("ACGT", "left")  # type: ignore[arg-type]


def test_clean_counts_what_it_changes() -> None:
    cleaned, report = TOKENIZER.clean("acg\nTRYN u", uracil="to_t")
    assert cleaned == "ACGTNNNT"
    assert report.as_dict() == {
        "length": 8,
        "lower_case": 4,
        "uracil": 1,
        "ambiguous": 2,
        "blank": 2,
        "unknown": 3,
    }


def test_clean_refuses_rna_and_foreign_characters() -> None:
    with pytest.raises(UserError, match=r"1 letters U \(RNA\) of 5, the first at position 3"):
        TOKENIZER.clean("ACUGT")
    with pytest.raises(UserError, match=r"no nucleotide code: - Q \(the first at position 2 of 4\)"):
        TOKENIZER.clean("A-QT")


@pytest.mark.parametrize("side", ["right", "left"])
def test_pad(side: str) -> None:
    ids, mask = pad([[7, 8, 9], [5], []], side=side, multiple_of=4)  # type: ignore[arg-type]
    assert ids.shape == mask.shape == (3, 4)
    assert [row[real].tolist() for row, real in zip(ids, mask, strict=True)] == [[7, 8, 9], [5], []]
    assert (ids[~mask] == PAD).all()
    assert mask[0, 0] == (side == "right")


def test_oov_share() -> None:
    ids, mask = pad([[1, OOV, 40, 41], [OOV]])
    assert oov_share(ids, mask) == pytest.approx(2 / 5)
    assert oov_share(ids, np.zeros_like(mask)) == 0
