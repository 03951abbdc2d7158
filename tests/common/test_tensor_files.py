"""What is written comes back to the last bit, whatever its layout in memory, and nothing else writes tensors."""

from __future__ import annotations

import ast
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import genebrain
from genebrain.common import tensor_files
from genebrain.common.files import StorageError
from genebrain.common.tensor_files import read_arrays, read_tensors, write_tensors
from genebrain.common.types import UserError

TYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", ">f8", ">i4")
TORCH_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


def layouts(values: np.ndarray) -> dict[str, np.ndarray]:
    """The same values in every order that memory can have."""
    made = {"c": values, "fortran": np.asfortranarray(values), "turned": values.T}
    made["broadcast"] = np.broadcast_to(values, (3, *values.shape))
    if values.ndim:
        wide = np.zeros((*values.shape[:-1], 2 * values.shape[-1]), values.dtype)
        wide[..., ::2] = values
        made |= {"strided": wide[..., ::2], "backwards": values[::-1].copy()[::-1], "last": values[..., ::-1]}
    if len(values.shape) and len(values):
        made["window"] = np.lib.stride_tricks.sliding_window_view(values, 1, axis=0)
    return made


def plain(values: np.ndarray) -> tuple[str, tuple[int, ...], list]:
    """Type, shape and bits number by number, read by index: no layout takes part."""
    little = values.dtype.newbyteorder("<")
    return little.str, values.shape, [values[i].astype(little).tobytes() for i in np.ndindex(*values.shape)]


@settings(max_examples=60, deadline=None)
@given(
    values=st.sampled_from(TYPES).flatmap(
        lambda kind: arrays.arrays(np.dtype(kind), arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    )
)
def test_arrays_of_any_layout_come_back_to_the_last_bit(values):
    given_ = layouts(values)
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(Path(folder) / "a.safetensors", given_)
        found = read_arrays(Path(folder) / "a.safetensors")
    assert {name: plain(one) for name, one in found.items()} == {name: plain(one) for name, one in given_.items()}


@pytest.mark.parametrize("kind", TORCH_TYPES)
def test_torch_tensors_of_any_layout_come_back_to_the_last_bit(tmp_path, kind):
    whole = (torch.arange(24).reshape(2, 3, 4) % 7).to(kind)
    views = {
        "whole": whole, "same memory": whole, "turned": whole.permute(2, 0, 1), "strided": whole[:, ::2, 1:],
        "row": whole[1], "expanded": whole[:1].expand(5, 3, 4), "number": whole[1, 2, 3], "none": whole[:0],
        "parameter": torch.nn.Parameter(whole.float().permute(2, 1, 0)),
    }  # fmt: skip
    write_tensors(tmp_path / "a.safetensors", views)
    found = read_tensors(tmp_path / "a.safetensors")
    for name, one in views.items():
        assert found[name].dtype == one.dtype
        assert found[name].tolist() == one.tolist(), name


def test_conjugated_and_nan_values_come_back(tmp_path):
    odd = np.array([[np.nan, -0.0], [np.inf, 5e-324]]).T
    write_tensors(tmp_path / "a.safetensors", {"odd": odd}, metadata={"of": "numbers"})
    assert read_arrays(tmp_path / "a.safetensors")["odd"].tobytes() == np.ascontiguousarray(odd).tobytes()


def test_large_tables_are_compared_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_files, "COMPARED", 64)
    table = np.asfortranarray(np.random.default_rng(0).normal(size=(101, 7)).astype(np.float32))
    write_tensors(tmp_path / "a.safetensors", {"table": table, "none": table[:0], "number": np.array(3.0)})
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.safetensors")["table"], table)
    write_tensors(tmp_path / "t.safetensors", {"table": torch.from_numpy(table).T})
    np.testing.assert_array_equal(read_tensors(tmp_path / "t.safetensors")["table"].numpy(), table.T)


@pytest.mark.parametrize("pieces", [2**26, 64])
def test_a_file_that_does_not_hold_what_was_given_never_takes_its_name(tmp_path, monkeypatch, pieces):
    """A writer that scrambles, as the one of the format does with what is transposed."""
    import safetensors.numpy as library

    honest = library.save_file
    monkeypatch.setattr(tensor_files, "COMPARED", pieces)
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": np.zeros(2)})
    before = path.read_bytes()
    scrambled = lambda given, *rest, **more: honest({k: v[::-1].copy() for k, v in given.items()}, *rest, **more)  # noqa: E731
    monkeypatch.setattr(library, "save_file", scrambled)
    with pytest.raises(StorageError, match=r"a\.safetensors was not written: 1 of 1 tensors .* \(a\)"):
        write_tensors(path, {"a": np.arange(40.0)})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_files_are_private_unless_said_otherwise_and_what_is_damaged_is_named(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"a": np.zeros(2)})
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o600
    write_tensors(tmp_path / "b.safetensors", {"a": np.zeros(2)}, private=False)
    assert stat.S_IMODE((tmp_path / "b.safetensors").stat().st_mode) & 0o044
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes()[:-3])
    with pytest.raises(UserError, match=r"a\.safetensors is damaged"):
        read_arrays(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"c\.safetensors is missing"):
        read_tensors(tmp_path / "c.safetensors")


def test_nothing_else_in_the_package_writes_tensors():
    found = []
    folder = Path(genebrain.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name == "tensor_files.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            of = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = {one.name for one in node.names} if isinstance(node, ast.ImportFrom | ast.Import) else set()
            writes = names & {"save", "save_file", "serialize", "serialize_file", "save_model", "torch", "numpy"}
            if (of.startswith("safetensors") and writes) or any(one.startswith("safetensors.") for one in names):
                found.append(f"{path.relative_to(folder)}: {of} {sorted(writes)}")
    assert not found
