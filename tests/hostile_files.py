"""Files as an attacker or a broken disk would leave them: name -> maker that writes the file at a path."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

MARK = "GENEBRAIN_HOSTILE_FILE_RAN"
"""File that appears in the working folder when the code of a hostile file was run."""


class Runs:
    """Unpickling it runs a command."""

    def __reduce__(self):
        return (os.system, (f"touch {MARK}",))


def raw(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def npy(header: str, body: bytes = b"") -> Callable[[Path], None]:
    text = header.encode().ljust(117) + b"\n"
    return raw(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body)


def tensors(header: object, body: bytes = b"", announced: int | None = None) -> Callable[[Path], None]:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return raw(struct.pack("<Q", len(text) if announced is None else announced) + text + body)


def torch_file(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """A quarter of a megabyte that becomes a quarter of a gigabyte; made once, since it takes seconds."""
    stream = io.BytesIO()
    out = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with out, out.open("archive/data.pkl", "w") as packed:
        for _ in range(256):
            packed.write(bytes(2**20))
    return stream.getvalue()


def zipped(path: Path) -> None:
    path.write_bytes(_bomb())


def climbing(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("../../outside", "written outside")


def npz(path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    path.write_bytes(stream.getvalue())


def objects(path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([Runs()], dtype=object), allow_pickle=True)
    path.write_bytes(stream.getvalue())


BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40))])
LINE = {"key": "../../../outside", "status": "stored", "n_frames": 10, "recorded": 10, "sha256": "0", "tr": 1.0}
HOSTILE: dict[str, Callable[[Path], None]] = {
    "empty": raw(b""),
    "zeros": raw(bytes(4096)),
    "noise": raw(np.random.default_rng(0).bytes(4096)),
    "no UTF-8": raw(b'{"a": "\xff\xfe\xff"}'),
    "UTF-16": raw('{"a": 1}'.encode("utf-16")),
    "zero bytes in JSON": raw(b'{"a\x00": 1}\x00'),
    "half a JSON": raw(b'{"settings": {"train": "no'),
    "deep JSON": raw(b"[" * 200_000),
    "deep JSON objects": raw(b'{"a":' * 100_000),
    "long number": raw(b'{"format": ' + b"9" * 20_000 + b"}"),
    "infinite numbers": raw(b'{"format": 1e999, "train": [NaN, -Infinity]}'),
    "JSON list": raw(b"[1, 2, 3]"),
    "JSON text": raw(b'"run"'),
    "JSON null": raw(b"null"),
    "objects where numbers belong": raw(b'{"train": [{"a": 1}], "test": "all", "format": {"x": 2}, "checksums": 3}'),
    "paths that climb": raw(b'{"../../../../etc/passwd": "0", "/dev/zero": "0"}'),
    "endless device": raw(b'{"/dev/zero": "00"}'),
    "script in values": raw(b'{"split": "<script>alert(1)</script>", "verdict": "{{ 7 * 7 }}"}'),
    "YAML aliases": raw(BOMB.encode()),
    "YAML python object": raw(f"cohort: !!python/object/apply:os.system ['touch {MARK}']\n".encode()),
    "YAML target": raw(f"cohort:\n  _target_: os.system\n  command: touch {MARK}\n".encode()),
    "YAML target of torch": raw(b"cohort: {_target_: torch.load, f: x.pt, weights_only: false}\n"),
    "YAML nested": raw(b"a: " + b"[" * 5000 + b"]" * 5000),
    "YAML interpolation": raw(b"cohort: ${oc.env:HOME}\nexperiment: ${oc.decode:x}\n"),
    "formula in a table": raw(b"epoch,=cmd|' /C calc'!A0\n1,2\n"),
    "ragged table": raw(b"a,b\n1\n1,2,3\n"),
    "words in a table of numbers": raw(b"a,b\n1,__import__('os')\n"),
    "open quote": raw(b'a,b\n"1,2\n'),
    "one long cell": raw(b"a,b\n" + b"9" * 300_000 + b",1\n"),
    "array of objects": objects,
    "array of 2**60 numbers": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }"),
    "array of negative length": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-8,), }", bytes(64)),
    "array header that calls": npy(f"{{'descr': __import__('os').system('touch {MARK}'), 'shape': (1,)}}"),
    "array of another type": npy("{'descr': '|V8', 'fortran_order': False, 'shape': (2,), }", bytes(16)),
    "cut array": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (100, 100), }", bytes(1000)),
    "array with a wrong seal": npy(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", bytes(16) + b"\0genebrain sha256\0" + bytes(32)
    ),
    "several arrays": npz,
    "tensors: a header of 2**62 bytes": tensors({}, announced=2**62),
    "tensors beyond the file": tensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
    "tensors that overlap": tensors(
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
         "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12),
    ),
    "tensors of no type": tensors({"a": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
    "tensors with a deep header": tensors(b'{"a":' * 50_000),
    "no tensors": tensors({}),
    "strange tensors": tensors({"keys": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
    "pickle": raw(pickle.dumps(Runs())),
    "torch file with an object": torch_file({"state_dict": Runs()}),
    "torch file without a state": torch_file([torch.zeros(2)]),
    "compressed torch file": zipped,
    "zip that climbs": climbing,
    "index of scans that climbs": raw(json.dumps(LINE | {"dropped": [], "shape": [3], "source": []}).encode()),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
}  # fmt: skip
