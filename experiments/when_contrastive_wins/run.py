"""Where does contrastive training beat the closed form? Methods x mechanisms x people, on known-answer cohorts.

    python experiments/when_contrastive_wins/run.py --names smoke switching --people 250 --seeds 91 92
    python experiments/when_contrastive_wins/map.py

A row of ``results.tsv`` per cohort, number of people to learn from and method; rows that are there are not computed
again. All methods of a cohort are judged on the same test people. Gains and their standard errors are over people,
against the closed form of the default recipe on the same cohort, which is a method itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
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
from genebrain.evaluation.rank_metrics import recalls
from genebrain.evaluation.ranks import rank_counts
from genebrain.runs.run import Run
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.tiers import TIERS
from genebrain.studies.baselines import TEXTBOOK, TEXTBOOK_TRAINER
from genebrain.studies.known_answers import learner_pair, oracle_vectors

HERE = Path(__file__).parent
RESULTS = HERE / "results.tsv"
GALLERY, TEST = 64, 400
SHAPE = {"n_windows": 12, "window_bp": 6000, "n_frames": 200, "n_parcels": 40, "n_genomewide": 200}
KEY = ["mechanism", "seed", "people", "method"]
CLOSED = "closed form"

load_plugins([str(HERE / "networks.py")])
NONE, RESIDUAL = AlignmentSettings(train="none"), AlignmentSettings()
CONNECTOME, DOSAGES = ConnectomeSide(), GeneSide(columns="dosages")
NETWORKS, FILTERS = (EncoderSide(name, components=(16, 32, 64, "all"), batch=128) for name in ("networks", "filters"))
TUNED = TrainerSettings(max_epochs=30, patience=8, batch_size=256, encoder_learning_rate=1e-3)
PRETRAINER = PretrainerSettings(learning_rate=3e-2, weight_decay=0, passes=1, validation_passes=1)
PRETRAINERS = {"networks": (PRETRAINER, 600), "filters": (replace(PRETRAINER, batch_size=200), 150)}
"""Settings and steps by encoder."""
SURE = 4.0
PATIENT = replace(TEXTBOOK_TRAINER, patience=60)
METHODS: dict[str, tuple[BrainSide, AlignmentSettings, TrainerSettings]] = {
    CLOSED: (CONNECTOME, NONE, TrainerSettings()),
    "textbook InfoNCE": (CONNECTOME, TEXTBOOK, PATIENT),
    "textbook SigLIP": (CONNECTOME, replace(TEXTBOOK, loss="siglip"), PATIENT),
    "residual": (CONNECTOME, RESIDUAL, TrainerSettings()),
    "networks, random": (NETWORKS, NONE, TrainerSettings()),
    "networks, 8 clusters": (NETWORKS, NONE, TrainerSettings()),
    "networks, 16 clusters": (NETWORKS, NONE, TrainerSettings()),
    "networks, contrast": (NETWORKS, NONE, TrainerSettings()),
    "networks, contrast, tuned": (replace(NETWORKS, tuning="full"), RESIDUAL, TUNED),
    "filters, random": (FILTERS, NONE, TrainerSettings()),
    "filters, 32 random": (FILTERS, NONE, TrainerSettings()),
    "filters, contrast": (FILTERS, NONE, TrainerSettings()),
    "brainlm, tuned": (EncoderSide("brainlm", size="tiny", tuning="full"), TEXTBOOK, TUNED),
}
PRETRAINED = "contrast"
"""Part of the name of methods whose encoder is first trained on the scans of the training people, without genes."""


def plain(method: str) -> bool:
    """Whether nothing is trained by gradient."""
    return METHODS[method][1].train == "none" and PRETRAINED not in method


def hits(gene: Any, brain: Any) -> Any:
    """Expected recall@1 of each person in galleries of 64, mean of both directions."""
    who = np.arange(len(gene))
    counts = (rank_counts(gene, brain, who), rank_counts(brain, gene, who))
    return np.mean([recalls(c, min(GALLERY, len(who)), [1])[0] for c in counts], axis=0)


def pretrained(
    encoder: str, workspace: Workspace, path: Path, folder: Path, dividing: SplitSettings, seed: int
) -> Path:
    """The encoder after contrast within scans of the training people, for about as many steps at any n."""
    people = round(len(workspace.cohort) * (1 - dividing.test - dividing.validation))
    trainer, steps = PRETRAINERS[encoder]
    trainer = replace(trainer, batch_size=min(trainer.batch_size, people))
    epochs = -(-steps // (people // trainer.batch_size))
    run = tasks.pretrain(
        path, run=folder / f"{encoder}-pretraining", seed=seed, brain=EncoderSide(encoder), split=dividing,
        workspace=workspace, trainer=replace(trainer, max_epochs=epochs, patience=epochs), progress=False,
    )  # fmt: skip
    return run / "encoder"


def many_filters(n_parcels: int, filters: int, seed: int, folder: Path) -> Path:
    """A larger bank with random filters: no gradient."""
    small = build_encoder(EncoderSettings("filters"), n_parcels=n_parcels)
    size = replace(small.size, config=replace(small.size.config, filters=filters))
    bank = random_module("filters", size, seed)
    return save_encoder(PlainWindowEncoder("filters", bank, size, f"{filters} random"), folder / f"{filters}-random")


def clustered(path: Path, ids: Any, clusters: int, seed: int, folder: Path) -> Path:
    """The encoder with networks from spectral clustering of the mean correlations of training people: no gradient."""
    scans = pd.read_csv(path.parent / "scans.tsv", sep="\t").query("participant_id in @ids")["path"]
    found = np.mean([np.corrcoef(np.load(path.parent / one).T) for one in scans], axis=0)
    model = SpectralClustering(clusters, affinity="precomputed", random_state=seed, assign_labels="cluster_qr")
    labels = model.fit_predict(np.abs(found))
    encoder = build_encoder(EncoderSettings("networks"), n_parcels=len(found))
    member = torch.full_like(encoder.encoder.membership, -SURE)
    member[torch.from_numpy(labels).long(), torch.arange(len(found))] = SURE
    # Networks without a parcel share what is left over of all parcels: constant to the closed form, nearly.
    encoder.encoder.membership.data = member
    return save_encoder(encoder, folder / f"{clusters}-clusters")


def of_cohort(name: str, seed: int, people: int, methods: list[str], test: int, folder: Path) -> list[dict[str, Any]]:
    """Rows of one cohort; the closed form is fitted in any case, since the others are compared with it."""
    how = {"tier": name} if name in TIERS else {"mechanism": name}
    path = simulate_cohort(folder / "cohort", n_subjects=people + test, seed=seed, **how, **SHAPE)
    workspace = Workspace(path, progress=False)
    workspace.ingest(CONNECTOME)
    dividing = SplitSettings(test=test / (people + test))
    split = dividing.make(workspace.cohort, seed)
    facts: dict[str, Any] = {"mechanism": name, "seed": seed, "people": people}
    facts["n_test"] = len(split.test)
    for known, pair in (
        ("ceiling", oracle_vectors(workspace.cohort, split.test)),
        ("learner", learner_pair(workspace.cohort, split.training, split.test)),
    ):
        facts[known] = None if pair is None else hits(*pair).mean()
    rows: list[dict[str, Any]] = []
    rivals: dict[str, Any] = {}
    for method in sorted({CLOSED, *methods}, key=lambda one: (not plain(one), list(METHODS).index(one))):
        brain, alignment, trainer = METHODS[method]
        start, run = time.process_time(), folder / method.replace(" ", "_")
        if PRETRAINED in method:
            encoder = method.split(",")[0]
            brain = replace(brain, path=str(pretrained(encoder, workspace, path, folder, dividing, seed)))
        elif method == "filters, 32 random":
            brain = replace(brain, path=str(many_filters(SHAPE["n_parcels"], 32, seed, folder)))
        elif method.endswith("clusters"):
            ids = set(workspace.cohort.table["participant_id"].iloc[split.training])
            brain = replace(brain, path=str(clustered(path, ids, int(method.split()[1]), seed, folder)))
        tasks.fit(
            path, run=run, seed=seed, genetics=DOSAGES, brain=brain, alignment=alignment, trainer=trainer,
            split=dividing, workspace=workspace, progress=False,
        )  # fmt: skip
        done = Run(run)
        vectors = done.vectors()
        found = hits(vectors.genome, vectors.brain)
        if plain(method):
            rivals[method] = found
        rival = max(rivals, key=lambda one: rivals[one].mean())
        gain, margin = found - rivals[CLOSED], found - rivals[rival]
        error = [one.std(ddof=1) / np.sqrt(len(one)) for one in (found, gain, margin)]
        rows.append(
            {**facts, "method": method, "recall@1": found.mean(), "error": error[0], "gain": gain.mean(),
             "gain_error": error[1], "rival": rival, "margin": margin.mean(),
             "margin_error": error[2], "kept": done.fitted.kept, "brain": done.fitted.brain_name,
             "cpu_seconds": round(time.process_time() - start, 1)}
        )  # fmt: skip
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return [row for row in rows if row["method"] in methods]


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="*", default=[])
    parser.add_argument("--people", nargs="+", type=int, default=[250])
    parser.add_argument("--seeds", nargs="+", type=int, default=[91, 92])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--test", type=int, default=TEST, help="test people")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    for people, seed, name in product(asked.people, asked.seeds, asked.names):
        there = pd.read_csv(asked.out, sep="\t") if asked.out.exists() else pd.DataFrame(columns=KEY)
        have = set(there[KEY].itertuples(index=False, name=None))
        missing = [method for method in asked.methods if (name, seed, people, method) not in have]
        if not missing:
            continue
        folder = Path(tempfile.mkdtemp(prefix="when-contrastive-wins-"))
        try:
            rows = of_cohort(name, seed, people, missing, asked.test, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        table = pd.concat([there, pd.DataFrame(rows)] if len(there) else [pd.DataFrame(rows)])
        table.sort_values(KEY).to_csv(asked.out, sep="\t", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
