"""One face for all scan encoders: windows of a scan in, one vector per window out.

Contract: ``forward(windows) -> [windows, hidden]``, where a window is ``[frames, parcels]`` or
``[frames, X, Y, Z]`` as a scan store gives it; ``tokens`` gives what the vector is the summary of. In evaluation mode
the same window gives the same bits. Gradients flow through, so the same object is frozen, tuned or pretrained;
``encoder`` is the published module inside, ``prepare`` makes its input.

What it does NOT know: files, subjects, how a scan is cut into windows (``windows``), where weights come from
(``encoders``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genebrain.brain.connectome.token_connectivity import token_connectivity
from genebrain.brain.encoders.families import READS, Size, frames_problem
from genebrain.brain.encoders.settings import Reads, Summary
from genebrain.brain.models.base import ScanEncoder
from genebrain.brain.models.brainlm.canvas import Canvas
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.models.scaling import CohortScaling
from genebrain.common.types import UserError


class WindowEncoder(nn.Module, ABC):
    """Base of the four.

    Parameters
    ----------
    name : str
        Of :data:`genebrain.brain.encoders.families.NAMES`.
    encoder : nn.Module
        The published module.
    size : Size
        Its configuration, window and time step.
    origin : str
        Where the weights come from, in words; random weights say so.
    summary : {"own", "cls", "mean", "connectivity"}
        The class token, the mean over the tokens that stand for data, what the family itself does, or how the tokens
        of different places vary together (:mod:`~genebrain.brain.connectome.token_connectivity`).

    Attributes
    ----------
    reads : {"parcels", "volumes"}
    hidden_size : int
        Numbers of a token.
    width : int
        Numbers of a window's vector.
    frames : int
        Frames of a window.
    tr : float or None
        Seconds per frame of a window; None: those of the scan.
    class_token : bool
        Whether the first token is a class token.
    """

    class_token: bool

    def __init__(self, name: str, encoder: nn.Module, size: Size, origin: str, summary: Summary = "own") -> None:
        super().__init__()
        self.name, self.encoder, self.size, self.origin, self.summary = name, encoder, size, origin, summary
        self.reads: Reads = READS[name]
        self.frames, self.tr = size.frames, size.tr
        self.hidden_size = int(encoder.hidden_size)  # type: ignore[arg-type]

    @abstractmethod
    def prepare(self, windows: Tensor) -> Tensor:
        """Checked input of :attr:`encoder`, made of windows as a store gives them.

        Raises
        ------
        UserError
            The windows do not meet the input contract; all problems together.
        """

    @property
    @abstractmethod
    def places(self) -> int:
        """Places that hold data among the tokens: parcels, groups of parcels, or cells of a volume."""

    @property
    def token_rows(self) -> int:
        """Places among the tokens, those of padding included."""
        return self.places

    @property
    def width(self) -> int:
        """Numbers of a window's vector."""
        return self.places * (self.places + 1) // 2 if self.summary == "connectivity" else self.hidden_size

    def still(self, windows: Tensor) -> Tensor:
        """The windows without activity: every frame is their mean frame."""
        return windows.mean(dim=1, keepdim=True).expand_as(windows)

    def still_tokens(self, windows: Tensor) -> Tensor:
        """Tokens of :meth:`still`, ``[windows or 1, tokens, hidden]``."""
        return self.tokens(self.still(windows))[0]

    @abstractmethod
    def tokens(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[windows, tokens, hidden]`` and bool mask ``[windows, tokens]``: which stand for data."""

    def check_frames(self, frames: int) -> str | None:
        """What is wrong with windows of so many frames, in words; None when nothing is."""
        return frames_problem(self.name, self.size.config, frames)

    def forward(self, windows: Tensor) -> Tensor:
        """One vector per window.

        Parameters
        ----------
        windows : Tensor
            ``[windows, frames, parcels]`` or ``[windows, frames, X, Y, Z]``.

        Returns
        -------
        Tensor
            ``[windows, width]``.
        """
        tokens, mask = self.tokens(windows)
        if self.summary == "connectivity":
            still = self.still_tokens(windows)
            first = int(self.class_token)
            rows = self.token_rows
            covariances = token_connectivity(tokens[:, first:], still[:, first:], mask[:, first:], rows)
            return covariances.to(tokens.dtype)
        return self.summarise(tokens, mask)

    def summarise(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The vector of each window, ``[windows, hidden]``, from its tokens."""
        if self.class_token and self.summary in ("own", "cls"):
            return tokens[:, 0]
        skip = int(self.class_token)
        weight = mask[:, skip:].to(tokens.dtype)
        return torch.einsum("bth,bt->bh", tokens[:, skip:], weight) / weight.sum(dim=1, keepdim=True)

    @property
    def recompute(self) -> bool:
        """Whether activations are made again in the backward pass; set it to save memory in training."""
        return bool(self.encoder.recompute)

    @recompute.setter
    def recompute(self, value: bool) -> None:
        setattr(self.encoder, "recompute", value)  # noqa: B010  (mypy: attributes of a module are modules)

    @property
    def published(self) -> bool:
        """Whether the input contract is that of published weights."""
        return self.size.published

    def description(self) -> dict[str, Any]:
        """What a reader of a result must know of the encoder; JSON-ready, without weights."""
        return {
            "encoder": self.name,
            "weights": self.origin,
            "reads": self.reads,
            "hidden_size": self.hidden_size,
            "width": self.width,
            "frames": self.frames,
            "tr": self.tr,
            "summary": self.summary,
            "parameters": sum(p.numel() for p in self.encoder.parameters()),
            "config": dataclasses.asdict(self.size.config),
        }

    def fingerprint(self) -> str:
        """Hash of configuration, input contract and weights: equal fingerprints give equal embeddings."""
        digest = hashlib.blake2b(digest_size=16)
        facts = {k: v for k, v in self.description().items() if k != "weights"}
        digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
        for key, value in sorted(self._contract_state().items()):
            digest.update(key.encode() + value.tobytes())
        for key, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(f"{key} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _contract_state(self) -> dict[str, Any]:
        return {}

    def _check_shape(self, windows: Tensor, ndim: int, what: str) -> None:
        if windows.ndim != ndim or len(windows) == 0:
            raise UserError(
                f"{self.name} reads {self.reads}: windows must be [windows, frames, {what}], got {list(windows.shape)}"
            )


class ParcelWindowEncoder(WindowEncoder):
    """BrainLM of either family; scales each window by the contract of its module (:class:`ParcelInput`)."""

    encoder: ScanEncoder
    class_token = True

    def __init__(
        self,
        name: str,
        encoder: ScanEncoder,
        size: Size,
        origin: str,
        summary: Summary = "own",
        contract: ParcelInput | None = None,
    ) -> None:
        super().__init__(name, encoder, size, origin, summary)
        contract = contract or encoder.contract
        if contract is None:
            raise ValueError("an encoder of parcels needs an input contract")
        self.contract = contract
        self._still: tuple[Hashable, Tensor] | None = None
        # The module takes coordinates from its own; scalings may differ between two faces of one module.
        encoder.contract = encoder.contract or contract

    def with_scaling(self, scaling: CohortScaling) -> ParcelWindowEncoder:
        """The same module behind statistics of training scans, instead of those of each window."""
        contract = dataclasses.replace(self.contract, scaling=scaling)
        return ParcelWindowEncoder(self.name, self.encoder, self.size, self.origin, self.summary, contract)

    def prepare(self, windows: Tensor) -> Tensor:
        """Scaled series ``[windows, frames, parcels]`` in the type of the weights."""
        self._check_shape(windows, 3, "parcels")
        if problem := self.check_frames(windows.shape[1]):
            raise UserError(problem)
        return self.contract.prepare(windows, self.contract.tr).to(next(self.encoder.parameters()).dtype)

    @property
    def places(self) -> int:
        """Parcels, or rows of patches of the picture."""
        if isinstance(self.encoder, ViTMAE):
            return int(self._patches().any(dim=1).sum())
        return self.contract.n_parcels

    @property
    def token_rows(self) -> int:
        """Places among the tokens, those of padding included."""
        return len(self._patches()) if isinstance(self.encoder, ViTMAE) else self.places

    def _patches(self) -> Tensor:
        assert isinstance(self.encoder, ViTMAE)
        canvas = Canvas(self.contract.n_parcels, 1, self.encoder.config)
        return canvas.data_patches().view(canvas.grid)

    def still(self, windows: Tensor) -> Tensor:
        """One for all: scaled, every window without activity is zero."""
        return torch.zeros_like(windows[:1])

    def still_tokens(self, windows: Tensor) -> Tensor:
        """Tokens of the one still window; encoded once per length, device and state of frozen weights."""
        if torch.is_grad_enabled() or self.training:
            return super().still_tokens(windows)
        weights = tuple(parameter._version for parameter in self.encoder.parameters())
        asked = windows.shape[1:], windows.dtype, windows.device, weights
        if self._still is None or self._still[0] != asked:
            self._still = asked, super().still_tokens(windows)
        return self._still[1]

    def tokens(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Class token, then parcels x windows (or patches) in raster order."""
        series = self.prepare(windows)
        if not self.common_centre:
            return self.encoder.tokens(series)
        assert isinstance(self.encoder, BrainLM)
        centre = self.contract.coordinates.mean(axis=0, keepdims=True)
        return self.encoder.tokens(series, coordinates=np.repeat(centre, self.contract.n_parcels, axis=0))

    @property
    def common_centre(self) -> bool:
        """Whether all parcels are said to lie at their common centre, for the tokens of places to be comparable.

        The centre of a parcel is added to its token, and what follows is not linear: equal activity gives another
        response at every place. Covariances between places are then mostly those of the responses.
        """
        return self.summary == "connectivity" and isinstance(self.encoder, BrainLM)

    def description(self) -> dict[str, Any]:
        """As of any encoder, and whether centres were taken off."""
        return super().description() | ({"centres": "common"} if self.common_centre else {})

    def _contract_state(self) -> dict[str, Any]:
        return self.contract.state()
