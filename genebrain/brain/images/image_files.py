"""Opening of NIfTI files that nobody has vouched for: what a header claims is compared with the file before it is read.

The one place where nibabel opens a file. Whatever a file holds, the outcome is an image or a sentence that says what is
wrong with it; memory is taken for what can be there, not for what a header claims.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np

from genebrain.common.types import UserError

MOST_VOXELS = 2**26
"""Of one volume: 400 voxels along each axis."""
MOST_FRAMES = 200_000
"""Three hours of 20 frames per second."""
LARGEST_HEADER = 64 * 2**20
DENSEST_GZIP = 1032
"""Deflate cannot make more bytes than this out of one."""
_GZIP = b"\x1f\x8b"


def load_image(path: Path | str) -> Any:
    """Open an image without reading its values.

    Raises
    ------
    UserError
        No file, not a NIfTI image, or one whose header claims more than the file can hold. Messages do not name the
        file: who calls knows it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"not a readable NIfTI image: {_what_it_is(path)}")
    try:
        with path.open("rb") as raw:
            start = raw.read(2)
        if (start == _GZIP) != (path.suffix == ".gz"):
            packed, other = ("", path.name + ".gz") if start == _GZIP else ("not ", path.name.removesuffix(".gz"))
            if start:
                raise UserError(
                    f"not a readable NIfTI image: it is {packed}compressed by gzip, against the end of its name "
                    f"(a NIfTI image would be called *.nii{'.gz' * other.endswith('.gz')})"
                )
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            _check_extensions(stream)  # type: ignore[arg-type]
        image = nib.load(path)
        _check_size(image, path)
    except UserError:
        raise
    except (Exception, MemoryError) as error:  # nibabel raises a dozen kinds for damaged files
        words = str(error).replace(str(path), path.suffix) or type(error).__name__
        raise UserError(f"not a readable NIfTI image: {words}") from error
    return image


def read_values(image: Any, what: str = "image") -> Any:
    """All values of an image in its unit; for small ones, such as masks and label images.

    Raises
    ------
    UserError
        The data end early or are damaged.
    """
    try:
        return np.asarray(image.dataobj)
    except (Exception, MemoryError) as error:
        raise UserError(f"the values of the {what} cannot be read: {error}; the file is cut or damaged") from error


def _what_it_is(path: Path) -> str:
    if path.is_symlink():
        return "it is a link that points nowhere; was the file fetched (datalad get)?"
    return "it is a folder" if path.is_dir() else "there is no such file" if not path.exists() else "it is no file"


def _check_extensions(stream: BinaryIO) -> None:
    """Refuse a header that would make its reader take memory for more than the file has."""
    head = stream.read(544)
    n_header, order = next(
        ((size, order) for order in "<>" for size in (348, 540) if head[:4] == np.array(size, f"{order}i4").tobytes()),
        (0, "<"),
    )
    if not n_header:
        return  # nibabel says what it is
    magic, wanted = (head[344:348], b"n+1") if n_header == 348 else (head[4:8], b"n+2")
    if magic[:3] != wanted:
        raise UserError(
            f"not a readable NIfTI image: the header's magic is {magic!r}, of a single file it is {wanted!r}"
        )
    place, kind = (108, "f4") if n_header == 348 else (168, "i8")
    offset = float(np.frombuffer(head[place : place + 8], f"{order}{kind}")[0])
    if not math.isfinite(offset) or not 0 <= offset <= LARGEST_HEADER:
        raise UserError(f"the header says that its values begin at byte {offset:g}: it is damaged")
    if not head[n_header : n_header + 1].strip(b"\0"):
        return  # says that there are none
    position, last = n_header + 4, int(offset)
    while position + 16 <= last:
        stream.seek(position)
        size = np.frombuffer(stream.read(8), f"{order}i4")
        if len(size) < 2 or not 8 <= size[0] <= last - position:
            raise UserError("an extension of the header is longer than the header: it is damaged")
        position += int(size[0])


def _check_size(image: Any, path: Path) -> None:
    """Compare what the header claims with the size of the file."""
    shape = tuple(int(n) for n in image.shape)
    if any(n < 1 for n in shape):
        raise UserError(f"the image has an axis without length: its shape is {shape}")
    dtype = image.get_data_dtype()
    claimed, size = math.prod(shape) * dtype.itemsize, path.stat().st_size
    there = size * (DENSEST_GZIP if path.suffix == ".gz" else 1)
    if claimed > there:
        room = f"{size:,} bytes" + (", compressed" if path.suffix == ".gz" else "")
        raise UserError(
            f"the header claims {' x '.join(map(str, shape))} values ({claimed:,} bytes), the file has {room}: it is "
            "cut or damaged, copy it again"
        )
    frame, frames = math.prod(shape[:3]), math.prod(shape[3:])
    if not isinstance(image, nib.Cifti2Image) and (frame > MOST_VOXELS or frames > MOST_FRAMES):
        raise UserError(
            f"an image of {' x '.join(map(str, shape))} values is too large: at most {MOST_VOXELS:,} voxels and "
            f"{MOST_FRAMES:,} frames are read"
        )
