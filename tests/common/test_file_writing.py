"""A file is there whole or not at all, with the mode it should have, and a refusal of the disk is said in words."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from genebrain.common import files as file_writing
from genebrain.common.files import ArrayWriter, explained, make_private, private_stream, replacing, write_private
from genebrain.common.types import UserError

WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("new"),
    "safetensors of torch": lambda path: save_file({"a": torch.arange(3)}, path),
    "safetensors of numpy": lambda path: save_arrays({"a": np.arange(3)}, path),
    "figure": lambda path: Figure().savefig(path, format="png"),
    "parquet": lambda path: pd.DataFrame({"a": [1]}).to_parquet(path),
    "table": lambda path: pd.DataFrame({"a": [1]}).to_csv(path),
}
FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from genebrain.common.files import replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
with replacing(Path(sys.argv[1])) as path:
    save_file({"a": torch.zeros(10_000)}, path)
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """New files are for everybody unless a mode says otherwise."""
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that stands under the name already."""
    path = tmp_path / "file"
    path.write_text("old")
    return path


def alone_with(target: Path, content: str) -> bool:
    return list(target.parent.iterdir()) == [target] and target.read_text() == content


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("write", WRITERS.values(), ids=list(WRITERS))
def test_mode_does_not_depend_on_the_writer(target: Path, write: Callable[[Path], object]) -> None:
    for private, mode in ((True, 0o600), (False, 0o666)):
        with replacing(target, private=private) as path:
            assert mode_of(path) == mode, "also while it is written"
            write(path)
        assert mode_of(target) == mode
        assert list(target.parent.iterdir()) == [target]
        assert target.read_bytes() != b"old"


def test_public_files_follow_the_umask(target: Path) -> None:
    old = os.umask(0o027)
    try:
        with replacing(target, private=False) as path:
            path.write_text("new")
    finally:
        os.umask(old)
    assert mode_of(target) == 0o640


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("manager", [replacing, private_stream, lambda path: ArrayWriter(path, (2,), np.float32)])
def test_whatever_stops_the_writer_the_old_file_stays(target: Path, manager: Callable, stop: type) -> None:
    with pytest.raises(stop), manager(target):
        raise stop
    assert alone_with(target, "old")


def test_the_old_file_is_there_until_the_block_ends(target: Path) -> None:
    with private_stream(target) as stream:
        stream.write(b"new")
        stream.flush()
        assert target.read_text() == "old"
        assert len(list(target.parent.glob(file_writing.LEFTOVERS))) == 1
    assert alone_with(target, "new")


def test_two_writers_of_one_file_do_not_meet(target: Path) -> None:
    with private_stream(target) as first, private_stream(target) as second:
        first.write(b"first")
        second.write(b"second")
    assert alone_with(target, "first"), "the last to end"


@pytest.mark.usefixtures("open_umask")
def test_private_folders(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    make_private(tmp_path / "a" / "b")
    assert mode_of(tmp_path / "a" / "b") == 0o700


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize(("shape", "dtype"), [((5, 3), np.float16), ((4,), bool), ((0, 7), np.float32), ((), np.int64)])
def test_array_in_pieces_is_the_file_of_numpy(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    values = (np.arange(np.prod(shape)).reshape(shape) % 3).astype(dtype)
    with ArrayWriter(tmp_path / "pieces.npy", shape, dtype) as writer:
        for part in np.split(values, [2]) if shape else [values]:
            writer.add(np.asfortranarray(part))
        assert writer.sha256 == ""
    np.save(tmp_path / "whole.npy", values)
    content = (tmp_path / "pieces.npy").read_bytes()
    assert content == (tmp_path / "whole.npy").read_bytes()
    assert writer.sha256 == hashlib.sha256(content).hexdigest()
    assert mode_of(tmp_path / "pieces.npy") == 0o600


@pytest.mark.parametrize("n_given", [1, 3])
def test_array_with_missing_or_surplus_values_is_not_written(target: Path, n_given: int) -> None:
    with pytest.raises(ValueError, match="values of the array"), ArrayWriter(target, (2,), np.float32) as writer:
        writer.add(np.zeros(n_given))
    assert alone_with(target, "old")


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "No space left.*is kept; free space"), (errno.EDQUOT, "free space"), (errno.EROFS, "permissions")],
)
def test_refusals_are_said_in_words(target: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_writing.os, "fsync", refuse)
    with pytest.raises(UserError, match=rf"can not write to {target.parent}: .*{advice}"):
        write_private(target, b"new")
    assert alone_with(target, "old")


def test_a_folder_that_is_not_there_or_is_a_file_is_said_in_words(target: Path) -> None:
    with pytest.raises(UserError, match=f"can not write to {target.parent / 'none'}: No such file"):
        write_private(target.parent / "none" / "file", b"new")
    with pytest.raises(UserError, match=f"can not write to {target}: Not a directory"):
        write_private(target / "file", b"new")
    with pytest.raises(UserError, match=f"can not write to {target}: File exists"):
        make_private(target)


def test_weights_that_do_not_fit_on_the_disk_are_said_in_words(target: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-c", FULL_DISK, str(target)]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert f"StorageError: can not write to {target.parent}: {os.strerror(errno.EFBIG)}" in failed.stderr
    assert alone_with(target, "old")


def test_errors_of_what_is_read_meanwhile_pass_unchanged(target: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"input\.vcf"), replacing(target):
        (target.parent / "input.vcf").read_text()
    with pytest.raises(OSError, match="truncated"), replacing(target):
        raise OSError("truncated")  # of a library: no number, so no refusal of the disk
    with pytest.raises(UserError, match="free space"), replacing(target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target.parent / "spool"))
    with pytest.raises(UserError, match="permissions"), explained(target.parent):
        raise PermissionError(errno.EACCES, "Permission denied", "anything")
    assert alone_with(target, "old")
