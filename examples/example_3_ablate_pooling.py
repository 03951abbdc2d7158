"""
Compare poolings
================

Which way of pooling the chunks of a gene finds most? An *ablation* answers such questions: every arm sees the same
people, splits and seeds, and embeddings are computed once.
"""

# %%
# A simulated cohort of 120 people (more people, clearer differences). Arms are settings by part (genetics,
# brain, pooling, alignment, trainer, split).

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from genebrain import tasks

folder = Path(tempfile.mkdtemp())
cohort = tasks.simulate(folder / "cohort", n_subjects=120, seed=5)
arms = {
    "chunks apart (default)": {},
    "mean over chunks": {"pooling": {"chunk": "mean"}},
}
table = tasks.ablate(cohort, {"arms": arms}, run=folder / "pooling", seeds=[0, 1], jobs=1)

# %%
# ``results.csv`` has one row per arm, seed and number; the folder holds the table and a figure with intervals
# too.

results = pd.read_csv(table)
print(
    results[["arm", "seed", "recall@1", "recall@1_low", "recall@1_high", "gallery_size", "n_test"]].round(3).to_string()
)
print(sorted(path.name for path in table.parent.iterdir()))

# %%
# Recall@1 of each arm and seed: how often the own brain is first among the candidates.

recalls = results.pivot_table(index="arm", columns="seed", values="recall@1", sort=False)
print(recalls.round(3))
axes = recalls.plot.barh(figsize=(7, 2.6))
axes.axvline(results["chance_recall@1"].iloc[0], color="grey", linestyle=":", label="chance")
axes.invert_yaxis()
axes.set(xlabel="recall@1 on test people", ylabel="")
axes.legend(title="seed")
plt.tight_layout()
