"""Several genotype files of the same people, read as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import canonical
from genebrain.genetics.genome.gene_windows import SHOWN, Window
from genebrain.genetics.genotypes.records import GenotypeFile, Sites


class SeveralFiles:
    """Files that share out the genome: one per chromosome, or parts of one.

    The samples must be the same in all; their order may differ, they are taken by name.

    Parameters
    ----------
    files : list of GenotypeFile
    name : str
        For messages.

    Raises
    ------
    UserError
        Files of different people.
    """

    def __init__(self, files: list[GenotypeFile], name: str) -> None:
        self.files, self.name = files, name
        self.samples: list[str] = files[0].samples
        self._rows = [self._by_name(number, file) for number, file in enumerate(files)]
        spellings: dict[str, str] = {}
        for contig in (contig for file in files for contig in file.contigs):
            spellings.setdefault(canonical(contig), contig)
        self.contigs: list[str] = list(spellings.values())

    def _by_name(self, number: int, file: GenotypeFile) -> list[int]:
        """Row in this file of each sample of the first one."""
        row_of = {name: row for row, name in enumerate(file.samples)}
        absent = [name for name in self.samples if name not in row_of]
        if absent or len(row_of) != len(self.samples):
            others = set(row_of) - set(self.samples)
            odd = [*absent, *sorted(others)]
            raise UserError(
                f"{self.name}: the files must hold the same people: file 1 has {len(self.samples)} samples, file "
                f"{number + 1} has {len(row_of)}; {len(absent)} are in the first only and {len(others)} in the other "
                f"only ({', '.join(odd[:SHOWN])}{' ...' if len(odd) > SHOWN else ''}). Take the same people from all "
                "(`bcftools view -S`)"
            )
        return [row_of[name] for name in self.samples]

    @property
    def recorded(self) -> list[str]:
        """Contigs that have records in any file."""
        return [contig for file in self.files for contig in file.recorded]

    def read(self, window: Window, sample_rows: Sequence[int] | None = None) -> Sites:
        """Records of all files that overlap the window, in order."""
        wanted = range(len(self.samples)) if sample_rows is None else sample_rows
        parts = []
        for file, rows in zip(self.files, self._rows, strict=True):
            if canonical(window.contig) in {canonical(contig) for contig in file.recorded}:
                parts.append(file.read(window, [rows[row] for row in wanted]))
        if not parts:
            return self.files[0].read(window, [self._rows[0][row] for row in wanted])
        return parts[0] if len(parts) == 1 else self._merged(parts, window)

    def _merged(self, parts: list[Sites], window: Window) -> Sites:
        """Records of parts of one contig, sorted by position; one that stands in two parts is an error."""
        position = np.concatenate([part.position for part in parts])
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        order = np.argsort(position, kind="stable")
        records = [(ref, alts) for part in parts for ref, alts in zip(part.reference, part.alternatives, strict=True)]
        seen: dict[tuple[int, bytes, tuple[bytes, ...]], int] = {}
        for row in order.tolist():
            if seen.setdefault((int(position[row]), *records[row]), int(owner[row])) != owner[row]:
                raise UserError(
                    f"{self.name}: the record at {window.contig}:{position[row] + 1} stands in two files; name each "
                    "part of the genome once"
                )
        # Each file numbers its phase sets from 0.
        sets = [
            np.full(part.phased.shape, -1, np.int64)
            if part.phase_set is None
            else np.where(part.phase_set < 0, -1, part.phase_set + number * 2**40)
            for number, part in enumerate(parts)
        ]
        left_out: dict[str, int] = {}
        for part in parts:
            for reason, n in part.left_out.items():
                left_out[reason] = left_out.get(reason, 0) + n
        return Sites(
            position[order],
            [records[row][0] for row in order],
            [records[row][1] for row in order],
            np.concatenate([part.alleles for part in parts])[order],
            np.concatenate([part.phased for part in parts])[order],
            np.concatenate([part.passed for part in parts])[order],
            None if all(part.phase_set is None for part in parts) else np.concatenate(sets)[order],
            left_out,
        )

    def __enter__(self) -> SeveralFiles:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self.files:
            file.__exit__(*error)
