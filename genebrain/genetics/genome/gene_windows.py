"""Windows of the reference genome, read from BED, GTF or GFF3.

Turn a table of genes or regions into :class:`Window` objects in one coordinate system. What comes back is
0-based half-open, in the order of the file, with unique names; lines that cannot be used are reported together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from genebrain.common.text_lines import text_lines
from genebrain.common.types import UserError

SHOWN = 5
GTF_ATTRIBUTE = re.compile(r'(\w+) "([^"]*)"')
NAME_KEYS = ("gene_name", "Name", "gene", "gene_id", "ID")


@dataclass(frozen=True)
class Window:
    """A stretch of the reference genome with a strand, usually a gene body.

    Attributes
    ----------
    contig : str
        As the windows file spells it (``chr20`` or ``20``).
    start, end : int
        0-based half-open, in bases of the reference.
    name : str
        Unique within one set of windows.
    strand : str
        ``+`` or ``-``; on ``-`` sequences are reverse-complemented and chunks run from ``end`` to ``start``.
    """

    contig: str
    start: int
    end: int
    name: str
    strand: str = "+"

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"window {self.name}: start {self.start} must be >= 0 and below end {self.end}")
        if self.strand not in ("+", "-"):
            raise ValueError(f"window {self.name}: strand is '+' or '-', not {self.strand!r}")

    def __len__(self) -> int:
        return self.end - self.start


def read_windows(path: str | Path) -> list[Window]:
    """Read BED (3 to 12 columns), GTF or GFF3, plain or gzipped; the format follows from the file's name.

    GTF and GFF3 rows are 1-based closed and only those of type ``gene`` are taken, named by ``gene_name``,
    else ``Name``, else ``gene_id`` or ``ID``. BED is 0-based half-open; a missing name becomes
    ``contig:start-end`` and a missing strand ``+``. A name that occurs more than once (a gene in both
    pseudo-autosomal regions, say) is made unique by its place: ``NAME@contig:start-end``.

    Raises
    ------
    UserError
        No such file, unknown format, no usable row, rows that do not parse (all counted, first five shown),
        or the same window listed twice.
    """
    path = Path(path)
    parse = _row_parser(path)
    if not path.is_file():
        raise UserError(f"windows file {path} does not exist")
    windows: list[Window] = []
    problems: list[str] = []
    for number, line in _lines(path):
        try:
            window = parse(line.split("\t") if "\t" in line else line.split())
        except (ValueError, IndexError) as error:
            problems.append(f"line {number}: {error}")
            continue
        if window is not None:
            windows.append(window)
    if problems:
        raise UserError(
            f"{path}: {len(problems)} rows cannot be read as windows: "
            + "; ".join(problems[:SHOWN])
            + (" ..." if len(problems) > SHOWN else "")
        )
    if not windows:
        raise UserError(
            f"{path} holds no window (of GTF and GFF3 files only rows of type 'gene' are taken; "
            "make a BED of the regions you want)"
        )
    return _unique_names(windows, path)


def _row_parser(path: Path) -> Callable[[list[str]], Window | None]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".bgz"):
        suffixes.pop()
    kind = suffixes[-1] if suffixes else ""
    if kind == ".bed":
        return _bed_row
    if kind == ".gtf":
        return _gtf_row
    if kind in (".gff", ".gff3"):
        return _gff_row
    raise UserError(f"windows file {path}: the name must end in .bed, .gtf, .gff or .gff3 (.gz may follow)")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text_lines(path), start=1):
        if line.startswith("##FASTA"):  # a GFF3 file may carry its sequences behind the rows
            return
        if line.strip() and not line.startswith(("#", "track", "browser")):
            yield number, line


def _bed_row(fields: list[str]) -> Window:
    if len(fields) < 3:
        raise ValueError(f"{len(fields)} columns, BED has at least 3 (contig, start, end)")
    contig, start, end = fields[0], _whole(fields[1]), _whole(fields[2])
    name = fields[3] if len(fields) > 3 and fields[3] not in ("", ".") else f"{contig}:{start}-{end}"
    return Window(contig, start, end, name, _strand(fields[5] if len(fields) > 5 else "."))


def _annotation_row(fields: list[str], attributes: Callable[[str], dict[str, str]]) -> Window | None:
    if len(fields) < 9:
        raise ValueError(f"{len(fields)} columns, GTF and GFF3 have 9")
    if fields[2] != "gene":
        return None
    found = attributes(fields[8])
    name = next((found[key] for key in NAME_KEYS if found.get(key)), f"{fields[0]}:{fields[3]}-{fields[4]}")
    return Window(fields[0], _whole(fields[3]) - 1, _whole(fields[4]), name, _strand(fields[6]))


def _gtf_row(fields: list[str]) -> Window | None:
    return _annotation_row(fields, lambda text: dict(GTF_ATTRIBUTE.findall(text)))


def _gff_row(fields: list[str]) -> Window | None:
    def attributes(text: str) -> dict[str, str]:
        pairs = (item.split("=", 1) for item in text.strip().split(";") if "=" in item)
        return {unquote(key.strip()): unquote(value.strip()) for key, value in pairs}

    return _annotation_row([unquote(fields[0]), *fields[1:]], attributes)


def _whole(text: str) -> int:
    if re.fullmatch(r"[0-9]+", text.strip()) is None:
        raise ValueError(f"{text!r} is no place (a whole number); begin header lines with #")
    return int(text)


def _strand(text: str) -> str:
    return "+" if text in (".", "?", "") else text


def _unique_names(windows: list[Window], path: Path) -> list[Window]:
    repeated = [window for window, n in Counter(windows).items() if n > 1]
    if repeated:
        raise UserError(
            f"{path}: {len(repeated)} windows are listed more than once: "
            + ", ".join(f"{w.name} ({w.contig}:{w.start}-{w.end})" for w in repeated[:SHOWN])
        )
    n_of_name = Counter(window.name for window in windows)
    return [
        window
        if n_of_name[window.name] == 1
        else replace(window, name=f"{window.name}@{window.contig}:{window.start}-{window.end}")
        for window in windows
    ]
