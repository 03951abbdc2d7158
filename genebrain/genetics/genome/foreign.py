"""Calls of the libraries that read genotypes and references: cyvcf2, pysam, pgenlib.

The one place where their errors become sentences and their own words are kept off the terminal: what a file
holds must never end in a traceback.
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cyvcf2.cyvcf2
import pysam

from genebrain.common.types import UserError


@contextmanager
def reading(path: Path, advice: str = "Copy or download it again.") -> Iterator[None]:
    """Turn any error of a library into one :class:`~genebrain.common.types.UserError` that names the file.

    Parameters
    ----------
    path : Path
    advice : str
        What the user can do about it.
    """
    _quiet_htslib()
    loud = pysam.set_verbosity(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cyvcf2 warns of regions without a record
            yield
    except (UserError, MemoryError):
        raise
    # cyvcf2 and pgenlib raise bare Exception, RuntimeError, ValueError, OSError ... without a pattern.
    except Exception as error:
        raise as_sentence(path, error, advice) from error
    finally:
        pysam.set_verbosity(loud)


def as_sentence(path: Path, error: Exception, advice: str = "Copy or download it again.") -> UserError:
    """The error of a library in words; for generators, which :func:`reading` cannot wrap."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    lines = str(words.decode(errors="replace") if isinstance(words, bytes) else words).strip().splitlines()
    return UserError(f"{path} cannot be read: {lines[0][:300] if lines else type(error).__name__}. {advice}")


@functools.cache
def _quiet_htslib() -> None:
    """Silence the htslib inside cyvcf2, which has no switch of its own (pysam carries another copy)."""
    # With another build of cyvcf2 its words are shown; nothing else changes.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(cyvcf2.cyvcf2.__file__).hts_set_log_level(0)
