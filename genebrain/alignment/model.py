"""A fitted alignment: the closed form, the trained towers, and which of them validation kept.

On disk it is tensors (safetensors) and one JSON file. It holds statistics and weights, never subjects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from genebrain.alignment.closed_form.column_sets import Blocks, rows_of
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
from genebrain.common.types import FloatArray, IntArray, UserError, built
from genebrain.training.adapters import ParameterReport
from genebrain.training.tuned_encoder import tuned_encoders

if TYPE_CHECKING:  # Lightning takes seconds to import, and a closed form needs none of it
    from genebrain.alignment.module import AlignmentModule


class People(Protocol):
    """What a model reads of people, row by row (:class:`~genebrain.sides.people.Subjects`)."""

    @property
    def blocks(self) -> Blocks:
        """Pooled genomes by window."""

    @property
    def brain(self) -> Mapping[str, FloatArray]:
        """Features of the scans by candidate, ``[people, features]``."""

    def gene_input(self, closed: ClosedForm) -> Tensor:
        """What the gene tower reads."""

    def brain_input(self, closed: ClosedForm) -> Tensor:
        """What the brain tower reads."""


@dataclass
class AlignmentModel:
    """What ``fit`` leaves behind.

    Attributes
    ----------
    settings : AlignmentSettings
    closed_form : ClosedForm
        Always fitted: it is the start, or the comparison.
    towers : AlignmentModule or None
        Trained towers.
    kept : {"closed_form", "trained"}
        Which of the two is the model.
    approval : dict
        Validation numbers behind that decision.
    history : list of dict
        One row per epoch; in a file of its own (``history.csv``).
    parameters : dict
        Trained and all parameters by tower and encoder, also where validation did not approve of the training.
    """

    settings: AlignmentSettings
    closed_form: ClosedForm
    towers: AlignmentModule | None = None
    kept: str = "closed_form"
    approval: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    parameters: dict[str, ParameterReport] = field(default_factory=dict)

    @property
    def brain_name(self) -> str:
        """The candidate of scan features that was chosen."""
        return str(self.closed_form.chosen["brain"])

    def columns(self, people: People) -> FloatArray:
        """Standardised gene columns of everybody, ``[people, columns]``."""
        return self.closed_form.gene_columns(people.blocks)

    def vectors(self, people: People, rows: IntArray, arm: str | None = None) -> tuple[FloatArray, FloatArray]:
        """Score vectors of both sides for these rows; ``arm`` is the kept one unless named."""
        closed = self.closed_form
        if (arm or self.kept) == "closed_form":
            columns = closed.gene_columns(rows_of(people.blocks, rows))
            return closed.gene_vectors(columns), closed.brain_vectors(people.brain[self.brain_name][rows])
        if self.towers is None:
            raise ValueError("this model has no trained towers")
        picked = torch.from_numpy(rows)
        return self.towers.vectors(people.gene_input(closed)[picked], people.brain_input(closed)[picked])

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
            modules = _stored_parts(self.towers)
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
            settings = built(AlignmentSettings, {**wanted, "projector": built(ProjectorSettings, wanted["projector"])})
            closed = ClosedForm.from_state({**arrays, "json": meta["closed_form"]})
            kept, approval, trained = meta["kept"], meta["approval"], meta["trained"]
        towers = None
        if trained:
            state = read_tensors(folder / "towers.safetensors")
            _refuse_other_sizes(path, settings.projector, state)
            towers = (build or untrained_towers)(settings, closed)
            modules = _stored_parts(towers)
            for name, encoder in tuned_encoders(modules).items():
                encoder.load(_encoder_folder(folder, name))
                state |= {f"{name}.{key}": value for key, value in encoder.state_dict().items()}
            with contents_of(folder / "towers.safetensors"):
                modules.load_state_dict(state)
        return cls(settings, closed, towers, kept, approval)


def _stored_parts(towers: AlignmentModule) -> nn.ModuleDict:
    """Weights by the names that they have on disk."""
    return nn.ModuleDict({"gene": towers.gene_tower, "brain": towers.brain_tower, "logit_scale": towers.logit_scale})


def _refuse_other_sizes(path: Path, projector: ProjectorSettings, state: Mapping[str, Tensor]) -> None:
    """Refuse widths that no stored tensor has, before memory is taken for them."""
    stored = {n for tensor in state.values() for n in tensor.shape}
    known = {"mlp": ("hidden", "width"), "linear": ("width",)}.get(projector.kind, ())
    wanted = {name: getattr(projector, name) for name in known}
    if wrong := [f"{name}={str(n)[:30]}" for name, n in wanted.items() if type(n) is not int or n not in stored]:
        raise UserError(f"{path} is damaged: no tensor of towers.safetensors has {' or '.join(wrong)}; {AGAIN}")


TowerBuilder: TypeAlias = "Callable[[AlignmentSettings, ClosedForm], AlignmentModule]"


def untrained_towers(
    settings: AlignmentSettings,
    closed: ClosedForm,
    pooled: Any = None,
    encoders: Mapping[str, nn.Module] | None = None,
) -> AlignmentModule:
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
) -> AlignmentModule:
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
        setattr(towers, f"{side}_tower", EncodedTower(encoder, getattr(towers, f"{side}_tower")))
    return towers


def _towers_on_features(
    settings: AlignmentSettings, closed: ClosedForm, gene: Tensor, brain: Tensor, pooled: Any
) -> AlignmentModule:
    from genebrain.alignment.module import AlignmentModule

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
        return AlignmentModule(gene_tower, ProjectorTower(*body(brain)), settings.build_loss(), LogitScale())
    heads = torch_heads(closed)
    full = settings.train == "full"
    return AlignmentModule(
        ResidualTower(heads.gene_head, heads.gene_score, *body(gene), heads.latent, train_start=full),
        ResidualTower(heads.brain_head, heads.brain_score, *body(brain), heads.latent, train_start=full),
        settings.build_loss(),
        # A calibrated log-likelihood ratio needs no temperature: its scale starts at one.
        LogitScale(init=0.0) if settings.score == "llr" else LogitScale(),
    )


def _encoder_folder(folder: Path, name: str) -> Path:
    return folder / f"{name.split('.')[0]}_encoder"
