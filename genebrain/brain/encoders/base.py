"""Interface of scan encoders: windows of a scan in, one vector per window out.

``forward(windows) -> [windows, hidden]``, where a window is ``[frames, parcels]`` or ``[frames, X, Y, Z]`` as a scan
store gives it; ``tokens`` gives what the vector is the summary of. In evaluation mode the same window gives the same
bits. Gradients flow through, so the same object is frozen, tuned or pretrained; ``encoder`` is the published module
inside, ``prepare`` makes its input.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, Self

import torch
from torch import Tensor, nn

from genebrain.brain.connectome.token_connectivity import token_connectivity
from genebrain.brain.encoders.families import SCAN_ENCODERS, Size, frames_problem
from genebrain.brain.encoders.settings import Reads, Summary
from genebrain.brain.models.base import ScanEncoder
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.models.scaling import CohortScaling
from genebrain.common.types import UserError


class WindowEncoder(nn.Module, ABC):
    """Base of all: a module behind the input that it asks for.

    Parameters
    ----------
    name : str
        Of :data:`genebrain.brain.encoders.families.SCAN_ENCODERS`.
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
    proven: bool = True
    """Whether the tests of the package show that it keeps the contract; if not, it is checked before it is used."""

    def __init__(self, name: str, encoder: nn.Module, size: Size, origin: str, summary: Summary = "own") -> None:
        super().__init__()
        self.name, self.encoder, self.size, self.origin, self.summary = name, encoder, size, origin, summary
        self.reads: Reads = SCAN_ENCODERS[name].reads
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

    def around(self, module: nn.Module, origin: str) -> Self:
        """The same input and summary around another module of the family."""
        return type(self)(self.name, module, self.size, origin, self.summary).eval()

    def with_scaling(self, scaling: CohortScaling) -> WindowEncoder:
        """The same module behind statistics of training scans, instead of those of each window."""
        raise UserError(f"scaling=cohort has no meaning for {self.name}, which scales its input itself")

    @property
    def recompute(self) -> bool:
        """Whether activations are made again in the backward pass; set it to save memory in training."""
        return bool(getattr(self.encoder, "recompute", False))

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
        for key, value in sorted(self.contract_state().items()):
            digest.update(key.encode() + value.tobytes())
        for key, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(f"{key} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def contract_state(self) -> dict[str, Any]:
        """Arrays of the input contract that are kept beside the weights; empty without one."""
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

    def with_scaling(self, scaling: CohortScaling) -> Self:
        """The same module behind statistics of training scans, instead of those of each window."""
        contract = dataclasses.replace(self.contract, scaling=scaling)
        return type(self)(self.name, self.encoder, self.size, self.origin, self.summary, contract)

    def around(self, module: nn.Module, origin: str) -> Self:
        """The same input and summary around another module of the family."""
        assert isinstance(module, ScanEncoder)
        return type(self)(self.name, module, self.size, origin, self.summary, self.contract).eval()

    def prepare(self, windows: Tensor) -> Tensor:
        """Scaled series ``[windows, frames, parcels]`` in the type of the weights."""
        self._check_shape(windows, 3, "parcels")
        if problem := self.check_frames(windows.shape[1]):
            raise UserError(problem)
        return self.contract.prepare(windows, self.contract.tr).to(next(self.encoder.parameters()).dtype)

    @property
    def places(self) -> int:
        """Parcels."""
        return self.contract.n_parcels

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
        return self.encoder.tokens(self.prepare(windows))

    def contract_state(self) -> dict[str, Any]:
        """Arrays of the input contract."""
        return self.contract.state()
