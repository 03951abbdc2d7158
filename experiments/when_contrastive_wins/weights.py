"""Weights that scan encoders start from: learned by contrast within scans, drawn, or from clusters of parcels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from setting import CONNECTOME, Setting
from sklearn.cluster import SpectralClustering

from genebrain import tasks
from genebrain.brain.encoders.build import build_encoder, random_module
from genebrain.brain.encoders.files import save_encoder
from genebrain.brain.encoders.plain import PlainWindowEncoder
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.sides.scans import EncoderSide

PRETRAINER = PretrainerSettings(learning_rate=3e-2, weight_decay=0, passes=1, validation_passes=1)
PRETRAINERS = {"networks": (PRETRAINER, 600), "filters": (replace(PRETRAINER, batch_size=200), 150)}
"""Settings and steps by encoder."""
SURE = 4.0


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
    scans = CONNECTOME.scans(setting.workspace.cohort, setting.workspace.store)
    small = build_encoder(EncoderSettings(encoder), n_parcels=scans.shape[-1])
    size = replace(small.size, config=replace(small.size.config, filters=filters))
    bank = random_module(encoder, size, setting.seed)
    return save_encoder(PlainWindowEncoder(encoder, bank, size, f"{filters} random"), setting.new_folder() / "encoder")


def clusters(number: int) -> Callable[[Setting, str], Path]:
    """Networks from spectral clustering of the mean correlations of training people: no gradient."""

    def made(setting: Setting, encoder: str) -> Path:
        ids = set(setting.workspace.cohort.table["participant_id"].iloc[setting.base.split.training])  # noqa: F841
        scans = pd.read_csv(setting.path.parent / "scans.tsv", sep="\t").query("participant_id in @ids")["path"]
        found = np.mean([np.corrcoef(np.load(setting.path.parent / one).T) for one in scans], axis=0)
        kind = {"affinity": "precomputed", "assign_labels": "cluster_qr"}
        labels = SpectralClustering(number, random_state=setting.seed, **kind).fit_predict(np.abs(found))
        built = build_encoder(EncoderSettings(encoder), n_parcels=len(found))
        member = torch.full_like(built.encoder.membership, -SURE)
        member[torch.from_numpy(labels).long(), torch.arange(len(found))] = SURE
        # Networks without a parcel share what is left over of all parcels: constant to the closed form, nearly.
        built.encoder.membership.data = member
        return save_encoder(built, setting.new_folder() / "encoder")

    return made
