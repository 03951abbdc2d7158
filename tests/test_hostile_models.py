"""Small files beside weights from somebody else: wrong values end in a sentence, before memory is taken, and fast."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genebrain.alignment.closed_form.fit import fit_closed_form
from genebrain.alignment.model import AlignmentModel, untrained_towers
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings
from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.files import read_encoder, save_encoder
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.language_model import load_language_model
from genebrain.genetics.model.weights import _seeded_weights, tiny_config

MOST_MEMORY, MOST_SECONDS = 500 * 2**20, 20
UNIT = 1 if sys.platform == "darwin" else 1024
PLACES = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
SCANS: dict[str, dict[str, Any]] = {
    "brainlm": {"n_parcels": 20, "coordinates": PLACES}, "brainlm_vit": {"n_parcels": 20, "coordinates": PLACES},
    "swift": {"grid": (16, 16, 16)}, "brainmt": {"grid": (16, 16, 16)},
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A good folder of every kind of model."""
    base = tmp_path_factory.mktemp("models")
    for name, shape in SCANS.items():
        save_encoder(build_encoder(EncoderSettings(name, None, "tiny", 0), **shape), base / name)
        (base / name / "checksums.json").unlink()  # an attacker writes no checksum, or a right one
    config = tiny_config()
    (base / "dna").mkdir()
    write_tensors(base / "dna/model.safetensors", _seeded_weights(config, 0))
    (base / "dna/config.json").write_text(json.dumps(config.to_dict(), default=str))
    rng = np.random.default_rng(0)
    blocks, brain = [rng.normal(size=(40, 6)) for _ in range(2)], {"lag0-all": rng.normal(size=(40, 8))}
    closed = fit_closed_form(blocks, brain, np.arange(40), seed=0)
    settings = AlignmentSettings(start="random", train="full", score="cosine", projector=ProjectorSettings(hidden=16))
    (base / "alignment").mkdir()
    AlignmentModel(settings, closed, untrained_towers(settings, closed), "trained").save(base / "alignment")
    return {path.name: path for path in base.iterdir()}


def _scan_encoder(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        loaded = read_encoder(folder, name)
        return build_encoder(EncoderSettings(name, folder, "auto", 0), loaded=loaded, **SCANS[name])

    return read


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    **{name: ("config.json", _scan_encoder(name)) for name in SCANS},
    "dna": ("config.json", lambda folder: (load_generator("mine", folder), load_language_model("mine", folder))),
    "alignment": ("model.json", AlignmentModel.load),
}
HOSTILE: dict[str, dict[str, list[Any]]] = {
    "brainlm": {
        "hidden_size": ["x", None, [1], 10**9, -2, float("nan")], "num_hidden_layers": [10**9, 1.5, "2", None],
        "conv_kernel_size": [10**9, -1], "genebrain.frames": ["x", 10**12, -1, None, True],
        "genebrain.tr": ["x", -1, [2], True], "genebrain.origin": [None, 3], "genebrain": [3, {}],
        "decoder_num_hidden_layers": [10**8],
    },
    "brainlm_vit": {
        "image_size": [10**9, "x", [1, 2, 3], [10**9, 10**9], True], "patch_size": [0, -1, "x", True],
        "hidden_size": [7],
    },
    "swift": {
        "depths": [[10**9, 2], "x", [], [2] * 5000], "img_size": [[10**9] * 4, 3, None], "num_heads": [[0, 0], "ab"],
        "embed_dim": [10**9, -1, None, True], "patch_size": [[0, 0, 0, 0], [4, 4]],
    },
    "brainmt": {
        "depth": [[10**9, 2], None, "x"], "width": [10**9, -8, "x"], "num_frames": [-1, 10**12, "x"],
        "num_heads": [0, True],
    },
    "dna": {
        "num_hidden_layers": [10**9, "x", -1, None, 1.5], "hidden_size": [10**9, 10**30, "x", None, -64],
        "hidden_act": ["os.system", 3], "rope_parameters": [{"rope_type": "x"}, 3, {"rope_theta": "x"}],
        "num_attention_heads": [0, -4, None, True], "rms_norm_eps": [True, "x"],
        "intermediate_size": [10**30, "x"], "tie_word_embeddings": ["x"],
    },
    "alignment": {
        "settings.projector.hidden": [10**9, 10**30, "x", float("nan"), None], "settings.projector.width": [10**9, 0],
        "settings": [3, {}], "closed_form": [None, []], "kept": [], "settings.loss": ["os.system"],
        "settings.score": ["x"], "settings.projector.dropout": [True],
    },
}  # fmt: skip


