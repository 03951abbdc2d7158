"""
Your own scan feature
=====================

A *connectome feature* turns the covariances between a person's parcels into a vector. Write one, and ``fit`` and
``evaluate`` treat it like the built-in ones.
"""

# %%
# **The feature.** ``C0`` holds one covariance matrix per person, ``[people, parcels, parcels]`` (``C1``: between
# neighbouring frames; two more moments of the frames at the ends follow). ``fit`` learns from training people,
# ``transform`` works for anybody, ``state`` and ``from_state`` keep what was learned. This one is the log-Euclidean
# connectome: the matrix logarithm of the covariance, upper triangle. ``register_kind`` gives it a name for
# ``brain.kind``.

import tempfile
from pathlib import Path

import numpy as np

from genebrain import AlignmentSettings, ConnectomeFeature, ConnectomeSide, register_kind, tasks


@register_kind("log_euclidean")
class LogEuclidean(ConnectomeFeature):
    """Matrix logarithm of a covariance that is shrunk towards the mean of the training people."""

    def __init__(self, shrinkage=0.1):
        super().__init__()
        self.shrinkage = shrinkage

    def fit(self, C0, C1, *more):
        """Learn which parcels all training people have, and their mean covariance."""
        self.fit_parcels(C0, C1)
        return self

    def transform(self, C0, C1, *more):
        """Vectors, ``[people, P (P + 1) / 2]`` for P parcels."""
        mean = self.shared.C0  # of the training people
        upper = np.triu_indices(len(mean))
        vectors = np.empty((len(C0), len(upper[0])), np.float32)
        for rows, covariance, _, _ in self.batches(C0, C1, None):
            values, axes = np.linalg.eigh((1 - self.shrinkage) * covariance + self.shrinkage * mean)
            logarithm = (axes * np.log(values)[:, None, :]) @ axes.transpose(0, 2, 1)
            vectors[rows] = logarithm[:, upper[0], upper[1]]
        return vectors

    def state(self):
        """Arrays for the run folder."""
        return super().state() | {"shrinkage": np.array(self.shrinkage)}

    @classmethod
    def from_state(cls, state):
        """Back from the run folder."""
        return cls(float(state["shrinkage"])).restore(state)


# %%
# **Use it** beside the default. On the command line ``plugins=[my_features.py]`` loads the file that holds it.

folder = Path(tempfile.mkdtemp())
cohort = tasks.simulate(folder / "cohort", n_subjects=200, seed=1)
for name, brain in (("log_euclidean", ConnectomeSide(kind="log_euclidean")), ("default", ConnectomeSide())):
    run = tasks.fit(cohort, brain=brain, alignment=AlignmentSettings(train="none"), run=folder / name, progress=False)
    metrics = tasks.evaluate(run, comparisons=[], progress=False)
    recall = metrics["retrieval"]["mean"]["recall@1"]
    print(f"{name:14} recall@1 {recall['value']:.2f} (95 % {recall['ci'][0]:.2f} to {recall['ci'][1]:.2f})")
print(f"chance         recall@1 {metrics['chance']['recall@1']:.2f}")
