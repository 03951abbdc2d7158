"""One encoder is built once: shared by those who look, handed over to those who train, read again when it changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genebrain.brain.encoders import build as encoders
from genebrain.brain.encoders import files as encoder_files
from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.cache import EncoderShelf
from genebrain.brain.encoders.files import save_encoder
from genebrain.brain.encoders.settings import EncoderSettings

COORDINATES = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
SHAPE = {"n_parcels": 30, "coordinates": COORDINATES}


@pytest.fixture
def counts(monkeypatch) -> dict[str, int]:
    counted = {"built": 0, "read": 0}

    def count(module, name: str, what: str) -> None:
        original = getattr(module, name)

        def wrapped(*args, **kwargs):
            counted[what] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, wrapped)

    count(encoders, "_around", "built")
    count(encoder_files, "_load", "read")
    return counted


def test_those_who_look_share_one_and_those_who_train_get_their_own(counts):
    shelf, settings = EncoderShelf(), EncoderSettings("brainlm_vit", weights_seed=3)
    assert shelf.size(settings) is None
    shared = shelf.get(settings, **SHAPE)
    facts = shelf.facts(settings, **SHAPE)
    assert shelf.get(settings, n_parcels=30, coordinates=COORDINATES.copy()) is shared
    own = shelf.take(settings, **SHAPE)
    assert counts["built"] == 1
    with torch.no_grad():
        next(own.parameters()).add_(1)
    assert shelf.facts(settings, **SHAPE) == facts != {**own.description(), "fingerprint": own.fingerprint()}
    again = shelf.get(settings, **SHAPE)
    assert again is not own
    assert again.fingerprint() == facts["fingerprint"] == build_encoder(settings, **SHAPE).fingerprint()
    assert shelf.get(settings, n_parcels=30, coordinates=COORDINATES + 1) is not again


def test_weights_are_read_once_until_the_file_changes(counts, tmp_path):
    save_encoder(build_encoder(EncoderSettings("brainlm_vit"), **SHAPE), tmp_path / "weights")
    shelf, settings = EncoderShelf(), EncoderSettings("brainlm_vit", path=tmp_path / "weights")
    counts.update(built=0, read=0)
    assert shelf.size(settings).frames == 40
    first = shelf.get(settings, **SHAPE).fingerprint()
    for _ in range(3):
        shelf.size(settings)
        shelf.get(settings, **SHAPE)
    assert counts == {"built": 1, "read": 1}
    save_encoder(build_encoder(EncoderSettings("brainlm_vit", weights_seed=9), **SHAPE), tmp_path / "weights")
    assert shelf.get(settings, **SHAPE).fingerprint() != first
    assert counts["read"] == 2
