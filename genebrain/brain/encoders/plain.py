"""Window encoder around any module that gives one vector per window, and the check that it keeps the contract."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect

import torch
from torch import Tensor, nn

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.families import Size
from genebrain.brain.encoders.settings import Summary
from genebrain.common.types import UserError

SAME = 1e-3
"""Share of the largest value by which the same window may differ between two batches."""


class PlainWindowEncoder(WindowEncoder):
    """A module called with windows ``[windows, frames, parcels]`` or ``[windows, frames, X, Y, Z]`` as they are stored.

    It gives ``[windows, hidden_size]``. The code of the module's class is part of the fingerprint, so that vectors of
    an earlier version of a file are not taken for those of the present one.

    Raises
    ------
    UserError
        The module has no ``hidden_size``, or its configuration is no dataclass.
    """

    class_token = False
    proven = False

    def __init__(self, name: str, encoder: nn.Module, size: Size, origin: str, summary: Summary = "own") -> None:
        if not isinstance(getattr(encoder, "hidden_size", None), int):
            raise UserError(
                f"scan encoder {name}: its module needs an int attribute hidden_size, the width of a vector"
            )
        if not dataclasses.is_dataclass(size.config):
            raise UserError(f"scan encoder {name}: its config must be a dataclass, not {type(size.config).__name__}")
        super().__init__(name, encoder, size, origin, summary)

    @property
    def places(self) -> int:
        """One: the module gives no tokens."""
        return 1

    def prepare(self, windows: Tensor) -> Tensor:
        """The windows in the type of the weights."""
        self._check_shape(windows, *((3, "parcels") if self.reads == "parcels" else (5, "X, Y, Z")))
        if problem := self.check_frames(windows.shape[1]):
            raise UserError(problem)
        first = next(self.encoder.parameters(), None)
        return windows.to(torch.float32 if first is None else first.dtype)

    def tokens(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """The vector of a window as its only token."""
        vectors = self.encoder(self.prepare(windows))
        wanted = [len(windows), self.hidden_size]
        if not isinstance(vectors, Tensor) or list(vectors.shape) != wanted:
            got = list(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise UserError(
                f"scan encoder {self.name} gave {got} for {len(windows)} windows; wanted is a tensor {wanted}: one row "
                "per window, hidden_size columns"
            )
        return vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device)

    def fingerprint(self) -> str:
        """Hash of configuration, weights and the code of the module's class."""
        try:
            code = inspect.getsource(type(self.encoder))
        except (OSError, TypeError):  # typed into an interpreter
            code = ""
        return hashlib.blake2b(f"{super().fingerprint()} {code}".encode(), digest_size=16).hexdigest()


def check_window_encoder(encoder: WindowEncoder, windows: Tensor) -> None:
    """Refuse an encoder that breaks the contract of all scan encoders.

    Parameters
    ----------
    encoder : WindowEncoder
        In evaluation mode.
    windows : Tensor
        One window or more, as the scan store gives them; one is also read backwards in time, as a second.

    Raises
    ------
    UserError
        Another shape than ``[windows, width]``, values that are not finite, another vector for the same window when it
        is asked again, or when other windows stand before it.
    """
    if len(windows) == 1:
        windows = torch.cat([windows, windows.flip(1)])
    with torch.inference_mode():
        first, again, turned = encoder(windows), encoder(windows), encoder(windows.flip(0)).flip(0)
        alone = encoder(windows[:1])
    what = f"scan encoder {encoder.name}"
    if list(first.shape) != [len(windows), encoder.width]:
        raise UserError(f"{what} gave {list(first.shape)}; wanted is [windows, width]: {[len(windows), encoder.width]}")
    if not torch.isfinite(first).all():
        raise UserError(f"{what} gave values that are not finite; wanted are finite numbers for every window")
    allowed = SAME * float(first.abs().max())
    if float((first - again).abs().max()) > allowed:
        raise UserError(f"{what} gave two vectors for one window; wanted is the same vector whenever it is asked")
    if max(float((first - turned).abs().max()), float((first[:1] - alone).abs().max())) > allowed:
        raise UserError(
            f"{what} gave another vector when the windows stood in another order; wanted is row i for window i, "
            "whatever else is in the batch"
        )
