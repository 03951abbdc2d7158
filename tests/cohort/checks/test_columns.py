"""Which columns of the participants table are used is said, with what is missing."""

import numpy as np
import pandas as pd

from genebrain.cohort.checks.check import told_columns


def test_used_absent_and_ignored_columns_are_named():
    table = pd.DataFrame(
        {
            "participant_id": ["a", "b", "c"],
            "family": [0, 1, 2],
            "site": ["X", "missing", "X"],
            "age": [1.0, np.nan, np.nan],
            "PC1": [0.1, 0.2, 0.3],
            "gender": ["f", "m", "f"],
            "scanner_id": ["1", "2", "1"],
        }
    )
    assert told_columns(table) == (
        "known of people: site (1 unknown), age (2 unknown), PC1; not known: family_id, ancestry, sex, mean_fd; "
        "columns that are not used: gender, scanner_id"
    )
    assert told_columns(table[["participant_id"]]).startswith("known of people: nothing; not known: family_id")
