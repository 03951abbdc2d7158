"""What the tests of chunk tables share: a small model, keys, one thread."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from tests.genetics.chunk_tables import keys_of


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So small a model is no faster on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def backbone() -> GeneratorBackbone:
    """The same for all tests of a file: load another one to change its weights."""
    return load_generator(device="cpu")


@pytest.fixture(scope="module")
def keys(sequences: list[bytes]) -> NDArray[np.uint8]:
    """Of the ``sequences`` of the file."""
    return keys_of(sequences)
