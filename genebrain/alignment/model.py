"""A fitted alignment: the closed form, the trained towers, and which of them validation kept.

On disk it is tensors (safetensors) and one JSON file. It holds statistics and weights, never subjects.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genebrain.alignment.closed_form import ClosedForm
from genebrain.alignment.projector import Projector
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings
from genebrain.alignment.standardiser import Standardiser
from genebrain.alignment.temperature import LogitScale
from genebrain.alignment.torch_heads import torch_heads
from genebrain.alignment.towers import PooledChunks, ProjectorTower, ResidualTower
from genebrain.types import FloatArray, UserError


@dataclass
class Towers:
    """Two trained towers with the scale they were trained with."""

    gene: nn.Module
    brain: nn.Module
    logit_scale: LogitScale

    def vectors(self, gene: Tensor, brain: Tensor, batch: int = 1024) -> tuple[FloatArray, FloatArray]:
        """Vectors of people, ``[people, columns]`` float32 for each side."""
        return _apply(self.gene, gene, batch), _apply(self.brain, brain, batch)

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
        """Write ``closed_form.safetensors``, ``towers.safetensors`` and ``model.json``."""
        state = self.closed_form.state()
        closed_meta = state.pop("json")
        arrays = {name: np.ascontiguousarray(values) for name, values in state.items()}
        _write(folder / "closed_form.safetensors", lambda path: save_arrays(arrays, path))
        meta: dict[str, Any] = {
            "settings": asdict(self.settings),
            "kept": self.kept,
            "approval": self.approval,
            "closed_form": closed_meta,
        }
        if self.towers is not None:
            weights = {k: v.contiguous() for k, v in self.towers.modules().state_dict().items()}
            _write(folder / "towers.safetensors", lambda path: save_file(weights, path))
        meta["trained"] = self.towers is not None
        text = json.dumps(meta, indent=1)
        _write(folder / "model.json", lambda path: path.write_text(text))

    @classmethod
    def load(cls, folder: Path, pooled: PooledChunks | None = None) -> AlignmentModel:
        """Read a model written by :meth:`save`; ``pooled`` is needed where a pooling was trained."""
        path = folder / "model.json"
        if not path.exists():
            raise UserError(f"{folder} holds no fitted model (no model.json); run 'genebrain fit' first")
        meta = json.loads(path.read_text())
        wanted = dict(meta["settings"])
        settings = AlignmentSettings(**{**wanted, "projector": ProjectorSettings(**wanted["projector"])})
        closed = ClosedForm.from_state({**load_arrays(folder / "closed_form.safetensors"), "json": meta["closed_form"]})
        towers = None
        if meta["trained"]:
            state = load_file(folder / "towers.safetensors")
            gene, brain = closed.coefficients.shape[0], len(closed.brain_mean)
            towers = build_towers(settings, closed, torch.zeros(0, gene), torch.zeros(0, brain), pooled)
            towers.modules().load_state_dict(state)
        return cls(settings, closed, towers, meta["kept"], meta["approval"])


def build_towers(
    settings: AlignmentSettings,
    closed: ClosedForm,
    gene: Tensor,
    brain: Tensor,
    pooled: PooledChunks | None = None,
) -> Towers:
    """Make untrained towers.

    Parameters
    ----------
    gene, brain : Tensor
        Features of the training people, ``[people, features]``, for the standardisers; empty when weights are
        loaded afterwards.
    pooled : PooledChunks, optional
        Trainable pooling in front of the gene projector.
    """

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


def _apply(tower: nn.Module, features: Tensor, batch: int) -> FloatArray:
    tower.eval()
    device = next(tower.parameters()).device
    with torch.inference_mode():
        parts = [tower(features[i : i + batch].to(device)).float().cpu() for i in range(0, len(features), batch)]
    out: FloatArray = torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)
    return out


def _write(path: Path, write: Any) -> None:
    temporary = path.with_name(f"{path.name}.partial")
    try:
        write(temporary)
        temporary.chmod(0o600)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}; what was computed before is kept") from error
