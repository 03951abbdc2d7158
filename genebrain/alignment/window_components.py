"""From one block of numbers per window to standardised gene columns, fitted on training people only.

Two kinds of block:

- ``components``: any embedding. Centre, principal components up to a share of the variance, whiten. Components are
  taken window by window, never across windows: a causal variant touches one window, and that sparsity is what
  the empirical-Bayes regression lives on.
- ``dosages``: one column per alternate allele, 0..2, NaN where missing. Rare alleles are dropped, missing values
  become the training mean, columns are standardised. ``effects="dominance"`` adds a heterozygote indicator.

This file knows nothing of the brain side, so it may see all rows that a cross-validation will split.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from genebrain.alignment.spectral import principal_components
from genebrain.types import FloatArray, IntArray


@dataclass(frozen=True)
class ColumnSettings:
    """How blocks become columns.

    Attributes
    ----------
    kind : "components" or "dosages"
    variance : float
        Components of a window are kept until they explain this share of its variance ...
    max_components : int
        ... but never more than this many, nor more than a third of the people.
    min_maf : float
        Dosage columns need this minor-allele frequency on the training people.
    effects : "additive" or "dominance"
        Dominance adds the heterozygote indicator of each dosage column.
    """

    kind: Literal["components", "dosages"] = "components"
    variance: float = 0.99
    max_components: int = 60
    min_maf: float = 0.01
    effects: Literal["additive", "dominance"] = "additive"

    def __post_init__(self) -> None:
        if self.kind not in ("components", "dosages"):
            raise ValueError(f"kind must be 'components' or 'dosages', got {self.kind!r}")
        if self.effects not in ("additive", "dominance"):
            raise ValueError(f"effects must be 'additive' or 'dominance', got {self.effects!r}")
        if self.effects == "dominance" and self.kind != "dosages":
            raise ValueError("effects='dominance' needs kind='dosages': embeddings carry no allele counts")


@dataclass(frozen=True)
class WindowColumns:
    """Fitted map from blocks to columns; see `fit`.

    Attributes
    ----------
    means : list of array [width]
        Training mean of each (selected) block column.
    maps : list of array
        ``[width, columns]`` for components, ``[width]`` (a scale) for dosages.
    selected : list of int array
        Block columns that are used.
    window : int array [columns]
        Window of each column.
    """

    settings: ColumnSettings
    means: list[FloatArray]
    maps: list[FloatArray]
    selected: list[IntArray]
    widths: list[int]

    @classmethod
    def fit(cls, blocks: list[FloatArray], settings: ColumnSettings | None = None) -> WindowColumns:
        """Fit on the training rows of all windows, ``blocks: list of [people, width]``."""
        settings = settings or ColumnSettings()
        _check(blocks)
        fitted = [
            (_fit_components if settings.kind == "components" else _fit_dosages)(b, settings) for b in blocks
        ]
        means, maps, selected = (list(part) for part in zip(*fitted, strict=True))
        return cls(settings, means, maps, selected, [b.shape[1] for b in blocks])

    @property
    def window(self) -> IntArray:
        """Window index of every column."""
        return np.repeat(np.arange(len(self.maps)), [m.shape[-1] for m in self.maps])

    def transform(self, blocks: list[FloatArray]) -> FloatArray:
        """Map blocks of any people to columns, float32 ``[people, columns]``."""
        _check(blocks)
        widths = [b.shape[1] for b in blocks]
        if widths != self.widths:
            raise ValueError(f"fitted on windows of widths {self.widths}, got {widths}")
        parts = []
        for block, mean, linear, selected in zip(blocks, self.means, self.maps, self.selected, strict=True):
            centred = _expand(block, self.settings)[:, selected] - mean
            if self.settings.kind == "dosages":
                parts.append(np.where(np.isnan(centred), 0.0, centred) * linear)
            else:
                parts.append(centred @ linear)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Arrays named by window, and JSON-ready settings."""
        arrays: dict[str, Any] = {}
        for w, (mean, linear, selected) in enumerate(zip(self.means, self.maps, self.selected, strict=True)):
            arrays |= {f"window{w}.mean": mean, f"window{w}.map": linear, f"window{w}.selected": selected}
        return {**arrays, "json": {"settings": asdict(self.settings), "widths": self.widths}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> WindowColumns:
        """Restore what `state` gave."""
        info = state["json"]
        names, windows = ("mean", "map", "selected"), range(len(info["widths"]))
        means, maps, selected = ([state[f"window{w}.{name}"] for w in windows] for name in names)
        return cls(ColumnSettings(**info["settings"]), means, maps, selected, info["widths"])


def _check(blocks: list[FloatArray]) -> None:
    if not blocks:
        raise ValueError("no windows: blocks is an empty list")
    rows = sorted({len(b) for b in blocks})
    if len(rows) > 1:
        raise ValueError(f"blocks of one cohort must have equally many rows, got {rows}")


def _expand(block: FloatArray, settings: ColumnSettings) -> FloatArray:
    x = block.astype(np.float64)
    if settings.effects == "additive":
        return x
    heterozygous = np.where(np.isnan(x), np.nan, np.rint(np.nan_to_num(x)) == 1)
    return np.concatenate([x, heterozygous], axis=1)


def _fit_components(block: FloatArray, settings: ColumnSettings) -> tuple[FloatArray, FloatArray, IntArray]:
    if not np.isfinite(block).all():
        raise ValueError(f"{int((~np.isfinite(block)).sum())} non-finite values in an embedding block")
    most = max(1, min(settings.max_components, len(block) // 3))
    components = principal_components(block)
    if len(components.variances):
        explained = np.cumsum(components.variances) / components.total_variance
        most = min(most, int(np.searchsorted(explained, settings.variance)) + 1)
    linear = components.axes[:, :most] / np.sqrt(components.variances[:most])
    return components.mean, linear, np.arange(block.shape[1])


def _fit_dosages(block: FloatArray, settings: ColumnSettings) -> tuple[FloatArray, FloatArray, IntArray]:
    expanded = _expand(block, settings)
    observed = np.isfinite(expanded)
    count = np.maximum(observed.sum(axis=0), 1)
    filled = np.where(observed, expanded, 0.0)
    mean = filled.sum(axis=0) / count
    # Missing values will be imputed by the mean, so the variance is over all people.
    variance = np.where(observed, expanded - mean, 0.0).__pow__(2).mean(axis=0)
    frequency = mean[: block.shape[1]] / 2.0
    common = np.minimum(frequency, 1.0 - frequency) >= settings.min_maf
    usable = np.tile(common, expanded.shape[1] // max(block.shape[1], 1)) & (variance > 1e-8)
    selected = np.flatnonzero(usable)
    return mean[selected], 1.0 / np.sqrt(variance[selected]), selected
