"""Small synthetic tables for the fine-tuning tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

MOTIF = "TATAAACCGGTT"


def motif_table(n: int = 120, bp: int = 60, seed: int = 0, shuffled: bool = False) -> pd.DataFrame:
    """Half of the sequences hold a motif of two 6-mers on the grid; labels yes and no, or drawn without looking."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    sequences = []
    for label in labels:
        letters = "".join(rng.choice(list("ACGT"), bp))
        place = 6 * rng.integers(0, (bp - len(MOTIF)) // 6 + 1)
        sequences.append(letters[:place] + MOTIF + letters[place + len(MOTIF) :] if label else letters)
    told = rng.permutation(labels) if shuffled else labels
    table = pd.DataFrame({"sequence": sequences, "label": np.where(told, "yes", "no")})
    table["starts"] = [float(s[:6].count("A")) for s in sequences]
    return table


def write(table: pd.DataFrame, folder: Path, name: str = "table.tsv") -> Path:
    """Write a table as TSV."""
    path = folder / name
    table.to_csv(path, sep="\t", index=False)
    return path
