"""
Embed scans
===========

One vector per window, scan and person from a table or folder of scans. No genomes and no cohort are needed.
"""

# %%
# Simulated scans with two sessions per person, each a table of 80 parcels x 1,200 frames (15 minutes). Yours
# may be 4D images in an fMRIPrep folder with ``atlas="atlas.nii.gz"``.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from genebrain import tasks

folder = Path(tempfile.mkdtemp())
cohort = tasks.simulate(folder / "cohort", n_sessions=2, n_frames=1200, n_subjects=60, seed=2)
scans = cohort.parent / "scans.tsv"
print(pd.read_csv(scans, sep="\t").head(3).to_string())

# %%
# The connectome needs no weights: the correlations between parcels. Published encoders are asked for as
# ``brain=EncoderSide(...)``, on the command line ``brain=brainlm brain.path=WEIGHTS``.

out = folder / "vectors"
tasks.embed_scans(input=scans, out=out)
print(sorted(path.name for path in out.iterdir()))

# %%
# Rows of ``scans.npy`` are explained by ``scans.tsv``. People appear under keyed names; ``names.tsv`` says who
# is who.

vectors, rows = np.load(out / "scans.npy"), pd.read_csv(out / "scans.tsv", sep="\t")
print(vectors.shape)
print(rows.head(3).to_string())

# %%
# Do the two sessions of a person resemble each other more than the sessions of two people?

unit = vectors - vectors.mean(axis=0)
unit /= np.linalg.norm(unit, axis=1, keepdims=True)
cosine = unit @ unit.T
same = rows["subject"].to_numpy()[:, None] == rows["subject"].to_numpy()
other = ~np.eye(len(rows), dtype=bool)
figure, axes = plt.subplots(figsize=(6, 3))
bins = np.linspace(-0.5, 1, 40)
axes.hist(cosine[~same], bins, density=True, alpha=0.6, label="two people")
axes.hist(cosine[same & other], bins, density=True, alpha=0.6, label="two sessions of one person")
axes.set(xlabel="cosine of two scans", ylabel="density")
axes.legend()
figure.tight_layout()
nearest = np.where(other, cosine, -2).argmax(axis=1)
found = (rows["subject"].to_numpy()[nearest] == rows["subject"].to_numpy()).mean()
print(f"the nearest scan is of the same person in {found:.0%} of the cases (chance {1 / (len(rows) - 1):.1%})")
