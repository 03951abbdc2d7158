"""Labels of every task are read, and everything wrong with them is told together."""

from __future__ import annotations

import sys
import types

import numpy as np
import pandas as pd
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.finetuning.settings import TableSettings
from genebrain.genetics.finetuning.table import MISSING_WORDS, labelled, read_labels, read_table
from genebrain.genetics.sequences.files import SequenceBatch
from tests.genetics.finetuning.finetuning_tables import motif_table, write


def batch(**columns: object) -> SequenceBatch:
    table = pd.DataFrame(columns)
    n = len(table)
    return SequenceBatch(list(range(1, n + 1)), list(map(str, range(n))), ["ACGTAC"] * n, table)


@pytest.mark.parametrize(
    ("values", "names", "codes"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([10, 9, 10], ("9", "10"), [1, 0, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
    ],
)
def test_classes_are_sorted_as_what_they_are(values, names, codes):
    labels = read_labels("classification", batch(label=values), ["label"])
    assert labels.names == names
    assert labels.values.tolist() == codes


def test_flags_in_one_column_or_in_several_are_the_same():
    one = read_labels("multilabel", batch(label=["0,1", "[1; 0]", "1 1"]), ["label"])
    many = read_labels("multilabel", batch(a=[0, 1, 1], b=[1, 0, 1]), ["a", "b"])
    lists = read_labels("multilabel", batch(label=[[0, 1], np.array([1, 0]), (1, 1)]), ["label"])
    assert one.values.tolist() == many.values.tolist() == lists.values.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert many.names == ("a", "b")
    assert one.names == ("label_0", "label_1")


def test_numbers_of_several_columns():
    labels = read_labels("regression", batch(a=[0.5, 1], b=["2", "3e1"]), ["a", "b"])
    assert labels.values.tolist() == [[0.5, 2], [1, 30]]


def test_missing_labels_wrong_types_and_unseen_classes_are_told_together():
    train = np.array([True, True, False, True])
    with pytest.raises(UserError) as caught:
        read_labels("classification", batch(label=["a", None, "b", "a"]), ["label"], train)
    assert "1 rows without a label (empty, NA or the like): row 2; fill" in str(caught.value)
    assert "classes without a training row: b" in str(caught.value)
    with pytest.raises(UserError, match=r"row 2.*2 labels are no finite number \(row 1, 3\)"):
        read_labels("regression", batch(label=["x", None, "inf", "1"]), ["label"])
    with pytest.raises(UserError, match=r"no list of 0 and 1 \(row 2\).*different lengths, \[2, 3\] \(row 4\)"):
        read_labels("multilabel", batch(label=["0,1", "0,2", "1,0", "1,1,1"]), ["label"])


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_empty_cells_of_a_text_file_are_missing_labels_not_a_class(task, tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("sequence\tlabel\nACGTAC\tyes\nACGTAA\t\nACGTAG\tno\nACGTAT\t \nACGTCC\tNA\nACGTCG\tn/a\n")
    rows, _ = read_table(path, TableSettings())
    with pytest.raises(UserError, match=r"4 rows without a label .*: row 2, 4, 5, 6; .*table.unlabelled=skip"):
        read_labels(task, rows, ["label"])
    kept = rows.only(labelled(rows, ["label"]))
    assert kept.rows == [1, 3]
    assert kept.sequences == ["ACGTAC", "ACGTAG"]
    if task == "classification":
        assert read_labels(task, kept, ["label"]).names == ("no", "yes")


def test_the_words_for_missing_are_those_of_pandas(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("label\n" + "\n".join([*MISSING_WORDS, "none", "-9", "no", "nane"]) + "\n")
    read = pd.read_csv(path)["label"]
    assert read.isna().sum() == len(MISSING_WORDS)
    assert list(read.dropna()) == ["none", "-9", "no", "nane"]


@pytest.mark.parametrize(
    ("task", "columns", "message"),
    [
        ("classification", {"label": [0.5, 1.0]}, "task=regression"),
        ("classification", {"label": ["a", "a"]}, "two classes at least"),
        ("classification", {"other": ["a", "b"]}, r"no label column label; the table has other"),
        ("classification", {"label": [[1], [2]]}, "not classes"),
    ],
)
def test_labels_of_another_kind_are_refused(task, columns, message):
    with pytest.raises(UserError, match=message):
        read_labels(task, batch(**columns), ["label"])


def test_a_column_of_another_name_is_read(tmp_path):
    path = write(motif_table(4).rename(columns={"sequence": "promoter"}), tmp_path)
    found, report = read_table(path, TableSettings(sequence="promoter"))
    assert len(found) == report.sequences == 4


def test_hub_data_sets_keep_the_names_of_their_splits(monkeypatch):
    table = motif_table(4)

    class Part:
        def to_pandas(self) -> pd.DataFrame:
            return table

    fake = types.SimpleNamespace(load_dataset=lambda owner, config: {"train": Part(), "test": Part()})
    monkeypatch.setitem(sys.modules, "datasets", fake)
    found, _ = read_table("hub:owner/name", TableSettings())
    assert found.table["split"].tolist() == ["train"] * 4 + ["test"] * 4


def test_the_hub_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"genebrain\[hub\]"):
        read_table("hub:owner/name", TableSettings())