def changed(content: dict[str, Any], key: str, value: Any) -> str:
    content = json.loads(json.dumps(content))
    *parents, last = key.split(".")
    node = content
    for parent in parents:
        node = node[parent]
    node[last] = value
    return json.dumps(content)


@pytest.mark.parametrize("name", READERS)
def test_wrong_values_beside_weights_end_in_a_sentence(name, folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, read = READERS[name]
    read(folders[name])
    good = json.loads((folders[name] / file).read_text())
    for key, values in HOSTILE[name].items():
        for value in values:
            shutil.rmtree(tmp_path / "bad", ignore_errors=True)
            shutil.copytree(folders[name], tmp_path / "bad")
            (tmp_path / "bad" / file).write_text(changed(good, key, value))
            peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            try:
                read(tmp_path / "bad")
            except UserError:
                pass
            else:
                pytest.fail(f"{key}={value!r} was taken")
            assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * UNIT < MOST_MEMORY, (key, value)
            assert time.process_time() - start < MOST_SECONDS, (key, value)
    assert {path.name for path in tmp_path.iterdir()} == {"bad"}


CONTRACTS: dict[str, Callable[[dict[str, np.ndarray]], object]] = {
    "no coordinates": lambda c: c.pop("coordinates"),
    "coordinates that are no numbers": lambda c: c["coordinates"].fill(np.nan),
    "coordinates in a plane": lambda c: c.update(coordinates=np.zeros((20, 2), np.float32)),
    "a million parcels": lambda c: c.update(coordinates=np.zeros((10**6, 3), np.float32)),
    "many divisors": lambda c: c.update(divisor=np.zeros(5)),
    "a divisor of zero": lambda c: c.update(divisor=np.zeros(())),
    "a time step of infinity": lambda c: c.update(tr=np.array(np.inf)),
    "a tolerance that is no number": lambda c: c.update(tr_tolerance=np.array(np.nan)),
    "scaling that is no number": lambda c: c.update(median=np.full(20, np.nan), spread=np.ones(20)),
    "scaling of other parcels": lambda c: c.update(median=np.zeros(7), spread=np.ones(7)),
    "scaling without spread": lambda c: c.update(median=np.zeros(20)),
    "flags that are lists": lambda c: c.update(toolkit_formula=np.zeros(3, bool)),
}


@pytest.mark.parametrize("what", CONTRACTS)
def test_a_wrong_input_contract_ends_in_a_sentence(what, folders, tmp_path):
    shutil.copytree(folders["brainlm"], tmp_path / "bad")
    contract = read_arrays(tmp_path / "bad/contract.safetensors")
    CONTRACTS[what](contract)
    write_tensors(tmp_path / "bad/contract.safetensors", contract)
    with pytest.raises(UserError):
        _scan_encoder("brainlm")(tmp_path / "bad")


@pytest.mark.parametrize("file", ["config.json", "contract.safetensors", "model.safetensors"])
def test_a_changed_byte_of_a_saved_encoder_is_found(file, tmp_path):
    save_encoder(build_encoder(EncoderSettings("brainlm", None, "tiny", 0), **SCANS["brainlm"]), tmp_path / "e")
    read_encoder(tmp_path / "e", "brainlm")
    content = bytearray((tmp_path / "e" / file).read_bytes())
    content[-3] ^= 1
    (tmp_path / "e" / file).write_bytes(content)
    with pytest.raises(UserError, match=rf"did not stay as written: {file} \(changed\)"):
        read_encoder(tmp_path / "e", "brainlm")


def test_a_configuration_names_no_code(folders, tmp_path):
    """Names of kernels, classes and files in a published configuration are not looked at."""
    shutil.copytree(folders["dna"], tmp_path / "named")
    content = json.loads((tmp_path / "named/config.json").read_text())
    content |= {
        "attn_implementation": "somebody/kernels", "_attn_implementation": "somebody/kernels", "dtype": "x",
        "auto_map": {"AutoModel": "code.Model"}, "architectures": ["Other"], "quantization_config": {"bits": "x"},
        "torch_dtype": "__import__('os')", "_name_or_path": "https://example.org", "id2label": 3,
    }  # fmt: skip
    (tmp_path / "named/config.json").write_text(json.dumps(content))
    (tmp_path / "named/code.py").write_text("raise SystemExit('code of the folder ran')")
    plain, named = load_generator("mine", folders["dna"]), load_generator("mine", tmp_path / "named")
    ids = torch.arange(40, 60)[None]
    assert torch.equal(plain.model(ids).last_hidden_state, named.model(ids).last_hidden_state)
