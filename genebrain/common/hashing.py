"""Digests of files: one for what must be trusted byte by byte, one that names large inputs cheaply."""

from __future__ import annotations

import hashlib
from pathlib import Path

from genebrain.common.types import UserError

DIGEST_BYTES = 16
FULLY_HASHED = 64 * 2**20
"""Files of more bytes are named by their size, time of change, first and last MiB."""


def content_digest(path: Path) -> str:
    """BLAKE2b of all bytes of a file, 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of all bytes of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """Name for the content of an input file, 32 hex digits; see ``FULLY_HASHED`` for large ones.

    Raises
    ------
    UserError
        The file cannot be read.
    """
    try:
        facts, digest = path.stat(), hashlib.blake2b(digest_size=DIGEST_BYTES)
        with path.open("rb") as raw:
            if facts.st_size <= FULLY_HASHED:
                digest.update(raw.read())
            else:
                digest.update(f"{facts.st_size} {facts.st_mtime_ns}".encode() + raw.read(2**20))
                raw.seek(-(2**20), 2)
                digest.update(raw.read())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
