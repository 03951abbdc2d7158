"""Named tensors on disk, as safetensors: what is read back is what was given, or nothing was written.

The format holds plain memory in C order, and its own writer for numpy takes the memory of any array as if it were in
that order: a transposed array would come back scrambled without an error. Everything here that is written goes through
:func:`write_tensors`, which brings memory in order, writes, and compares what stands in the file with what was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from genebrain.common.files import StorageError, replacing
from genebrain.common.types import UserError

if TYPE_CHECKING:
    from torch import Tensor

COMPARED = 2**26
"""Bytes that are compared at a time after writing."""


def write_tensors(
    path: Path,
    tensors: Mapping[str, NDArray[Any]] | Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    private: bool = True,
) -> None:
    """Write arrays or torch tensors of any layout in memory; the file appears whole, or not at all.

    Shapes and types are kept, ``[]`` and ``[0, n]`` among them. Tensors that share memory become tensors of their
    own; those of a GPU are written from the CPU.

    Parameters
    ----------
    tensors : mapping
        numpy arrays or torch tensors by name, all of one kind.
    metadata : mapping, optional
        Text for the header of the file.
    private : bool
        Mode 0600; see :func:`genebrain.common.files.replacing`.

    Raises
    ------
    StorageError
        The disk refuses, or what stands in the file is not what was given.
    """
    arrays = all(isinstance(values, np.ndarray | np.generic) for values in tensors.values())
    kept: dict[str, Any] = _plain_arrays(tensors) if arrays else _plain_tensors(tensors)
    with replacing(path, private=private) as partial:
        if arrays:
            from safetensors.numpy import save_file as save
        else:
            from safetensors.torch import save_file as save
        save(kept, partial, metadata=None if metadata is None else dict(metadata))
        differ = _differing(partial, kept, "numpy" if arrays else "pt")
        if differ:
            raise StorageError(
                f"{path} was not written: {len(differ)} of {len(kept)} tensors do not come back as they were given "
                f"({', '.join(differ[:5])}); check the disk and run the same command again"
            )
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file.

    Raises
    ------
    UserError
        The file is missing or cannot be read.
    """
    return _read(path, "numpy")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file on the CPU; see :func:`read_arrays`."""
    return _read(path, "pt")


def read_metadata(path: Path) -> dict[str, str]:
    """Text of the header of a file; see :func:`read_arrays`."""
    with _opened(path, "numpy") as stored:
        return dict(stored.metadata() or {})


def _read(path: Path, framework: str) -> dict[str, Any]:
    with _opened(path, framework) as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)


@contextmanager
def _opened(path: Path, framework: str) -> Iterator[Any]:
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        with safe_open(path, framework=framework) as stored:
            yield stored
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged and cannot be read ({error})") from error


def _plain_arrays(tensors: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The same values in C order and in the byte order of the format; copies only where they must be."""
    plain = {}
    for name, values in tensors.items():
        values = np.asarray(values)
        # Not np.ascontiguousarray, which makes a row of one number out of a number.
        plain[name] = np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C")
    return plain


def _plain_tensors(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The same values on the CPU, dense, and in memory of their own."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, values in tensors.items():
        one = cast("Tensor", values).detach().cpu().resolve_conj().resolve_neg().contiguous()
        memory = one.untyped_storage().data_ptr()
        if one.numel() and (memory in seen or one.untyped_storage().nbytes() != one.nbytes):
            one = one.clone()
        seen.add(memory)
        plain[name] = one
    return plain


def _differing(path: Path, given: Mapping[str, Any], framework: str) -> list[str]:
    """Names whose values, type or shape in the file are not the given ones; compared byte for byte, in pieces."""
    with safe_open(path, framework=framework) as stored:
        found = set(stored.keys())
        return [name for name in given.keys() | found if name not in given or name not in found or not _same(
            stored.get_tensor(name) if not _large(given[name]) else stored.get_slice(name), given[name]
        )]  # fmt: skip


def _large(values: Any) -> bool:
    return values.ndim > 0 and values.nbytes > COMPARED


def _same(stored: Any, given: Any) -> bool:
    if not _large(given):
        return stored.dtype == given.dtype and stored.shape == given.shape and bool((_raw(stored) == _raw(given)).all())
    if tuple(stored.get_shape()) != tuple(given.shape):
        return False
    step = max(1, COMPARED * len(given) // given.nbytes)
    for start in range(0, len(given), step):
        end = min(start + step, len(given))  # a slice of a file that reaches beyond its end is an error
        one, other = stored[start:end], given[start:end]
        if one.dtype != other.dtype or not bool((_raw(one) == _raw(other)).all()):
            return False
    return True


def _raw(values: Any) -> Any:
    """The bytes of an array or a tensor, so that NaN equals itself and -0 is not 0."""
    if isinstance(values, np.ndarray):
        return values.reshape(-1).view(np.uint8)
    import torch

    return values.reshape(-1).view(torch.uint8)
