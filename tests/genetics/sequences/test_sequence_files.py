"""Sequences from files: the same rows from every format, clean letters, and every problem told at once."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.model.tokenizer import OOV, SixMerTokenizer
from genebrain.genetics.sequences import files as sequence_files
from genebrain.genetics.sequences.files import SequenceFile
from genebrain.genetics.sequences.hygiene import HygieneReport

SEQUENCES = ["acgtACGTAA", "ACGTRYNNACGT", "TTTTTT GGGGGG", "ACG" * 50]
CLEAN = ["ACGTACGTAA", "ACGTNNNNACGT", "TTTTTTGGGGGG", "ACG" * 50]
TABLE = pd.DataFrame({"id": list("wxyz"), "Seq": SEQUENCES, "label": [0, 1, 1, 0], "type": list("abab")})


def write(folder: Path, ending: str, table: pd.DataFrame = TABLE) -> Path:
    path = folder / f"sequences{ending}"
    if ending == ".parquet":
        table.to_parquet(path, index=False)
    elif "fa" in ending:
        wrapped = ["\n".join(s[i : i + 60] for i in range(0, len(s), 60)) for s in table["Seq"]]
        text = "".join(f">{name} of a {kind}\n{s}\n" for name, kind, s in zip(table["id"], table["type"], wrapped))  # noqa: B905
        path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    else:
        table.to_csv(path, index=False, sep="," if "csv" in ending else "\t")
    return path


@pytest.mark.parametrize("ending", [".fa", ".fasta.gz", ".tsv", ".csv.gz", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    batch, report = SequenceFile(write(tmp_path, ending)).read()
    assert (batch.ids, batch.rows, batch.sequences) == (list("wxyz"), [1, 2, 3, 4], CLEAN)
    if "fa" in ending:
        assert batch.table["description"].tolist() == ["of a a", "of a b", "of a a", "of a b"]
    else:
        assert batch.table["label"].tolist() == [0, 1, 1, 0]
        assert batch.table["type"].tolist() == list("abab")
        assert "Seq" not in batch.table
    assert (report.sequences, report.letters) == (4, sum(map(len, CLEAN)))
    assert (report.lower_case, report.ambiguous, report.unknown, report.blank) == (4, 2, 4, 1)
    assert (report.six_mers, report.oov) == (1 + 2 + 2 + 25, 2)
    assert report.as_dict()["oov_share"] == 2 / 30


def test_soft_masked_genome_gives_the_tokens_of_its_upper_case_twin(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    letters = "".join(random.choice(list("ACGTN"), 600, p=[0.24] * 4 + [0.04]))
    masked = "".join(c.lower() if random.random() < 0.5 else c for c in letters)
    tokens, reports = [], []
    for name, text in (("upper", letters), ("masked", masked)):
        path = tmp_path / f"{name}.fa"
        path.write_text(f">x\n{text}\n")
        batch, report = SequenceFile(path).read()
        tokens.append(SixMerTokenizer().encode(batch.sequences[0]))
        reports.append(report)
    assert tokens[0] == tokens[1]
    assert tokens[0] != SixMerTokenizer().encode(masked)
    assert reports[0].oov == reports[1].oov == tokens[0].count(OOV) > 0
    assert reports[1].lower_case == sum(map(str.islower, masked)) > reports[0].lower_case == 0


def test_batches_stream_and_number_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_files, "_BLOCK_LETTERS", 20)
    monkeypatch.setattr(sequence_files, "_BLOCK_ROWS", 2)
    for ending in (".fa", ".parquet"):
        report = HygieneReport()
        parts = list(SequenceFile(write(tmp_path, ending)).batches(report))
        assert len(parts) > 1
        assert [row for part in parts for row in part.rows] == [1, 2, 3, 4]
        assert report.sequences == 4


def test_columns_are_found_in_order_or_named(tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["CCCCCC"], "sequence": ["AAAAAA"], "other": ["GGGGGG"], "key": ["k"]})
    path = write(tmp_path, ".tsv", table)
    batch, _ = SequenceFile(path).read()
    assert (batch.sequences, batch.ids) == (["AAAAAA"], ["1"])
    batch, _ = SequenceFile(path, column="other", id_column="key").read()
    assert (batch.sequences, batch.ids) == (["GGGGGG"], ["k"])
    with pytest.raises(
        UserError, match=r"no column of sequences \(letters\) and none of ids \(name\); it has text, seq"
    ):
        SequenceFile(path, column="letters", id_column="name").read()
    with pytest.raises(UserError, match=r"sequence or seq or .*it has key\. Name yours"):
        SequenceFile(write(tmp_path, ".csv", table[["key"]])).read()
    numbers = write(tmp_path, ".parquet", pd.DataFrame({"seq": [1.5]}))
    with pytest.raises(UserError, match="seq holds double, not letters"):
        SequenceFile(numbers).read()


def test_letters_that_spell_missing_values_stay_letters(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("seq\tlabel\nNANANANA\t1\nNA\t2\n\t3\n")
    with pytest.raises(UserError) as told:
        SequenceFile(path, unreadable="skip").read()
    assert str(told.value) == f"{path}: 1 sequences without letters: row 3 (fill them in or remove the rows)"


def test_all_problems_are_told_at_once_with_rows(tmp_path: Path) -> None:
    bad = ["ACG", "ACGUAC", "NNNNNNN", "ACGTAC", "ACGT1ACGT", "MKVLAT", "AC"]
    path = write(tmp_path, ".tsv", pd.DataFrame({"id": list("abcdefg"), "seq": bad}))
    with pytest.raises(UserError) as told:
        SequenceFile(path).read()
    text = str(told.value)
    assert text.startswith(f"{path}: 2 sequences shorter than 6 letters: row 1 (a); row 7 (g)")
    assert "3 sequences with letters that are refused: row 2 (b): 1 letters U (RNA) of 6" in text
    assert "row 5 (e): characters that are no nucleotide code: 1" in text
    assert "1 sequences of N alone: row 3 (c)" in text
    good = pd.DataFrame({"id": list("abcd"), "seq": bad[:4]})
    batch, report = SequenceFile(write(tmp_path, ".tsv", good), uracil="to_t", unreadable="skip").read()
    assert (batch.rows, batch.ids, batch.sequences) == ([2, 4], ["b", "d"], ["ACGTAC", "ACGTAC"])
    assert (report.too_short, report.only_unknown, report.uracil, report.sequences) == (1, 1, 1, 2)


def test_a_long_list_of_problems_is_counted_not_printed(tmp_path: Path) -> None:
    path = write(tmp_path, ".tsv", pd.DataFrame({"seq": ["AC"] * 40}))
    with pytest.raises(UserError, match=r"40 sequences shorter than 6 letters: row 1; .*row 5; \.\.\. \(the model"):
        SequenceFile(path).read()
    with pytest.raises(UserError, match="no sequence is left of 40 shorter than 6 letters and 0 of N alone"):
        SequenceFile(path, unreadable="skip").read()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.fa", None, "does not exist"),
        ("x.bam", b"", "must end in one of .fa"),
        ("x.fa", b"ACGT\n", "line 1: a FASTA begins with"),
        ("x.fa", b">\nACGT\n", "line 1: a FASTA header without a name"),
        ("x.fa", b"", "holds no sequences"),
        ("x.fa", b">a\nAC\xff\n", "cannot be read"),
        ("x.fa.gz", b"no gzip", "cannot be read"),
        ("x.parquet", b"no parquet", "cannot be read"),
        ("x.tsv", b"seq\tlabel\nACGTAC\t1\nACGTAC\n", "1 rows have 1 cells, the header has 2: line 3"),
    ],
)
def test_unreadable_files_are_explained(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        SequenceFile(tmp_path / name).read()


def test_unknown_policies_are_refused() -> None:
    with pytest.raises(UserError, match="uracil='keep': use one of error, to_t"):
        SequenceFile("x.fa", uracil="keep")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unreadable='drop': use one of error, skip"):
        SequenceFile("x.fa", unreadable="drop")  # type: ignore[arg-type]


def test_advice_names_options_as_every_verb_calls_them(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("dna\nACG\n")
    with pytest.raises(UserError, match=r"column \(in finetune table\.sequence\)$"):
        SequenceFile(path).read()
    with pytest.raises(UserError, match="where the verb has the option unreadable"):
        SequenceFile(path, column="dna").read()


def test_open_quotes_and_ids_of_a_table_stay_as_they_are(tmp_path: Path) -> None:
    rows = [("007", "ACGTAC", '"odd'), ("1e5", "ACGTNA", "x"), ("NA", "ACGTAC", '"odd'), ("TRUE", "ACGTAC", "y")]
    (tmp_path / "s.tsv").write_text("id\tseq\tnote\n" + "".join("\t".join(row) + "\n" for row in rows))
    batch, _ = SequenceFile(tmp_path / "s.tsv", unreadable="skip").read()
    assert batch.ids == ["007", "1e5", "NA", "TRUE"]
    assert batch.table["note"].tolist() == ['"odd', "x", '"odd', "y"]
