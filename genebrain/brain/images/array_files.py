"""``.npy`` files that nobody has vouched for: a header is compared with the size of the file before it is believed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from genebrain.common.types import UserError

_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def open_array(path: Path | str) -> NDArray[Any]:
    """An array of numbers in a ``.npy`` file, mapped and not yet read.

    Raises
    ------
    UserError
        Not such a file, Python objects, text or records in it, or a header that claims another size than the file has.
    """
    path = Path(path)
    if not path.is_file():  # opening a pipe would wait for ever
        raise UserError("the .npy file cannot be read: there is none (a link that points nowhere, a folder)")
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start == b"PK\x03\x04":
                raise UserError("it is an .npz archive or another zip file: save the one array with numpy.save")
            shape, _, dtype = _header(file)
            offset = file.tell()
        size = path.stat().st_size - offset
        if dtype.hasobject:
            raise UserError("it holds Python objects, which are not read: save an array of numbers")
        if dtype.kind not in "biufc":
            raise UserError(f"it holds {dtype} values, expected numbers")
        if (claimed := math.prod(shape) * dtype.itemsize) != size:
            raise UserError(
                f"its header says {' x '.join(map(str, shape))} values of {dtype} ({claimed:,} bytes), {size:,} bytes "
                "follow: it is cut or damaged, copy it again"
            )
        if not size:
            raise UserError(f"it is empty: its shape is {shape}")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except UserError as error:
        raise UserError(f"the .npy file cannot be read: {error}") from error
    except (Exception, MemoryError) as error:  # headers are parsed as Python literals, and fail in many ways
        why = str(error).replace(str(path), ".npy").split(". ")[0]
        raise UserError(f"the .npy file cannot be read: {why}") from error


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type that the header claims."""
    version = npy.read_magic(file)
    if version not in _READERS:
        raise UserError(f"version {'.'.join(map(str, version))} of the format is not known")
    shape, fortran, dtype = _READERS[version](file)
    if any(n < 0 for n in shape):
        raise UserError(f"its header claims the shape {shape}")
    return shape, fortran, dtype
