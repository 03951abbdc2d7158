"""Scan encoders from a user's file: contract breakers, weights of one's own, fingerprints."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genebrain.brain.encoders.build import EncoderSettings, build_encoder, random_twin
from genebrain.brain.encoders.families import SCAN_ENCODERS, EncoderFamily
from genebrain.brain.encoders.files import read_encoder, save_encoder
from genebrain.brain.encoders.plain import check_window_encoder
from genebrain.common.types import UserError


@dataclass(frozen=True)
class Sizes:
    n_parcels: int
    hidden_size: int = 3


class Means(nn.Module):
    """Weighted mean of each parcel over time."""

    def __init__(self, config):
        super().__init__()
        self.hidden_size = config.hidden_size
        self.weight = nn.Parameter(torch.randn(config.n_parcels, config.hidden_size))

    def forward(self, windows):
        return windows.mean(dim=1) @ self.weight


def family(**more) -> EncoderFamily:
    return EncoderFamily(
        **{"reads": "parcels", "config": Sizes, "module": Means, "tiny": lambda s: Sizes(s.n_parcels), **more}
    )


@pytest.fixture
def own(request):
    """A name that is registered for one test."""
    SCAN_ENCODERS.add("own", family(**getattr(request, "param", {})))
    yield "own"
    SCAN_ENCODERS.remove("own")


def test_the_module_reads_windows_as_they_are_stored(own):
    encoder = build_encoder(EncoderSettings(own, weights_seed=2), n_parcels=4)  # without centres of parcels
    windows = torch.arange(2 * 40 * 4.0).view(2, 40, 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        weight = torch.randn(4, 3)
    torch.testing.assert_close(encoder(windows), windows.mean(dim=1) @ weight)
    check_window_encoder(encoder, windows)
    with pytest.raises(UserError, match=r"own reads parcels: windows must be \[windows, frames, parcels\]"):
        encoder(windows[0])
    with pytest.raises(UserError, match="own reads parcel series, and these scans are volumes"):
        build_encoder(EncoderSettings(own), grid=(4, 4, 4))


@pytest.mark.parametrize("own", [{"reads": "volumes", "tiny": lambda scans: Sizes(scans.grid[2])}], indirect=True)
def test_volumes_are_read_as_they_are_stored(own):
    encoder = build_encoder(EncoderSettings(own), grid=(5, 6, 4))
    windows = torch.randn(2, 40, 5, 6, 4)
    encoder.encoder.forward = lambda x: x.mean(dim=(1, 2, 3)) @ encoder.encoder.weight
    torch.testing.assert_close(encoder(windows), windows.mean(dim=(1, 2, 3)) @ encoder.encoder.weight)
    with pytest.raises(UserError, match=r"must be \[windows, frames, X, Y, Z\]"):
        encoder(windows[0])
    with pytest.raises(UserError, match="own reads volumes, and these scans are parcel series"):
        build_encoder(EncoderSettings(own), n_parcels=4)


def test_weights_come_back_from_a_folder_with_their_fingerprint(own, tmp_path):
    encoder = build_encoder(EncoderSettings(own, weights_seed=2), n_parcels=4)
    save_encoder(encoder, tmp_path / "w", "trained")
    again = build_encoder(EncoderSettings(own, path=tmp_path / "w"), n_parcels=4)
    assert again.fingerprint() == encoder.fingerprint()
    assert "trained" in read_encoder(tmp_path / "w", own).origin
    assert random_twin(again, 2).fingerprint() == encoder.fingerprint()
    assert random_twin(again, 3).fingerprint() != encoder.fingerprint()
    with pytest.raises(UserError, match="holds no weights of brainlm"):
        read_encoder(tmp_path / "w", "brainlm")


def test_another_version_of_the_code_is_another_encoder(tmp_path, own):
    text = "import torch\n\nclass Net(torch.nn.Module):\n    hidden_size = 1\n\n    def __init__(self, config):\n"
    text += "        super().__init__()\n\n"
    text += "    def forward(self, windows):\n        return windows.{}(dim=(1, 2))[:, None]\n"
    found = []
    for how in ("mean", "std", "mean"):
        path = Path(tmp_path / f"{how}_net.py")
        path.write_text(text.format(how))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(__import__("sys").modules, path.stem, module)
            spec.loader.exec_module(module)
            SCAN_ENCODERS.remove("own")
            SCAN_ENCODERS.add("own", family(module=module.Net))
            encoder = build_encoder(EncoderSettings("own"), n_parcels=4)
            found.append(encoder.fingerprint())
            assert encoder(torch.randn(2, 40, 4)).shape == (2, 1)  # a module without weights
    assert found[0] == found[2] != found[1]


class Broken(Means):
    """Base of modules that break the contract."""

    kind = ""

    def forward(self, windows):
        x = super().forward(windows)
        return {
            "wrong width": x[:, :2],
            "wrong count": torch.cat([x, x]),
            "no tensor": [x],
            "not finite": x / 0,
            "sorted": x[x[:, 0].argsort()],
            "of its batch": x - x.mean(dim=0),
            "random": torch.rand_like(x),
        }[self.kind]


WORDS = {
    "wrong width": r"gave \[2, 2\] for 2 windows; wanted is a tensor \[2, 3\]",
    "wrong count": r"gave \[4, 3\] for 2 windows; wanted is a tensor \[2, 3\]",
    "no tensor": "gave list for 2 windows",
    "not finite": "gave values that are not finite",
    "sorted": "stood in another order|row i for window i",
    "of its batch": "row i for window i, whatever else is in the batch",
    "random": "gave two vectors for one window",
}


@pytest.mark.parametrize("kind", WORDS)
def test_a_broken_encoder_is_refused_by_name(kind, own):
    SCAN_ENCODERS.remove("own")
    SCAN_ENCODERS.add("own", family(module=type("Kind", (Broken,), {"kind": kind})))
    encoder = build_encoder(EncoderSettings("own"), n_parcels=4)
    window = torch.from_numpy(np.linspace(0, 1, 160, dtype=np.float32).reshape(1, 40, 4) ** 2)
    weights = encoder.encoder.weight.data
    weights[:] = weights.abs()
    windows = torch.cat([window + 1, window])  # the first is larger: sorting moves it
    with pytest.raises(UserError, match=f"^scan encoder own {WORDS[kind]}|^scan encoder own .*{WORDS[kind]}"):
        check_window_encoder(encoder, windows)


@pytest.mark.parametrize(
    ("module", "words"),
    [(lambda config: nn.Linear(2, 2), "attribute hidden_size"), (Means, "config must be a dataclass")],
)
def test_what_a_family_lacks_is_said(module, words, own):
    SCAN_ENCODERS.remove("own")
    bare = type("Bare", (), {"n_parcels": 4, "hidden_size": 3})
    more = {"tiny": lambda scans: bare()} if module is Means else {}
    SCAN_ENCODERS.add("own", family(module=module, **more))
    with pytest.raises(UserError, match=f"scan encoder own: its .*{words}|scan encoder own: its {words}"):
        build_encoder(EncoderSettings("own"), n_parcels=4)
