"""Changes that a broken disk, a cut copy or an editor makes to a file, chosen by a random generator."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


def damage(path: Path, rng: np.random.Generator) -> str:
    """Change one file in place, keeping its time stamps; returns what was done."""
    facts, content = path.stat(), bytearray(path.read_bytes())
    n = len(content)
    where = int(rng.integers(max(n, 1)))
    ways = ["bit", "byte", "cut", "longer", "gone", "empty", "hole", "zeros", "digit", "twice", "swapped"]
    what = str(rng.choice(ways)) if n else "longer"
    if what == "bit":
        content[where] ^= 1 << int(rng.integers(8))
    elif what == "byte":
        content[where] = int(rng.integers(256))
    elif what == "cut":
        del content[where:]
    elif what == "longer":
        content += rng.bytes(int(rng.integers(1, 100)))
    elif what == "empty":
        content.clear()
    elif what == "hole":
        del content[where : where + int(rng.integers(1, 50))]
    elif what == "zeros":
        content[where : where + 64] = bytes(len(content[where : where + 64]))
    elif what == "digit":
        digits = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
        if digits:
            at = digits[int(rng.integers(len(digits)))]
            content[at] = 48 + (content[at] - 48 + int(rng.integers(1, 10))) % 10
    elif what == "twice":
        content[where:where] = content[where : where + 100]
    elif what == "swapped" and n > 8:
        half = n // 2
        content[:4], content[half : half + 4] = content[half : half + 4], content[:4]
    if what == "gone":
        path.unlink()
        return what
    path.write_bytes(bytes(content))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return f"{what} at {where}"
