"""The reference genome: upper-case letters of a window from a FASTA file.

Look-ups in a plain or bgzipped FASTA. Every window lies inside its contig, or one error names all that do not.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pysam

from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import match_contigs
from genebrain.genetics.genome.fasta_index import check_fasta_index, refuse_repeated
from genebrain.genetics.genome.foreign import reading
from genebrain.genetics.genome.gene_windows import SHOWN, Window

COMPLEMENT = bytes.maketrans(b"ACGTUNRYSWKMBDHV", b"TGCAANYRSWMKVHDB")
"""Upper-case letters and the ambiguity codes of IUPAC."""
AMBIGUOUS = b"RYSWKMBDHV"
LETTERS = b"ACGTN" + AMBIGUOUS
FIRST_OF_THEM = bytes.maketrans(AMBIGUOUS, b"ACCAGACAAA")
GZIP = b"\x1f\x8b"


def reverse_complement(sequence: bytes) -> bytes:
    """Other strand of upper-case letters, read in its own direction."""
    return sequence.translate(COMPLEMENT)[::-1]


def agrees(ref: bytes, letters: bytes) -> bool:
    """Whether REF of a record is what the reference has there.

    Where that is an ambiguity code, a VCF writes the first letter that it stands for.
    """
    return ref == letters or ref == letters.translate(FIRST_OF_THEM)


class Reference:
    """An open FASTA file.

    Parameters
    ----------
    path : Path
        Plain or bgzipped FASTA. A missing index is made beside the file, or in a temporary folder when that
        place cannot be written.

    Raises
    ------
    UserError
        File absent, not a FASTA, or compressed with gzip instead of bgzip.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.name
        if self.path.is_dir():
            raise UserError(f"reference {self.path} is a folder; name the FASTA file in it")
        if not self.path.is_file():
            raise UserError(f"reference {self.path} does not exist")
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        try:
            self._fasta = self._open()
        except UserError:
            self._drop_scratch()
            raise
        except (OSError, ValueError, pysam.SamtoolsError) as error:
            self._drop_scratch()
            raise UserError(f"reference {self.path} {_what_is_wrong(self.path)}") from error
        self.contigs: dict[str, int] = dict(zip(self._fasta.references, self._fasta.lengths, strict=True))

    def _open(self) -> pysam.FastaFile:
        with self.path.open("rb") as raw:
            compressed = raw.read(2) == GZIP
        fai, gzi = Path(f"{self.path}.fai"), Path(f"{self.path}.gzi")
        if fai.is_file() and (gzi.is_file() or not compressed):
            check_fasta_index(self.path, fai, gzi if compressed else None)
        if not (fai.is_file() and (gzi.is_file() or not compressed)):
            self._scratch = tempfile.TemporaryDirectory(prefix="genebrain-faidx-")
            fai, gzi = (Path(self._scratch.name) / f"reference.{kind}" for kind in ("fai", "gzi"))
            arguments = [str(self.path), "--fai-idx", str(fai)]
            loud = pysam.set_verbosity(0)  # htslib would write its own words to the terminal
            try:
                pysam.faidx(*arguments, *(["--gzi-idx", str(gzi)] if compressed else []))
            finally:
                pysam.set_verbosity(loud)
            refuse_repeated(self.path, fai, gzi if compressed else None)
        return pysam.FastaFile(
            str(self.path),
            filepath_index=str(fai),
            filepath_index_compressed=str(gzi) if compressed else None,
        )

    def check(self, windows: Sequence[Window]) -> None:
        """Resolve the contigs of the windows and make sure that all windows lie inside them."""
        self._names = match_contigs((w.contig for w in windows), list(self.contigs), str(self.path))
        outside = [w for w in windows if w.end > self.contigs[self._names[w.contig]]]
        if outside:
            raise UserError(
                f"{len(outside)} of {len(windows)} windows end behind their contig in {self.path}: "
                + ", ".join(
                    f"{w.name} ends at {w.end:,}, {w.contig} at {self.contigs[self._names[w.contig]]:,}"
                    for w in outside[:SHOWN]
                )
                + ". Is this the genome build of the windows?"
            )

    def fetch(self, window: Window) -> bytes:
        """Upper-case plus-strand letters of a window that was checked before."""
        return self.letters(self._names[window.contig], window.start, window.end).upper().encode("ascii")

    def letters(self, contig: str, start: int, end: int) -> str:
        """Letters ``start`` to ``end`` (0-based half-open, inside the contig) as the file has them, in any case.

        Raises
        ------
        UserError
            They cannot be read, or are none of DNA.
        """
        with reading(self.path, "Copy it again, and delete its index (.fai, .gzi), which is then made anew."):
            text: str = self._fasta.fetch(contig, start, end)
        if len(text) != end - start:
            raise UserError(
                f"{self.path}: {len(text)} of {end - start} bases of {contig}:{start + 1}-{end} could be read; "
                "the file is truncated or its index (.fai, .gzi) belongs to another file"
            )
        plain = text.encode("ascii", "replace")
        if strange := plain.translate(None, LETTERS + LETTERS.lower()):
            first = plain.index(strange[:1])
            raise UserError(
                f"{self.path} holds letters that are none of DNA ({len(strange):,} in {contig}:{start + 1}-{end}), the "
                f"first at {contig}:{start + first + 1}: {text[first]!r}. A reference has A, C, G, T, N and the "
                "ambiguity codes of IUPAC; give one of DNA, or copy the file again"
            )
        return text

    def _drop_scratch(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Reference:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fasta.close()
        self._drop_scratch()


def _what_is_wrong(path: Path) -> str:
    """Why a file cannot serve as a reference, in words: the library says only that it made no index."""
    try:
        with path.open("rb") as raw:
            start = raw.read(18)
        compressed = start[:2] == GZIP
        if compressed and start[12:14] != b"BC":
            return "is compressed with gzip, which has no places to jump to: unpack it, and compress it with `bgzip`"
        with gzip.open(path) if compressed else path.open("rb") as lines:
            first = lines.readline(80)
            second = lines.readline(80)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if not first:
        return "is empty"
    if not first.startswith(b">"):
        return f"is no FASTA: it must begin with '>NAME', and begins with {first[:20]!r}"
    if not second.strip():
        return f"has no letters behind its first line, {first[:40].decode(errors='replace').strip()!r}"
    return (
        "cannot be indexed: all lines of a contig but the last must be equally long, without blank ones, and every "
        "name stands once; `samtools faidx` names the line"
    )
