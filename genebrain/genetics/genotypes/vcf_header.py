"""Header of a VCF or BCF: its samples and fields, read without a library.

The library that reads the records refuses some headers without saying why; here the reasons have words.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from genebrain.common.types import UserError
from genebrain.genetics.genome.bgzf import BgzfBlocks
from genebrain.genetics.genome.gene_windows import SHOWN

BCF_MAGIC = b"BCF\x02"
LONGEST = 16 * 2**20
COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]


@dataclass(frozen=True)
class VcfHeader:
    """What the header says.

    Attributes
    ----------
    binary : bool
        A BCF.
    samples : tuple of str
    contigs : tuple of str
        Those of the ``##contig`` lines, by number; may be none, and empty where a number is left out.
    end : tuple of int
        Where the first record begins: place of its block, and byte inside the unpacked block.
    info, formats : frozenset of str
        Declared INFO and FORMAT fields.
    """

    binary: bool
    samples: tuple[str, ...]
    contigs: tuple[str, ...]
    end: tuple[int, int]
    info: frozenset[str]
    formats: frozenset[str]


def read_vcf_header(path: Path) -> VcfHeader:
    """Read and check the header of a bgzipped VCF or of a BCF.

    Raises
    ------
    UserError
        Not a VCF or BCF, no samples, or sample names that stand twice.
    """
    text, end, binary = _text(path)
    lines = text.split("\n")
    last = lines[-1].rstrip("\r").split("\t")
    if last[: len(COLUMNS) - 1] != COLUMNS[:-1]:
        raise UserError(
            f"{path}: the header ends in a line with the columns {' '.join(last[:9])[:80]!r}; {' '.join(COLUMNS)} and "
            "the sample names, with tabs between, are wanted"
        )
    samples = last[len(COLUMNS) :]
    if not samples:
        raise UserError(
            f"{path}: the file has no samples (it lists sites only, without genotypes). Take the file that has a "
            "column for each person"
        )
    counts: dict[str, int] = {}
    for name in samples:
        counts[name] = counts.get(name, 0) + 1
    if twice := [name for name, n in counts.items() if n > 1]:
        more = f" and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
        raise UserError(
            f"{path}: {len(twice)} of {len(counts)} sample names stand more than once in the header: "
            f"{', '.join(twice[:SHOWN])}{more}; whose genotypes are whose cannot be known. Rename or drop the copies "
            "(`bcftools reheader -s`, `bcftools view -s ^NAME`)"
        )
    return VcfHeader(
        binary,
        tuple(samples),
        _contigs(lines),
        end,
        frozenset(_declared(lines, "INFO")),
        frozenset(_declared(lines, "FORMAT")),
    )


def _declared(lines: list[str], kind: str) -> list[str]:
    """Ids of the ``##KIND=<ID=...>`` lines, in order."""
    pattern = re.compile(rf"##{kind}=<(?:[^\"]*?,)?ID=([^,>]+)")
    return [found[1] for line in lines if (found := pattern.match(line))]


def _contigs(lines: list[str]) -> tuple[str, ...]:
    """Contigs by number; a BCF may number them itself (``IDX=``)."""
    numbered: dict[int, str] = {}
    for line in lines:
        if name := re.match(r"##contig=<(?:[^\"]*?,)?ID=([^,>]+)", line):
            own = re.search(r"[,<]IDX=(\d+)", line)
            numbered[int(own[1]) if own else len(numbered)] = name[1]
    most = max(numbered, default=-1)
    if most > 10**7:  # a damaged number must not take the memory
        return tuple(numbered.values())
    return tuple(numbered.get(number, "") for number in range(most + 1))


def _text(path: Path) -> tuple[str, tuple[int, int], bool]:
    """Header without the last line feed, the place behind it, and whether it is that of a BCF."""
    held, place = b"", 0
    with BgzfBlocks(path) as blocks:
        while place < blocks.size and len(held) < LONGEST:
            letters, following = blocks.block(place)
            held += letters
            if (found := _complete(held, path)) is not None:
                text, length = found
                here = (place, len(letters) - (len(held) - length))
                return text.decode("utf-8", errors="replace"), here, held.startswith(BCF_MAGIC)
            place = following
    if not held:
        raise UserError(f"{path} is no VCF or BCF: it holds nothing. Copy or download it again.")
    raise UserError(f"{path}: the header has no line '#CHROM POS ID ...' with the sample names, or is cut off")


def _complete(held: bytes, path: Path) -> tuple[bytes, int] | None:
    """The header, and how many bytes it takes, once ``held`` has all of it."""
    if held.startswith(BCF_MAGIC):
        length = 9 + struct.unpack_from("<I", held, 5)[0] if len(held) >= 9 else LONGEST
        return (held[9:length].rstrip(b"\x00\n"), length) if len(held) >= length else None
    if held and not held.startswith(b"##fileformat=VCF"):
        raise UserError(
            f"{path} is no VCF or BCF: it must begin with '##fileformat=VCF', and begins with {held[:20]!r}"
        )
    names = held.find(b"\n#CHROM")
    end = held.find(b"\n", names + 1) if names >= 0 else -1
    return (held[:end], end + 1) if end >= 0 else None
