"""A fitted alignment: the closed form, the trained towers, and which of them validation kept.

On disk it is tensors (safetensors) and one JSON file. It holds statistics and weights, never subjects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.alignment.losses.temperature import LogitScale
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings
from genebrain.alignment.towers.closed_form_heads import torch_heads
from genebrain.alignment.towers.projector import Projector
from genebrain.alignment.towers.standardiser import Standardiser
from genebrain.alignment.towers.towers import EncodedTower, ProjectorTower, ResidualTower
from genebrain.common.files import write_private
from genebrain.common.reading import AGAIN, contents_of, read_record
from genebrain.common.tensor_files import read_arrays, read_tensors, write_tensors
from genebrain.common.types import FloatArray, UserError
from genebrain.training.adapters import ParameterReport, count_parameters
from genebrain.training.tuned_encoder import tuned_encoders


@dataclass
class Towers:
    """Two trained towers with the scale they were trained with."""

    gene: nn.Module
    brain: nn.Module
    logit_scale: LogitScale

    def vectors(self, gene: Tensor, brain: Tensor, batch: int = 1024) -> tuple[FloatArray, FloatArray]:
        """Vectors of people, ``[people, columns]`` float32 for each side."""
        return _apply(self.gene, gene, batch), _apply(self.brain, brain, batch)

    def parameters(self) -> dict[str, ParameterReport]:
        """How many numbers training moves, for each tower and for each encoder inside one."""
        counted = {"gene tower": self.gene, "brain tower": self.brain}
        for side in tuple(counted):
            for encoder in tuned_encoders(counted[side]).values():
                counted[side.replace("tower", "encoder")] = encoder
        return {name: count_parameters(part) for name, part in counted.items()}

    def modules(self) -> nn.ModuleDict:
        """All weights under one roof, for saving."""
        return nn.ModuleDict({"gene": self.gene, "brain": self.brain, "logit_scale": self.logit_scale})


@dataclass
class AlignmentModel:
    """What ``fit`` leaves behind.

    Attributes
    ----------
    settings : AlignmentSettings
    closed_form : ClosedForm
        Always fitted: it is the start, or the comparison.
    towers : Towers or None
        Trained towers.
    kept : {"closed_form", "trained"}
        Which of the two is the model.
    approval : dict
        Validation numbers behind that decision.
    """

    settings: AlignmentSettings
    closed_form: ClosedForm
    towers: Towers | None = None
    kept: str = "closed_form"
    approval: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``closed_form.safetensors``, ``towers.safetensors`` and ``model.json``.

        An encoder that was trained goes into a folder of its own (``gene_encoder``, ``brain_encoder``): its adapters,
        or all its weights, with the fingerprint of its base.
        """
        state = self.closed_form.state()
        closed_meta = state.pop("json")
        write_tensors(folder / "closed_form.safetensors", state)
        meta: dict[str, Any] = {
            "settings": asdict(self.settings),
            "kept": self.kept,
            "approval": self.approval,
            "closed_form": closed_meta,
        }
        if self.towers is not None:
            modules = self.towers.modules()
            encoders = tuned_encoders(modules)
            for name, encoder in encoders.items():
                encoder.save(_encoder_folder(folder, name))
            apart = tuple(f"{name}." for name in encoders)
            state_dict = modules.state_dict()
            weights = {k: v for k, v in state_dict.items() if not k.startswith(apart)}
            write_tensors(folder / "towers.safetensors", weights)
        meta["trained"] = self.towers is not None
        write_private(folder / "model.json", json.dumps(meta, indent=1).encode())

    @classmethod
    def load(cls, folder: Path, build: TowerBuilder | None = None) -> AlignmentModel:
        """Read a model written by :meth:`save`.

        ``build`` makes its untrained towers; needed where a pooling or an encoder was trained.
        """
        path = folder / "model.json"
        if not path.exists():
            raise UserError(f"{folder} holds no fitted model (no model.json); run 'genebrain fit' first")
        meta = read_record(path)
        arrays = read_arrays(folder / "closed_form.safetensors")
        with contents_of(path):
            wanted = dict(meta["settings"])
            settings = AlignmentSettings(**{**wanted, "projector": ProjectorSettings(**wanted["projector"])})
            closed = ClosedForm.from_state({**arrays, "json": meta["closed_form"]})
            kept, approval, trained = meta["kept"], meta["approval"], meta["trained"]
        towers = None
        if trained:
            state = read_tensors(folder / "towers.safetensors")
            _refuse_other_sizes(path, settings.projector, state)
            towers = (build or untrained_towers)(settings, closed)
            modules = towers.modules()
            for name, encoder in tuned_encoders(modules).items():
                encoder.load(_encoder_folder(folder, name))
                state |= {f"{name}.{key}": value for key, value in encoder.state_dict().items()}
            with contents_of(folder / "towers.safetensors"):
                modules.load_state_dict(state)
        return cls(settings, closed, towers, kept, approval)


