"""Records of a window as arrays: what every reader of genotype files returns.

Records come in file order, multiallelic ones whole; missing, haploid and unphased calls are told apart. A file
that is cut off or damaged is an error, never fewer records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import canonical, match_contigs
from genebrain.genetics.genome.gene_windows import SHOWN, Window

Alleles = NDArray[np.signedinteger[Any]]
MISSING, ABSENT = -1, -2
"""Codes in :attr:`Sites.alleles`: the allele is not known; the haplotype does not exist (haploid call)."""


def allele_type(highest: int) -> type[np.int8] | type[np.int16]:
    """The smallest type for allele numbers up to ``highest``: cohorts are large, and records name few alleles."""
    return np.int8 if highest <= np.iinfo(np.int8).max else np.int16


@dataclass(frozen=True)
class Sites:
    """Records that overlap a window, as the file has them.

    Attributes
    ----------
    position : int64 ``[records]``
        0-based place of the first reference base.
    reference : list of bytes
        REF of each record, as written.
    alternatives : list of tuple of bytes
        ALT alleles of each record; ``*`` and symbolic ones included.
    alleles : int8 (int16 where a record names very many ALT alleles) ``[records, subjects, 2]``
        Allele numbers (0 = REF), ``MISSING`` or ``ABSENT``.
    phased : bool ``[records, subjects]``
    passed : bool ``[records]``
        FILTER is PASS or not set.
    phase_set : int64 ``[records, subjects]``, optional
        Number of the set in which a genotype was phased (FORMAT/PS); None where the file has no such field.
    left_out : dict of str to int
        Records of the window that the user's filters dropped, by reason.
    """

    position: NDArray[np.int64]
    reference: list[bytes]
    alternatives: list[tuple[bytes, ...]]
    alleles: Alleles
    phased: NDArray[np.bool_]
    passed: NDArray[np.bool_]
    phase_set: NDArray[np.int64] | None = None
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.reference)


class GenotypeFile(Protocol):
    """What a reader offers; ``read`` takes rows of ``samples`` (any order, repeats allowed), None for all."""

    samples: list[str]
    contigs: list[str]

    @property
    def recorded(self) -> list[str]:
        """Contigs that have records at all."""

    def read(self, window: Window, sample_rows: Sequence[int] | None = None) -> Sites:
        """All records that overlap the window."""

    def __enter__(self) -> GenotypeFile: ...

    def __exit__(self, *error: object) -> None: ...


def recorded_contigs(windows: Sequence[Window], file: GenotypeFile, source: str) -> None:
    """Refuse windows on contigs that a file does not know, or that it names without having a record there.

    Raises
    ------
    UserError
        All such contigs together.
    """
    wanted = list(dict.fromkeys(window.contig for window in windows))
    match_contigs(wanted, file.contigs, source)
    have = {canonical(name) for name in file.recorded}
    if empty := [contig for contig in wanted if canonical(contig) not in have]:
        n_lost = sum(window.contig in empty for window in windows)
        raise UserError(no_record_at_all(empty, n_lost, len(windows), source))


def no_record_at_all(contigs: Sequence[str], n_lost: int, n_windows: int, source: str) -> str:
    """What to say of contigs that a header names and no record is on."""
    more = " ..." if len(contigs) > SHOWN else ""
    return (
        f"{source} has no record at all on {', '.join(contigs[:SHOWN])}{more}, where {n_lost} of {n_windows} windows "
        "lie: everybody would have the reference sequence there. Is it the file of one chromosome? `genotypes:` takes "
        "a list of files or a pattern (genotypes.chr*.vcf.gz); or take these windows out"
    )


def sample_rows(file: GenotypeFile, samples: Sequence[str], source: object) -> list[int]:
    """Row of each sample in the file; unknown ones are one error with both counts.

    Raises
    ------
    UserError
        Some samples have no genotypes, or none was asked for.
    """
    if not len(samples):
        raise UserError(f"no sample was asked for; {source} holds {len(file.samples)}")
    row_of = {name: row for row, name in enumerate(file.samples)}
    unknown = [name for name in dict.fromkeys(samples) if name not in row_of]
    if unknown:
        rewrites = {
            "without 'sub-'": lambda name: name.removeprefix("sub-"),
            "with 'sub-'": lambda name: f"sub-{name}",
            "written twice, FID_IID": lambda name: f"{name}_{name}",
            "without the family part of FID_IID": lambda name: name.split("_", 1)[-1],
        }
        hints = [
            f"{n} of them would match {how}"
            for how, rewrite in rewrites.items()
            if (n := sum(rewrite(name) in row_of for name in unknown))
        ]
        raise UserError(
            f"{len(unknown)} of {len(set(samples))} samples have no genotypes in {source} (which holds "
            f"{len(row_of)}): {', '.join(unknown[:SHOWN])}{' ...' if len(unknown) > SHOWN else ''}. "
            + ("; ".join(hints) + ". " if hints else "")
            + "Correct genotype_id in the participants table or leave these people out."
        )
    return [row_of[name] for name in samples]
