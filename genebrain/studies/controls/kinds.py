"""The controls by name: which question each answers, and what is to be expected of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from genebrain.alignment.closed_form.column_sets import mapped
from genebrain.alignment.closed_form.latents import JOINED
from genebrain.common.types import FloatArray, IntArray
from genebrain.evaluation.nulls import deal
from genebrain.genetics.encoders.protocol import GENERATORS
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.readings import Readings
from genebrain.studies.baselines import confound_matrix
from genebrain.studies.controls.setting import Setting, Vectors

CHANCE, SIMPLER = "chance", "simpler"
FEWEST_OF_A_SITE = 20
"""Judged people of a site, so that it is judged by a model without it."""


@dataclass(frozen=True)
class Control:
    """A control.

    Attributes
    ----------
    question : str
        For the report.
    expected : "chance" or "simpler"
        It must be at chance, or it is a simpler reading to compare with.
    make : callable
        From a `Setting` to the vectors of the judged; None where the cohort does not allow it (it says why in
        ``setting.notes``).
    """

    question: str
    expected: str
    make: Callable[[Setting], Vectors | None]


def one_genome(setting: Setting) -> Vectors:
    """The fitted model, with the genome of one training person for everybody."""
    subjects, first = setting.subjects, setting.training[:1]
    same = replace(
        subjects,
        blocks=mapped(subjects.blocks, lambda block: np.broadcast_to(block[first], block.shape).copy()),
        index=None if subjects.index is None else np.broadcast_to(subjects.index[first], subjects.index.shape).copy(),
    )
    return setting.fitted.vectors(same, setting.judged)


def covariates(setting: Setting) -> Vectors | None:
    """Site, ancestry, age, sex, motion in the place of genomes."""
    confounds = confound_matrix(setting.table, setting.training, setting.workspace.cohort.own.confounds)
    if confounds is None:
        setting.notes.append("covariates: the participants table has none")
        return None
    return setting.refit(setting.with_blocks([confounds]))


def burden(setting: Setting) -> Vectors | None:
    """One number per window: how many alternate alleles a person has there."""
    dosages = _dosages(setting, "burden")
    return None if dosages is None else setting.refit(setting.with_blocks([_burden(block) for block in dosages]))


def kmer_counts(setting: Setting) -> Vectors | None:
    """Counts of words of four letters in the place of the DNA model."""
    return _read_by(setting, "kmer_counts", "kmer_counts")


def random_encoder(setting: Setting) -> Vectors | None:
    """A small GENERator with random weights in the place of the DNA model."""
    return _read_by(setting, "random_encoder", GENERATORS[0])


def held_out_site(setting: Setting) -> Vectors | None:
    """People of each site by a model that has learned from the other sites only; judged within sites."""
    sites = site_codes(setting)
    if sites is None:
        setting.notes.append(
            f"held_out_site: fewer than two sites with {FEWEST_OF_A_SITE} judged people and with people of other sites"
        )
        return None
    parts: list[tuple[IntArray, Vectors]] = []
    for site in np.unique(sites[setting.judged]):
        inside = np.flatnonzero(sites[setting.judged] == site)
        others = setting.training[sites[setting.training] != site]
        gene, brain = setting.refit(setting.subjects.frozen(), others)
        parts.append((inside, (gene[inside], brain[inside])))
    # Only people of one site are ever compared: models of different sites may differ in width.
    width = max(gene.shape[1] for _, (gene, _) in parts)
    both = np.zeros((2, len(setting.judged), width), np.float32)
    for people, pair in parts:
        for side, values in enumerate(pair):
            both[side, people, : values.shape[1]] = values
    return both[0], both[1]


CONTROLS: dict[str, Control] = {
    "one_genome": Control("everybody has the same genome", CHANCE, one_genome),
    "covariates": Control("site, ancestry, age, sex and motion instead of genomes", SIMPLER, covariates),
    "burden": Control("one number per window: how many alternate alleles", SIMPLER, burden),
    "kmer_counts": Control("counts of words of four letters instead of the DNA model", SIMPLER, kmer_counts),
    "random_encoder": Control("a DNA model with random weights", SIMPLER, random_encoder),
    "held_out_site": Control("each site by a model that never saw it, judged within the site", SIMPLER, held_out_site),
}
SHUFFLED = "shuffled_pairs"
"""Beside these: the pairs of training people dealt anew and everything refitted, several times."""
NAMES = (*CONTROLS, SHUFFLED)


def shuffled_fit(setting: Setting, number: int) -> Vectors:
    """Fit with the scans of the training people dealt to other families, number ``number``."""
    rng = np.random.default_rng((setting.experiment.seed, number))
    rows, family = setting.training, setting.subjects.family
    dealt = rows[deal(family[rows], np.zeros(len(rows), np.int64), 1, rng)[0]]
    subjects = setting.subjects.frozen()
    order = np.arange(len(family))
    order[rows] = dealt
    brain = Readings(
        {name: np.asarray(subjects.brain[name])[order] for name in subjects.candidates if JOINED not in name}
    )
    changed = replace(subjects, brain=brain)
    # Those who are judged keep their own scans: only what is learned is wrong.
    return setting.refit(changed, progress=False)


def site_codes(setting: Setting) -> IntArray | None:
    """Site of everybody; None where sites cannot be left out one by one."""
    if "site" not in setting.table.columns:
        return None
    codes = np.unique(setting.table["site"].astype(str), return_inverse=True)[1].astype(np.int64)
    counts = np.bincount(codes[setting.judged], minlength=codes.max() + 1)
    present = counts[counts > 0]
    return codes if len(present) > 1 and present.min() >= FEWEST_OF_A_SITE else None


def _burden(block: FloatArray) -> FloatArray:
    known = np.isfinite(block)
    return np.where(known, block, 0).sum(axis=1, keepdims=True).astype(np.float32)


def _dosages(setting: Setting, name: str) -> list[FloatArray] | None:
    if not isinstance(setting.experiment.genetics, GeneSide):
        setting.notes.append(f"{name}: the genomes are vectors, there are no genotypes")
        return None
    return setting.workspace.dosage_blocks(setting.experiment.genetics)


def _read_by(setting: Setting, name: str, encoder: str) -> Vectors | None:
    genetics = setting.experiment.genetics
    if not isinstance(genetics, GeneSide):
        setting.notes.append(f"{name}: the genomes are vectors, there are no sequences")
        return None
    if genetics.name == encoder and genetics.path is None:
        setting.notes.append(f"{name}: this is the encoder of the run")
        return None
    side = replace(
        genetics, name=encoder, path=None, revision=None, tuning="frozen", columns="embeddings",
        rare_below=genetics.frequencies,
    )  # fmt: skip
    pooling = setting.experiment.pooling
    plain = GenePooling() if pooling.trainable else replace(pooling, token="mean")  # what every encoder gives
    setting.workspace.embed(side, training=setting.training)
    blocks, item_width = setting.workspace.gene_blocks(side, plain, setting.training)
    return setting.refit(setting.with_blocks(blocks, item_width))
