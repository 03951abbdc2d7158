"""One contig, several spellings: ``chr1`` and ``1``, ``chrM`` and ``MT``, PLINK's 23 for X.

Resolve names before anything is read. A region query with a name that a file does not know gives no record and no
error, and every subject would silently be all-reference. The name as the file spells it, or one error with all names
that are absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from genebrain.common.types import UserError

ALIASES = {"M": "MT", "23": "X", "24": "Y", "26": "MT"}


def canonical(name: str) -> str:
    """Name without ``chr``, upper case, with one spelling of X, Y and MT."""
    bare = _bare(name)
    return ALIASES.get(bare, bare)


def _bare(name: str) -> str:
    return (name[3:] if name.lower().startswith("chr") else name).upper()


def match_contigs(wanted: Iterable[str], available: Sequence[str], source: str) -> dict[str, str]:
    """Spelling of each wanted contig in ``available``; an exact match wins.

    Raises
    ------
    UserError
        Names that are absent, or that fit two contigs, all together.
    """
    by_canonical: dict[str, list[str]] = {}
    for name in available:
        by_canonical.setdefault(canonical(name), []).append(name)
    found: dict[str, str] = {}
    absent: list[str] = []
    ambiguous: list[str] = []
    for name in dict.fromkeys(wanted):
        candidates = [name] if name in available else by_canonical.get(canonical(name), [])
        if len(candidates) == 1:
            found[name] = candidates[0]
        else:
            (ambiguous if candidates else absent).append(name)
    if absent or ambiguous:
        known = ", ".join(available[:10]) + (" ..." if len(available) > 10 else "")
        parts = []
        if absent:
            parts.append(f"{len(absent)} contigs of the windows are absent ({', '.join(absent)})")
        if ambiguous:
            parts.append(f"{len(ambiguous)} fit more than one contig ({', '.join(ambiguous)})")
        raise UserError(
            f"{source}: {' and '.join(parts)}; it has {len(available)}: {known or 'none'}. "
            "Drop those windows or use the files of one genome build."
        )
    return found


def recorded_name(wanted: str, recorded: Sequence[str], available: Sequence[str], source: str) -> str:
    """Spelling of a contig under which a file has its records, else under which it knows it.

    Raises
    ------
    UserError
        It is absent, or its records stand under two spellings: reading one of them would lose the others.
    """
    names = [name for name in recorded if canonical(name) == canonical(wanted)]
    names = [name for name in names if _bare(name) == _bare(wanted)] or names
    if len(names) > 1:
        raise UserError(
            f"{source}: the records of one contig stand under {len(names)} names ({', '.join(names)}), as in files of "
            "two sources that were put together; give them one name (`bcftools annotate --rename-chrs`) and sort"
        )
    return names[0] if names else match_contigs([wanted], available, source)[wanted]
