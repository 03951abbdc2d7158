"""Align two numpy arrays, person by person, and print the verdict."""

import tempfile

import numpy as np

import genebrain

rng = np.random.default_rng(0)
shared = rng.normal(size=(300, 4))  # what genes and brain have in common
genes = np.concatenate([shared, rng.normal(size=(300, 20))], axis=1)
brains = shared @ rng.normal(size=(4, 100)) + rng.normal(size=(300, 100))

run = genebrain.fit(genes=genes, brains=brains, run=tempfile.mkdtemp() + "/run", progress=False)
print(genebrain.evaluate(run, progress=False)["verdict"])
