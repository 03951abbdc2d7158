"""
From a VCF to one vector per person
===================================

The way of the genome, step by step: variants become letters, letters become chunks, every *distinct* chunk becomes a
vector once, and a person is a set of rows of that table.
"""

# %%
# A small cohort in the formats of real data. Put the path of your own ``cohort.yaml`` here instead.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from genebrain import GenePooling, GeneSide, Workspace, tasks

folder = Path(tempfile.mkdtemp())
cohort = tasks.simulate(folder / "cohort", n_subjects=80, n_windows=4, window_bp=20_000, seed=3)
print(cohort.read_text())

# %%
# **Letters and chunks.** Each person has two copies (haplotypes) of every window. Both are cut at the same
# places of the reference genome, every 1,500 letters. People share most pieces, so few of them are distinct.

workspace = Workspace(cohort, progress=False)
genetics = GeneSide()  # generator_tiny: the published architecture, small, with random weights
chunks = workspace.chunks(genetics)
people, haplotypes, windows, places = chunks.index.shape
print(f"{people} people x {haplotypes} haplotypes x {windows} windows x {places} chunks = {chunks.index.size:,} pieces")
print(f"{len(chunks.sequences):,} of them are distinct; the first begins with {chunks.sequences[0][:30].decode()}...")

# %%
# **Vectors.** The DNA language model reads each distinct chunk once. ``index`` says which row of the table
# stands at which place of which person (-1: no chunk there).

workspace.embed(genetics)
table = workspace.table(genetics, "mean")  # mean over the tokens of a chunk
print(f"table of distinct chunks: {table.shape}")
person, haplotype, window, place = 0, 0, 2, 5
row = chunks.index[person, haplotype, window, place]
print(f"person 0, haplotype 0, window 2, chunk 5 is row {row}: {table[row, :4].round(3)} ...")

# %%
# **Pooling.** One vector per person and window: the mean over chunks and over the two haplotypes. (The default
# of ``fit`` keeps the chunks apart, which finds more; ``pooling=mean`` is easier to look at.)

blocks, _ = workspace.blocks(genetics, GenePooling(chunk="mean"))
vectors = np.concatenate(blocks, axis=1)
print(f"{len(blocks)} windows of {blocks[0].shape[1]} numbers: one vector of {vectors.shape[1]} per person")

# %%
# How alike are two people? Relatives and people who share haplotypes lie close together.

centred = vectors - vectors.mean(axis=0)
centred /= np.linalg.norm(centred, axis=1, keepdims=True)
figure, axes = plt.subplots(figsize=(5, 4.2))
image = axes.imshow(centred @ centred.T, cmap="RdBu_r", vmin=-1, vmax=1)
axes.set(xlabel="person", ylabel="person", title="cosine of the vectors of two people")
figure.colorbar(image)
figure.tight_layout()
