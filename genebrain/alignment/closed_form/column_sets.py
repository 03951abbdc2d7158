"""Sets of gene columns side by side: several readings of the same genomes, and where their numbers come from.

A set is a way to make columns (`columns`) from a source, which is a list of blocks per window: embeddings under some
mask, or dosages. Each set is regressed by itself; their predictions are stacked (`gene_stack`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from genebrain.alignment import made_blocks
from genebrain.alignment.closed_form.columns import ColumnSettings, WindowColumns
from genebrain.alignment.closed_form.motifs.columns import MotifColumns
from genebrain.common.types import FloatArray, IntArray, built

FAMILIES = ("embeddings", "dosages", "motifs")


@dataclass(frozen=True)
class ColumnSet:
    """One set of columns.

    Attributes
    ----------
    name : str
        As it stands in reports.
    source : str
        Key of the blocks that it is made from.
    family : "embeddings", "dosages" or "motifs"
    settings : ColumnSettings
    """

    name: str
    source: str
    family: str
    settings: ColumnSettings

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {self.family!r}")


@dataclass(frozen=True)
class GeneBlocks:
    """Blocks of some people by source, and the sets that are made from them.

    Attributes
    ----------
    sources : mapping of str to sequence of arrays
        ``[people, width]`` per window.
    sets : tuple of ColumnSet
        The first one chooses the brain latents.
    """

    sources: Mapping[str, Sequence[FloatArray]]
    sets: tuple[ColumnSet, ...]

    def __post_init__(self) -> None:
        absent = sorted({one.source for one in self.sets} - set(self.sources))
        if absent or not self.sets:
            raise ValueError(f"no blocks of source {', '.join(absent)}" if absent else "no set of columns")

    def __len__(self) -> int:
        return len(next(iter(self.sources.values())))

    def __iter__(self) -> Iterator[FloatArray]:
        """Blocks of the first source."""
        return iter(next(iter(self.sources.values())))

    def mapped(self, change: Callable[[FloatArray], FloatArray]) -> GeneBlocks:
        """The same sets of changed blocks."""
        return replace(
            self, sources={name: made_blocks.mapped(blocks, change) for name, blocks in self.sources.items()}
        )

    def rows(self, rows: IntArray) -> GeneBlocks:
        """Of some people only."""
        return replace(self, sources={name: made_blocks.rows_of(blocks, rows) for name, blocks in self.sources.items()})

    def only(self, names: Sequence[str]) -> GeneBlocks:
        """With the sets of these names only."""
        return replace(self, sets=tuple(one for one in self.sets if one.name in set(names)))


Blocks = Sequence[FloatArray] | GeneBlocks


def row_counts(given: Blocks) -> dict[str, int]:
    """People of every block, by source and window."""
    sources = given.sources if isinstance(given, GeneBlocks) else {"": given}
    return {
        f"{name} window {window}".strip(): people
        for name, blocks in sources.items()
        for window, people in enumerate(made_blocks.people(blocks))
    }


def rows_of(blocks: Blocks, rows: IntArray) -> Blocks:
    """Blocks of some people only."""
    return blocks.rows(rows) if isinstance(blocks, GeneBlocks) else made_blocks.rows_of(blocks, rows)


def mapped(blocks: Blocks, change: Callable[[FloatArray], FloatArray]) -> Blocks:
    """Changed blocks of the same shapes."""
    return blocks.mapped(change) if isinstance(blocks, GeneBlocks) else made_blocks.mapped(blocks, change)


@dataclass(frozen=True)
class SetColumns:
    """Fitted columns of several sets, one behind the other.

    Attributes
    ----------
    sets : tuple of ColumnSet
    parts : tuple of WindowColumns or MotifColumns
    """

    sets: tuple[ColumnSet, ...]
    parts: tuple[WindowColumns | MotifColumns, ...]

    @classmethod
    def fit(cls, blocks: GeneBlocks, *, progress: bool = False) -> SetColumns:
        """Fit every set on training people."""
        fitted = (WindowColumns.fit(blocks.sources[one.source], one.settings, progress=progress) for one in blocks.sets)
        return cls(blocks.sets, tuple(fitted))

    @property
    def window(self) -> IntArray:
        """Window index of every column ``[columns]``."""
        return np.concatenate([part.window for part in self.parts])

    @property
    def family(self) -> list[str]:
        """Family of every column."""
        return [one.family for one, part in zip(self.sets, self.parts, strict=True) for _ in part.window]

    @property
    def widths(self) -> list[int]:
        """Columns of every set."""
        return [len(part.window) for part in self.parts]

    def one(self, blocks: GeneBlocks, number: int) -> FloatArray:
        """Columns of any people in one set, float32 ``[people, columns]``."""
        return self.parts[number].transform(blocks.sources[self.sets[number].source])

    def transform(self, blocks: Blocks) -> FloatArray:
        """Columns of any people, float32 ``[people, columns of all sets]``."""
        if not isinstance(blocks, GeneBlocks):
            raise ValueError("several sets of columns need the blocks of their sources")
        people = next(iter(row_counts(blocks).values()))
        found, first = np.empty((people, len(self.window)), np.float32), 0  # never there twice
        for number, width in enumerate(self.widths):
            found[:, first : first + width] = self.one(blocks, number)
            first += width
        return found

    def led_by(self, number: int) -> SetColumns:
        """With one set in front of the others."""
        order = sorted(range(len(self.sets)), key=lambda i: i != number)
        return SetColumns(tuple(self.sets[i] for i in order), tuple(self.parts[i] for i in order))

    def only(self, names: Sequence[str]) -> SetColumns:
        """The sets of these names only."""
        kept = [i for i, one in enumerate(self.sets) if one.name in set(names)]
        return SetColumns(tuple(self.sets[i] for i in kept), tuple(self.parts[i] for i in kept))

    def state(self) -> dict[str, Any]:
        """Arrays named by set, window and item, and JSON-ready settings."""
        states = [part.state() for part in self.parts]
        arrays = {
            f"{number}.{key}": value for number, state in enumerate(states) for key, value in state.items()
            if key != "json"
        }  # fmt: skip
        info = [{**asdict(one), "columns": state["json"]} for one, state in zip(self.sets, states, strict=True)]
        return {**arrays, "json": {"sets": info}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SetColumns:
        """Restore what `state` gave."""
        sets, parts = [], []
        for number, info in enumerate(state["json"]["sets"]):
            own = {k.removeprefix(f"{number}."): v for k, v in state.items() if k.startswith(f"{number}.")}
            kind = MotifColumns if info["family"] == "motifs" else WindowColumns
            parts.append(kind.from_state({**own, "json": info["columns"]}))
            settings = built(ColumnSettings, info["settings"])
            sets.append(ColumnSet(info["name"], info["source"], info["family"], settings))
        return cls(tuple(sets), tuple(parts))


def rivals_of(columns: Any) -> list[int]:
    """Numbers of the sets of the same family as the first one; none of columns without sets."""
    sets = columns.sets if isinstance(columns, SetColumns) else ()
    return [number for number, one in enumerate(sets) if number and one.family == sets[0].family]


def check_inputs(given: Blocks, candidates: dict[str, FloatArray], n: int) -> None:
    """Refuse no candidates, row counts that disagree, and features that are not finite."""
    if not candidates:
        raise ValueError("no brain candidates")
    rows = row_counts(given) | {f"brain {c}": len(f) for c, f in candidates.items()}
    wrong = {name: count for name, count in rows.items() if count != n}
    if wrong:
        raise ValueError(f"{n} family labels, but other row counts in {wrong}")
    bad = {c: int((~np.isfinite(f)).any(axis=1).sum()) for c, f in candidates.items()}
    if any(bad.values()):
        raise ValueError(f"non-finite brain features, rows affected: { {c: b for c, b in bad.items() if b} }")
