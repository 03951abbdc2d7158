"""Standardised gene columns from one block of numbers per window, fitted on training people only.

Two kinds of block:

- ``components``: embeddings. Centre, principal components up to a share of the variance (or all), whiten. A window
  that is a row of items (the chunk vectors, laid side by side) is decomposed item by item and each item's components
  are rotated by varimax. Never across windows: a causal variant lies in one chunk of one window, and this sparsity
  is what the empirical-Bayes regression lives on. A person without the window (a row of NaN) gets its mean.
- ``dosages``: one column per alternate allele, 0..2, NaN where missing. Rare alleles are dropped, missing values
  become the training mean, columns are standardised. With ``effects="deviation"`` columns tell by how much
  heterozygotes differ from the middle of both homozygotes.

``power`` makes the columns of frequent alleles larger than those of rare ones: a prior, under which effects lie between
"as large per standard deviation" and "as large per allele".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from genebrain.alignment import made_blocks
from genebrain.alignment.closed_form.spectral import principal_components, varimax
from genebrain.alignment.made_blocks import MadeBlocks, PairSums, in_sums
from genebrain.common.types import FloatArray, IntArray, built
from genebrain.common.words import no_bar

Piece = tuple[FloatArray, FloatArray, IntArray]
"""Mean [used], map [used, columns] (or a scale [used] for dosages), and which block columns are used."""


MOST_OF_AN_ITEM, MOST_OF_A_WINDOW = 20, 60
"""Components of one item (a chunk), and of a window that is taken as a whole, at most."""
FEWEST_OF_A_KIND = 5
"""Training people with no, one and two copies of an allele, where heterozygotes are compared with homozygotes."""
SMALLEST = 1e-7
"""Where all components are kept: those with at least this share of the largest variance, which are no rounding."""


@dataclass(frozen=True)
class ColumnSettings:
    """How blocks become columns.

    Attributes
    ----------
    kind : "components" or "dosages"
    item_width : int, optional
        Length of one item's vector where a block is a row of items ``[people, items * item_width]``.
        None: a block is one item, and its components are not rotated (over a long window varimax finds rare
        haplotypes, which costs score; inside a chunk it finds variants).
    variance : float, optional
        Components are kept until they explain this share of an item's variance (.98 with items, .99 without); 1: all,
        without the limit of ``max_components`` ...
    max_components : int, optional
        ... but never more than this many (20 with items, 60 without), nor more than a third of the people.
    min_maf : float
        Dosage columns need this minor-allele frequency on the training people; 0: all that vary.
    rotate : bool
        Varimax within items.
    power : float
        Columns are whitened, then multiplied by their former standard deviation to this power. 0: all columns alike.
    effects : "additive" or "deviation"
        Deviation: the heterozygote indicator less what a straight line through the dosages tells of it (under random
        mating), of alleles with enough homozygotes of either kind.
    """

    kind: Literal["components", "dosages"] = "components"
    item_width: int | None = None
    variance: float | None = None
    max_components: int | None = None
    min_maf: float = 0.01
    effects: Literal["additive", "deviation"] = "additive"
    rotate: bool = True
    power: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("components", "dosages"):
            raise ValueError(f"kind must be 'components' or 'dosages', got {self.kind!r}")
        if self.effects not in ("additive", "deviation"):
            raise ValueError(f"effects must be 'additive' or 'deviation', got {self.effects!r}")
        if self.effects == "deviation" and self.kind != "dosages":
            raise ValueError(f"effects={self.effects!r} needs kind='dosages': embeddings carry no allele counts")
        if self.rotate and self.power and self.kind == "components":
            raise ValueError("power needs rotate=False: rotated components have no variance of their own")
        if self.item_width is not None and self.item_width < 1:
            raise ValueError(f"item_width must be at least 1, got {self.item_width}")


@dataclass(frozen=True)
class WindowColumns:
    """Fitted map from blocks to columns; see `fit`.

    Attributes
    ----------
    pieces : list over windows of list of Piece
        One piece per item (one per window for dosages).
    widths : list of int
        Width of each window's block.
    """

    settings: ColumnSettings
    pieces: list[list[Piece]]
    widths: list[int]

    @classmethod
    def fit(
        cls, blocks: Sequence[FloatArray], settings: ColumnSettings | None = None, *, progress: bool = False
    ) -> WindowColumns:
        """Fit on the training rows of all windows, ``blocks: list of [people, width]``."""
        settings = settings or ColumnSettings()
        _check(blocks, settings)
        fit_block = _fit_components if settings.kind == "components" else _fit_dosages
        given, quiet = in_sums(blocks, settings.item_width), no_bar(progress)
        shown = tqdm(given, "gene columns", len(blocks), unit="window", leave=False, disable=quiet)
        pieces = [fit_block(b, settings) for b in shown]
        if settings.power and settings.kind == "components":
            pieces = _mean_variance_one(pieces, in_sums(blocks, settings.item_width))
        return cls(settings, pieces, made_blocks.widths(blocks))

    @property
    def window(self) -> IntArray:
        """Window index of every column ``[columns]``."""
        counts = [sum(linear.shape[-1] for _, linear, _ in pieces) for pieces in self.pieces]
        return np.repeat(np.arange(len(counts)), counts)

    def transform(self, blocks: Sequence[FloatArray]) -> FloatArray:
        """Map blocks of any people to columns, float32 ``[people, columns]``."""
        _check(blocks, self.settings)
        widths = made_blocks.widths(blocks)
        if widths != self.widths:
            raise ValueError(f"fitted on windows of widths {self.widths}, got {widths}")
        found = np.empty((made_blocks.people(blocks)[0], len(self.window)), np.float32)
        first = 0
        for block, pieces in zip(in_sums(blocks, self.settings.item_width), self.pieces, strict=True):
            if isinstance(block, PairSums):
                first = _fill(found, first, block, pieces)
                continue
            numbers = block.astype(np.float64) if self.settings.kind == "dosages" else block
            for mean, linear, selected in pieces:
                centred: FloatArray = numbers[:, selected] - mean
                if self.settings.effects == "deviation":
                    centred = _deviation(centred, mean)
                filled = np.where(np.isnan(centred), 0.0, centred)
                last = first + linear.shape[-1]
                found[:, first:last] = filled * linear if self.settings.kind == "dosages" else filled @ linear
                first = last
        return found

    def state(self) -> dict[str, Any]:
        """Arrays named by window and item, and JSON-ready settings."""
        arrays: dict[str, Any] = {}
        for w, pieces in enumerate(self.pieces):
            for i, (mean, linear, selected) in enumerate(pieces):
                key = f"{w}.{i}"
                arrays |= {f"{key}.mean": mean, f"{key}.map": linear, f"{key}.selected": selected}
        info = {"settings": asdict(self.settings), "widths": self.widths, "items": [len(p) for p in self.pieces]}
        return {**arrays, "json": info}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> WindowColumns:
        """Restore what `state` gave."""
        info = state["json"]

        def piece(w: int, i: int) -> Piece:
            return state[f"{w}.{i}.mean"], state[f"{w}.{i}.map"], state[f"{w}.{i}.selected"]

        pieces = [[piece(w, i) for i in range(items)] for w, items in enumerate(info["items"])]
        settings = built(ColumnSettings, info["settings"])
        for (w, own), width in zip(enumerate(pieces), info["widths"], strict=True):
            if not all(_fits(one, settings, width) for one in own):
                raise ValueError(f"the columns of window {w} do not fit a block of {width} numbers")
        return cls(settings, pieces, info["widths"])


def _fill(found: FloatArray, first: int, block: PairSums, pieces: list[Piece]) -> int:
    """Columns of a window that is made of sums, from column ``first`` on; the one behind them."""
    start, empty = first, not sum(linear.shape[1] for _, linear, _ in pieces)  # hardly anybody had it
    for (mean, linear, _), (values, which) in zip(pieces, () if empty else block.items(), strict=not empty):
        last = first + linear.shape[1]
        found[:, first:last] = ((values - mean) @ linear).astype(np.float32)[which]
        first = last
    found[block.lacking, start:first] = 0.0
    return first


def _fits(piece: Piece, settings: ColumnSettings, width: int) -> bool:
    """Whether the arrays of a restored piece belong together and to a block of this width."""
    mean, linear, used = piece
    shape = (len(mean),) if settings.kind == "dosages" else (len(mean), linear.shape[-1])
    whole = mean.ndim == used.ndim == 1 and linear.shape == shape and len(used) == len(mean)
    inside = used.dtype.kind in "iu" and used.min(initial=0) >= 0 and used.max(initial=-1) < width
    return bool(whole and inside and np.isfinite(mean).all() and np.isfinite(linear).all())


def _check(blocks: Sequence[FloatArray], settings: ColumnSettings) -> None:
    if not len(blocks):
        raise ValueError("no windows: blocks is an empty list")
    made = isinstance(blocks, MadeBlocks)  # to look at them costs as much as to fit them
    rows = [] if made else sorted({len(b) for b in blocks})
    if len(rows) > 1:
        raise ValueError(f"blocks of one cohort must have equally many rows, got {rows}")
    if settings.kind == "components" and not made:
        broken = {w: int((~(np.isfinite(b).all(axis=1) | np.isnan(b).all(axis=1))).sum()) for w, b in enumerate(blocks)}
        if any(broken.values()):
            raise ValueError(
                "embedding blocks hold rows that are neither finite nor wholly missing (all NaN); rows by window: "
                f"{ {w: count for w, count in broken.items() if count} }"
            )
    if settings.kind == "components":
        ragged = [width for width in made_blocks.widths(blocks) if settings.item_width and width % settings.item_width]
        if ragged:
            raise ValueError(f"block widths {ragged} are no multiples of item_width {settings.item_width}")


def _items(block: FloatArray | PairSums, n_items: int) -> Iterator[tuple[FloatArray, FloatArray | None]]:
    """Values of every item in people who have any, and how many people each row stands for; None: one."""
    if isinstance(block, PairSums):
        for values, which in block.items(np.flatnonzero(~block.lacking)):
            yield values, np.bincount(which).astype(np.float64)
        return
    present = block[~np.isnan(block).any(axis=1)]
    for item in np.arange(block.shape[1]).reshape(n_items, -1):
        yield present[:, item], None


def _fit_components(block: FloatArray | PairSums, settings: ColumnSettings) -> list[Piece]:
    width = block.shape[1]
    if settings.item_width is None:
        n_items, share, most = 1, settings.variance or 0.99, settings.max_components or MOST_OF_A_WINDOW
    else:
        n_items = width // settings.item_width
        share, most = settings.variance or 0.98, settings.max_components or MOST_OF_AN_ITEM
    pieces: list[Piece] = []
    for item, (x, times) in zip(np.arange(width).reshape(n_items, -1), _items(block, n_items), strict=True):
        people = len(x) if times is None else int(times.sum())
        if people < 2:
            return [(np.zeros(width), np.zeros((width, 0)), np.arange(width))]
        components = principal_components(x, times=times)
        variances = components.variances
        if share >= 1:
            keep = min(int(np.sum(variances > SMALLEST * variances[:1].sum())), max(1, people // 3))
        else:
            keep = max(1, min(most, people // 3))
            if len(variances):
                explained = np.cumsum(variances) / components.total_variance
                keep = min(keep, int(np.searchsorted(explained, share)) + 1)
        linear = components.axes[:, :keep] / variances[:keep] ** (0.5 - 0.5 * settings.power)
        if settings.item_width is not None and settings.rotate:
            linear = linear @ varimax((x - components.mean) @ linear, times)
        pieces.append((components.mean, linear, item))
    return pieces


def _mean_variance_one(pieces: list[list[Piece]], blocks: Iterable[FloatArray | PairSums]) -> list[list[Piece]]:
    """One scale for all columns: an encoder's unit must not decide how strong the prior is."""
    variances = []
    for block, own in zip(blocks, pieces, strict=True):
        if not isinstance(block, PairSums):
            variances += [np.nanvar((block[:, selected] - mean) @ linear, axis=0) for mean, linear, selected in own]
        elif sum(linear.shape[1] for _, linear, _ in own):
            for (mean, linear, _), (x, times) in zip(own, _items(block, len(own)), strict=True):
                values = (x - mean) @ linear  # their mean is zero
                variances.append(np.average(values**2, axis=0, weights=times))
    scale = np.sqrt(max(float(np.mean(np.concatenate(variances))), 1e-300)) if sum(map(len, variances)) else 1.0
    return [[(mean, linear / scale, selected) for mean, linear, selected in own] for own in pieces]


