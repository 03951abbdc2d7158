"""Gene columns of found words, in front of the allele counts that they were found beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.columns import WindowColumns
from genebrain.alignment.closed_form.motifs.words import Word, counts_of, name_of, word_of
from genebrain.common.types import FloatArray, IntArray


@dataclass(frozen=True)
class MotifColumns:
    """Standardised counts of words, then the columns of allele counts.

    Attributes
    ----------
    words : list of Word
    mean, scale : array [words]
        Of training people.
    alleles : WindowColumns
    """

    words: list[Word]
    mean: FloatArray
    scale: FloatArray
    alleles: WindowColumns

    @classmethod
    def of_words(cls, words: list[Word], counts: FloatArray, alleles: WindowColumns) -> MotifColumns:
        """From the words' counts ``[people, words]`` of training people; words that do not vary are left out."""
        varies = counts.std(axis=0) > 0
        kept = counts[:, varies]
        return cls(
            [word for word, one in zip(words, varies, strict=True) if one], kept.mean(axis=0), kept.std(axis=0), alleles
        )

    @property
    def window(self) -> IntArray:
        """Window index of every column; words belong to all windows, which is the index behind the last."""
        return np.concatenate([np.full(len(self.words), len(self.alleles.widths)), self.alleles.window])

    @property
    def names(self) -> list[str]:
        """The words in IUPAC letters."""
        return [name_of(word) for word in self.words]

    def transform(self, blocks: Sequence[FloatArray]) -> FloatArray:
        """Columns of any people, float32; ``blocks``: counts of all exact words, then allele counts per window."""
        counts = (counts_of(self.words, blocks[0]) - self.mean) / self.scale
        return np.concatenate([counts.astype(np.float32), self.alleles.transform(blocks[1:])], axis=1)

    def state(self) -> dict[str, Any]:
        """Arrays, and JSON-ready settings."""
        alleles = self.alleles.state()
        arrays = {f"alleles.{name}": value for name, value in alleles.items() if name != "json"}
        info = {"words": self.names, "alleles": alleles["json"]}
        return {**arrays, "mean": self.mean, "scale": self.scale, "json": info}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> MotifColumns:
        """Restore what `state` gave."""
        info = state["json"]
        own = {name.removeprefix("alleles."): v for name, v in state.items() if name.startswith("alleles.")}
        alleles = WindowColumns.from_state({**own, "json": info["alleles"]})
        mean, scale = state["mean"], state["scale"]
        if mean.shape != (len(info["words"]),) or scale.shape != mean.shape or not np.isfinite(mean / scale).all():
            raise ValueError(f"{len(info['words'])} words with means {list(mean.shape)} and scales {list(scale.shape)}")
        return cls([word_of(name) for name in info["words"]], mean, scale, alleles)