def _refuse_other_sizes(path: Path, projector: ProjectorSettings, state: Mapping[str, Tensor]) -> None:
    """Refuse widths that no stored tensor has, before memory is taken for them."""
    stored = {n for tensor in state.values() for n in tensor.shape}
    named = {"hidden": projector.hidden, "width": projector.width}
    wanted = named if projector.kind == "mlp" else {"width": projector.width}
    if wrong := [f"{name}={str(n)[:30]}" for name, n in wanted.items() if type(n) is not int or n not in stored]:
        raise UserError(f"{path} is damaged: no tensor of towers.safetensors has {' or '.join(wrong)}; {AGAIN}")


TowerBuilder = Callable[[AlignmentSettings, ClosedForm], Towers]


def untrained_towers(
    settings: AlignmentSettings,
    closed: ClosedForm,
    pooled: Any = None,
    encoders: Mapping[str, nn.Module] | None = None,
) -> Towers:
    """Towers without statistics of people, whose weights are loaded afterwards (or which are left at the start)."""
    gene, brain = closed.coefficients.shape[0], len(closed.brain_mean)
    return build_towers(settings, closed, torch.zeros(0, gene), torch.zeros(0, brain), pooled, encoders)


def build_towers(
    settings: AlignmentSettings,
    closed: ClosedForm,
    gene: Tensor,
    brain: Tensor,
    pooled: Any = None,
    encoders: Mapping[str, nn.Module] | None = None,
) -> Towers:
    """Make untrained towers.

    Parameters
    ----------
    gene, brain : Tensor
        Features of the training people, ``[people, features]``, for the standardisers; empty when weights are
        loaded afterwards.
    pooled : nn.Module, optional
        Trainable pooling in front of the gene projector, with its width as ``out_features``.
    encoders : mapping, optional
        Encoders in training by side (``gene``, ``brain``), each giving the features that the tower of that side
        reads.
    """
    towers = _towers_on_features(settings, closed, gene, brain, pooled)
    for side, encoder in (encoders or {}).items():
        setattr(towers, side, EncodedTower(encoder, getattr(towers, side)))
    return towers


def _towers_on_features(
    settings: AlignmentSettings, closed: ClosedForm, gene: Tensor, brain: Tensor, pooled: Any
) -> Towers:

    def body(features: Tensor) -> tuple[Standardiser, Projector]:
        standardiser = Standardiser(features.shape[1])
        return standardiser.fit_(features) if len(features) else standardiser, settings.projector.build(
            features.shape[1]
        )

    if settings.start == "random":
        gene_tower = (
            ProjectorTower(*body(gene))
            if pooled is None
            else ProjectorTower(pooled, settings.projector.build(pooled.out_features))
        )
        return Towers(gene_tower, ProjectorTower(*body(brain)), LogitScale())
    heads = torch_heads(closed)
    full = settings.train == "full"
    return Towers(
        ResidualTower(heads.gene_head, heads.gene_score, *body(gene), heads.latent, train_start=full),
        ResidualTower(heads.brain_head, heads.brain_score, *body(brain), heads.latent, train_start=full),
        # A calibrated log-likelihood ratio needs no temperature: its scale starts at one.
        LogitScale(init=0.0) if settings.score == "llr" else LogitScale(),
    )


def _encoder_folder(folder: Path, name: str) -> Path:
    return folder / f"{name.split('.')[0]}_encoder"


def _apply(tower: nn.Module, features: Tensor, batch: int) -> FloatArray:
    tower.eval()
    if tuned_encoders(tower):
        # What people share is encoded once for all of them; the encoder cuts its work up by itself.
        batch = max(1, len(features))
        if torch.cuda.is_available():
            tower.cuda()
    device = next(tower.parameters()).device
    with torch.inference_mode():
        parts = [tower(features[i : i + batch].to(device)).float().cpu() for i in range(0, len(features), batch)]
    out: FloatArray = torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)
    return out