def _deviation(centred: FloatArray, mean: FloatArray) -> FloatArray:
    """Heterozygote indicator less its regression on the dosage (``centred``), in Hardy-Weinberg proportions."""
    heterozygous = np.where(np.isnan(centred), np.nan, np.rint(np.nan_to_num(centred + mean)) == 1)
    return np.asarray(heterozygous - mean * (1 - mean / 2) - (1 - mean) * centred)


def _fit_dosages(block: FloatArray, settings: ColumnSettings) -> list[Piece]:
    numbers = block.astype(np.float64)
    if settings.effects == "deviation":
        return _fit_deviation(numbers, settings)
    observed = np.isfinite(numbers)
    mean = np.where(observed, numbers, 0.0).sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
    # Missing values will be imputed by the mean, so the variance is over all people.
    variance = np.mean(np.where(observed, numbers - mean, 0.0) ** 2, axis=0)
    frequency = mean / 2.0
    common = (np.minimum(frequency, 1.0 - frequency) >= settings.min_maf) | (settings.min_maf == 0)
    selected = np.flatnonzero(common & (variance > 1e-8))
    return [(mean[selected], variance[selected] ** (0.5 * settings.power - 0.5), selected)]


def _fit_deviation(dosages: FloatArray, settings: ColumnSettings) -> list[Piece]:
    known = np.rint(np.where(np.isnan(dosages), -1, dosages))
    fewest = np.min([(known == copies).sum(axis=0) for copies in range(3)], axis=0)
    selected = np.flatnonzero(fewest >= FEWEST_OF_A_KIND)
    mean = np.nanmean(dosages[:, selected], axis=0) if len(selected) else np.zeros(0)
    found = _deviation(dosages[:, selected] - mean, mean)
    variance = np.mean(np.nan_to_num(found) ** 2, axis=0) if len(selected) else np.zeros(0)
    return [(mean, variance ** (0.5 * settings.power - 0.5), selected)]
