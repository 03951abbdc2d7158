"""Methods of the study: each answers with vectors of the test people of a cohort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optimum
import torch
import unpaired
import views
from names import CLOSED, UNPAIRED
from setting import CONNECTOME, DOSAGES, NONE, Answer, Setting
from weights import clusters, contrast, many_filters

from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.common.registry import load_plugins
from genebrain.runs.recipe import fit_alignment, fit_recipe
from genebrain.sides.genome import GeneSide
from genebrain.sides.scans import EncoderSide
from genebrain.studies.baselines import TEXTBOOK, TEXTBOOK_TRAINER

load_plugins([str(Path(__file__).parent / "networks.py")])
RESIDUAL, SIGLIP = AlignmentSettings(), replace(TEXTBOOK, loss="siglip")
EMBEDDINGS = GeneSide(columns="embeddings", delta=True)
NETWORKS, FILTERS = (EncoderSide(name, components=(16, 32, 64, "all"), batch=128) for name in ("networks", "filters"))
BRAINLM = EncoderSide("brainlm", size="tiny", tuning="full")
PATIENT = replace(TEXTBOOK_TRAINER, patience=60)
TUNED = TrainerSettings(max_epochs=30, patience=8, batch_size=256, encoder_learning_rate=1e-3)
SCRATCH = replace(PATIENT, max_epochs=40, patience=10, batch_size=256, encoder_learning_rate=1e-3)
MIXUP, TAUGHT = 1.0, 1.0
"""Both parameters of the Beta distribution of the share; weight of unpaired people."""
Method = Callable[[Setting], Answer]


def everybody(setting: Setting) -> Any:
    """People as they are."""
    return setting.base.subjects


def trained(alignment: AlignmentSettings, trainer: TrainerSettings, people: Any = everybody) -> Method:
    """Contrastive training on the features of the default closed form, or from it on."""

    def answer(setting: Setting) -> Answer:
        base, subjects = setting.base, people(setting)
        model = fit_alignment(
            subjects, base.split.train, base.split.validation, alignment, trainer, setting.new_folder(),
            seed=setting.seed, progress=False, closed=base.fitted.closed_form,
        )  # fmt: skip
        return Answer(*model.vectors(base.subjects, base.split.test), model.kept, model.brain_name)

    return answer


def mixed(setting: Setting) -> Any:
    """People whose training pairs are mixtures."""
    base = setting.base
    return views.MixedSubjects.of(base.subjects, base.split.validation, MIXUP, setting.seed)


def windows(setting: Setting) -> Any:
    """People whose training rows are windows of scans."""
    base, folder = setting.base, setting.new_folder()
    return views.with_windows(
        base.subjects, setting.workspace, CONNECTOME, setting.path, folder, base.split.training, base.fitted.brain_name
    )


def spectral(rhos: tuple[float, ...]) -> Method:
    """The optimum of a contrastive loss over linear maps, on the features of the default closed form."""

    def answer(setting: Setting) -> Answer:
        base = setting.base
        closed, split = base.fitted.closed_form, base.split
        gene, brain = base.subjects.gene_features(closed).numpy(), base.subjects.brain_features(closed).numpy()
        parts = [(gene[rows], brain[rows]) for rows in (split.train, split.validation, split.test)]
        genome, scan, chosen = optimum.optimum(*parts, rhos)
        print(chosen)
        return Answer(genome, scan, "trained" if rhos else "closed_form", base.fitted.brain_name)

    return answer


def taught(setting: Setting) -> Answer:
    """Projectors that learn from pairs and, towards the closed form, from people with one side alone."""
    run, train = setting.on_unpaired, setting.base.split.train
    subjects, closed = run.subjects, run.fitted.closed_form
    teacher = fit_recipe(subjects, train, NONE, setting.seed, like=closed, progress=False)
    blocks, scans = unpaired.features_alone(
        setting.path.parent / "cohort.yaml", setting.workspace, replace(CONNECTOME, unpaired=True), DOSAGES,
        run.fitted.brain_name, run.split.training, setting.alone, setting.new_folder(),  # type: ignore[arg-type]
    )  # fmt: skip
    known = teacher.gene_vectors(teacher.gene_columns(blocks)), teacher.brain_vectors(scans)
    alone = torch.from_numpy(closed.gene_columns(blocks).astype(np.float32)), torch.from_numpy(scans)
    towers = subjects.start_towers(TEXTBOOK, closed, train)
    towers.learning_rate, towers.weight_decay = PATIENT.learning_rate, PATIENT.weight_decay
    pairs = subjects.pairs(closed)
    unpaired.taught(
        towers, pairs[train.tolist()], alone, tuple(map(torch.from_numpy, known)),
        pairs[run.split.validation.tolist()], TAUGHT, setting.seed,
    )  # fmt: skip
    test = pairs[run.split.test.tolist()]
    return Answer(*towers.vectors(test["gene"], test["brain"]), "trained", run.fitted.brain_name)


def encoded(
    brain: Any, alignment: AlignmentSettings = NONE, trainer: TrainerSettings | None = None, weights: Any = None
) -> Method:
    """A scan encoder in the place of the connectome; ``weights`` makes those that it starts from."""

    def answer(setting: Setting) -> Answer:
        side = brain if weights is None else replace(brain, path=str(weights(setting, brain.encoder)))
        return Answer.of(setting.fit(side, alignment, trainer))

    return answer


METHODS: dict[str, Method] = {
    CLOSED: lambda setting: Answer.of(setting.base),
    "closed form, unpaired scans": lambda setting: Answer.of(setting.on_unpaired),
    "spectral optimum": spectral(()),
    "InfoNCE optimum": spectral(optimum.RHOS),
    "textbook InfoNCE": trained(TEXTBOOK, PATIENT),
    "textbook SigLIP": trained(SIGLIP, PATIENT),
    "textbook, mixup": trained(TEXTBOOK, PATIENT, mixed),
    "textbook, windows": trained(TEXTBOOK, PATIENT, windows),
    "textbook, unpaired": taught,
    "residual": trained(RESIDUAL, TrainerSettings()),
    "residual, mixup": trained(RESIDUAL, TrainerSettings(), mixed),
    "embeddings": lambda setting: Answer.of(setting.fit(CONNECTOME, NONE, genes=EMBEDDINGS)),
    "embeddings, all alleles": lambda setting: Answer.of(
        setting.fit(CONNECTOME, NONE, genes=replace(EMBEDDINGS, rare_below=0))
    ),
    "embeddings, adapters": lambda setting: Answer.of(
        setting.fit(CONNECTOME, RESIDUAL, TUNED, replace(EMBEDDINGS, tuning="lora"))
    ),
    "networks, random": encoded(NETWORKS),
    "networks, 8 clusters": encoded(NETWORKS, weights=clusters(8)),
    "networks, 16 clusters": encoded(NETWORKS, weights=clusters(16)),
    "networks, contrast": encoded(NETWORKS, weights=contrast),
    "networks, contrast, tuned": encoded(replace(NETWORKS, tuning="full"), RESIDUAL, TUNED, contrast),
    "filters, random": encoded(FILTERS),
    "filters, 32 random": encoded(FILTERS, weights=many_filters),
    "filters, contrast": encoded(FILTERS, weights=contrast),
    "filters, contrast, tuned": encoded(replace(FILTERS, tuning="full"), RESIDUAL, TUNED, contrast),
    "BrainLM, trained": encoded(BRAINLM, TEXTBOOK, SCRATCH),
}


def suits(method: str, mechanism: str) -> bool:
    """Whether a method can be run on the cohorts of a mechanism: what needs unpaired people, where there are some."""
    return "unpaired" not in method or mechanism.endswith(UNPAIRED)
