"""Methods of the study: each is given a cohort with the default closed form, and answers with vectors of test people."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optimum
import pandas as pd
import torch
import unpaired
import views
from names import CLOSED, UNPAIRED
from sklearn.cluster import SpectralClustering

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.brain.encoders.build import build_encoder, random_module
from genebrain.brain.encoders.files import save_encoder
from genebrain.brain.encoders.plain import PlainWindowEncoder
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.registry import load_plugins
from genebrain.runs.recipe import fit_alignment, fit_recipe
from genebrain.runs.run import Run
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.scans import EncoderSide
from genebrain.sides.workspace import Workspace
from genebrain.studies.baselines import TEXTBOOK, TEXTBOOK_TRAINER

load_plugins([str(Path(__file__).parent / "networks.py")])
NONE, RESIDUAL = AlignmentSettings(train="none"), AlignmentSettings()
CONNECTOME, DOSAGES = ConnectomeSide(), GeneSide(columns="dosages")
EMBEDDINGS = GeneSide(columns="embeddings", delta=True)
NETWORKS, FILTERS = (EncoderSide(name, components=(16, 32, 64, "all"), batch=128) for name in ("networks", "filters"))
BRAINLM = EncoderSide("brainlm", size="tiny", tuning="full")
TUNED = TrainerSettings(max_epochs=30, patience=8, batch_size=256, encoder_learning_rate=1e-3)
ADAPTED = replace(TUNED, encoder_learning_rate=1e-3)
PATIENT = replace(TEXTBOOK_TRAINER, patience=60)
SIGLIP = replace(TEXTBOOK, loss="siglip")
PRETRAINER = PretrainerSettings(learning_rate=3e-2, weight_decay=0, passes=1, validation_passes=1)
PRETRAINERS = {"networks": (PRETRAINER, 600), "filters": (replace(PRETRAINER, batch_size=200), 150)}
"""Settings and steps by encoder."""
SURE = 4.0
MIXUP, TAUGHT = 1.0, 1.0
"""Both parameters of the Beta distribution of the share; weight of unpaired people."""


@dataclass(frozen=True)
class Setting:
    """A cohort whose default closed form is fitted."""

    path: Path
    workspace: Workspace
    dividing: SplitSettings
    seed: int
    base: Run
    folder: Path
    alone: tuple[list[str], list[str]] | None = None

    @classmethod
    def of(cls, path: Path, dividing: SplitSettings, seed: int, folder: Path, alone: Any = None) -> Setting:
        """Fit the closed form."""
        workspace = Workspace(path, progress=False)
        setting = cls(path, workspace, dividing, seed, None, folder, alone)  # type: ignore[arg-type]
        return replace(setting, base=setting.fit(CONNECTOME, NONE))

    def fit(
        self, brain: Any, alignment: AlignmentSettings, trainer: TrainerSettings | None = None, genes: Any = DOSAGES
    ) -> Run:
        """A run of the package."""
        return Run(
            tasks.fit(
                self.path, run=self.new_folder() / "run", seed=self.seed, genetics=genes, brain=brain,
                alignment=alignment, trainer=trainer, split=self.dividing, workspace=self.workspace, progress=False,
            )  # fmt: skip
        )

    def new_folder(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    @cached_property
    def on_unpaired(self) -> Run:
        """The closed form whose scan features are fitted on scans without genomes too."""
        return self.fit(replace(CONNECTOME, unpaired=True), NONE)


@dataclass(frozen=True)
class Answer:
    """Vectors of the test people, and what was kept and chosen."""

    genome: Any
    brain: Any
    kept: str
    features: str

    @classmethod
    def of(cls, run: Run) -> Answer:
        """Of a run of the package."""
        vectors = run.vectors()
        return cls(vectors.genome, vectors.brain, run.fitted.kept, run.fitted.brain_name)


Method = Callable[[Setting], Answer]


def trained(alignment: AlignmentSettings, trainer: TrainerSettings, people: Any = lambda setting: setting.base.subjects) -> Method:  # fmt: skip
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


def encoded(brain: Any, alignment: AlignmentSettings = NONE, trainer: TrainerSettings | None = None, weights: Callable[[Setting, str], Path] | None = None) -> Method:  # fmt: skip
    """A scan encoder in the place of the connectome; ``weights`` makes those that it starts from."""

    def answer(setting: Setting) -> Answer:
        side = brain if weights is None else replace(brain, path=str(weights(setting, brain.encoder)))
        return Answer.of(setting.fit(side, alignment, trainer))

    return answer


def contrast(setting: Setting, encoder: str) -> Path:
    """The encoder after contrast within scans of the training people, without genes, for as many steps at any n."""
    people = len(setting.base.split.training)
    trainer, steps = PRETRAINERS[encoder]
    trainer = replace(trainer, batch_size=min(trainer.batch_size, people))
    epochs = -(-steps // (people // trainer.batch_size))
    run = tasks.pretrain(
        setting.path, run=setting.folder / f"{encoder}-pretraining", seed=setting.seed, brain=EncoderSide(encoder),
        split=setting.dividing, workspace=setting.workspace,
        trainer=replace(trainer, max_epochs=epochs, patience=epochs), progress=False,
    )  # fmt: skip
    return run / "encoder"


def many_filters(setting: Setting, encoder: str, filters: int = 32) -> Path:
    """A larger bank with random filters: no gradient."""
    small = build_encoder(EncoderSettings(encoder), n_parcels=CONNECTOME.scans(setting.workspace.cohort, setting.workspace.store).shape[-1])
    size = replace(small.size, config=replace(small.size.config, filters=filters))
    bank = random_module(encoder, size, setting.seed)
    return save_encoder(PlainWindowEncoder(encoder, bank, size, f"{filters} random"), setting.new_folder() / "encoder")


def clusters(number: int) -> Callable[[Setting, str], Path]:
    """Networks from spectral clustering of the mean correlations of training people: no gradient."""

    def made(setting: Setting, encoder: str) -> Path:
        ids = set(setting.workspace.cohort.table["participant_id"].iloc[setting.base.split.training])  # noqa: F841
        scans = pd.read_csv(setting.path.parent / "scans.tsv", sep="\t").query("participant_id in @ids")["path"]
        found = np.mean([np.corrcoef(np.load(setting.path.parent / one).T) for one in scans], axis=0)
        model = SpectralClustering(number, affinity="precomputed", random_state=setting.seed, assign_labels="cluster_qr")
        labels = model.fit_predict(np.abs(found))
        built = build_encoder(EncoderSettings(encoder), n_parcels=len(found))
        member = torch.full_like(built.encoder.membership, -SURE)
        member[torch.from_numpy(labels).long(), torch.arange(len(found))] = SURE
        # Networks without a parcel share what is left over of all parcels: constant to the closed form, nearly.
        built.encoder.membership.data = member
        return save_encoder(built, setting.new_folder() / "encoder")

    return made


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
        setting.fit(CONNECTOME, RESIDUAL, ADAPTED, replace(EMBEDDINGS, tuning="lora"))
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
    "BrainLM, trained": encoded(BRAINLM, TEXTBOOK, replace(PATIENT, max_epochs=40, patience=10, batch_size=256, encoder_learning_rate=1e-3)),  # fmt: skip
}


def suits(method: str, mechanism: str) -> bool:
    """Whether a method can be run on the cohorts of a mechanism: what needs unpaired people, where there are some."""
    return "unpaired" not in method or mechanism.endswith(UNPAIRED)
