"""Gene columns of embeddings that are being trained: the same map as the fitted one, with gradients.

On the embeddings that the columns were fitted on it gives the columns of
:meth:`genebrain.alignment.closed_form.columns.WindowColumns.transform`. The map is that of the encoder before
training and stays as it is: what the encoder learns shows in the directions in which people differed from the start.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from genebrain.alignment.closed_form.columns import WindowColumns
from genebrain.common.types import FloatArray


class TorchColumns(nn.Module):
    """Window blocks to standardised columns.

    Parameters
    ----------
    columns : WindowColumns
        Of kind ``components``.
    fill : float array
        ``[columns]``: what a person without a window has there, fitted on training people.
    """

    fill: Tensor

    def __init__(self, columns: WindowColumns, fill: FloatArray) -> None:
        super().__init__()
        if columns.settings.kind != "components":
            raise ValueError(f"columns of kind {columns.settings.kind} are not made from embeddings")
        self._items = [[(int(used[0]), int(used[-1]) + 1) for _, _, used in pieces] for pieces in columns.pieces]
        for w, pieces in enumerate(columns.pieces):
            for i, (mean, linear, _) in enumerate(pieces):
                # Not persistent: the fitted closed form holds them. In double precision, as they were fitted:
                # people differ in the fourth digit.
                self.register_buffer(f"mean_{w}_{i}", torch.from_numpy(np.asarray(mean, np.float64)), persistent=False)
                self.register_buffer(f"map_{w}_{i}", torch.from_numpy(np.asarray(linear, np.float64)), persistent=False)
        self.register_buffer("fill", torch.from_numpy(np.asarray(fill, np.float32)))
        if len(fill) != len(columns.window):
            raise ValueError(f"{len(fill)} fill values for {len(columns.window)} columns")
        self._widths = [sum(linear.shape[1] for _, linear, _ in pieces) for pieces in columns.pieces]
        self.out_features = len(fill)

    def forward(self, blocks: list[Tensor]) -> Tensor:
        """``[people, width]`` per window, NaN where a person lacks it, to float32 ``[people, columns]``."""
        parts = []
        for w, (block, fill) in enumerate(zip(blocks, self.fill.split(self._widths), strict=True)):
            missing = block.isnan().any(dim=1, keepdim=True)
            known = block.masked_fill(missing, 0.0).double()
            items = [
                (known[:, start:stop] - self.get_buffer(f"mean_{w}_{i}")) @ self.get_buffer(f"map_{w}_{i}")
                for i, (start, stop) in enumerate(self._items[w])
            ]
            parts.append(torch.where(missing, fill, torch.cat(items, dim=1).float()))
        return torch.cat(parts, dim=1)
