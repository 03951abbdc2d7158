"""Carbon, by name beside GENERator: a stock Llama whose words are 6-mers behind a vocabulary of plain text.

Its ids are those of GENERator shifted by 151,640 (a 6-mer AAAAAA is 151,672), behind ``<dna>``, ``</dna>`` and
``<oov>``. Input is upper case; ``<dna>`` stands in front, without which the model reads DNA as text; a 6-mer with any
letter but A, C, G, T is one ``<oov>``; the tail is filled with A. No row of the plain text is kept, nor the head. The
published tokenizer is code that asks the network; this one is a table.

Source: model cards and tokenizer of HuggingFaceBio/Carbon (described, not copied).
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from genebrain.common.reading import read_record
from genebrain.common.types import UserError
from genebrain.genetics.encoders.protocol import DNA_ENCODERS, DNAWeights
from genebrain.genetics.encoders.token_batches import pooled_vectors
from genebrain.genetics.model.catalogue import in_cache, model_row
from genebrain.genetics.model.checkpoints import (
    Checkpoint,
    backbone_key,
    fingerprint_files,
    hub_folder,
    stored_shapes,
    weight_files,
)
from genebrain.genetics.model.encode import POOLINGS
from genebrain.genetics.model.loaded import build_empty, finish
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.tokenizer import OOV, SixMerTokenizer
from genebrain.genetics.model.weights import llama_config, place_for

RULE = "carbon/1"
VOCABULARY = 155_776
SHIFT = 151_640
"""From an id of GENERator to that of Carbon."""
DNA, END, UNKNOWN = 151_669, 151_670, 151_671
KEPT = DNA
"""First row of the table of embeddings that DNA needs."""
MOST_TOKENS = 32_768
EMBEDDINGS = "embed_tokens.weight"
MODELS = {
    "carbon_500m": ("HuggingFaceBio/Carbon-500M", None),
    "carbon_3b": ("HuggingFaceBio/Carbon-3B", "95c3c68fc77fdf70b1582031bacf9d7753f72cf2"),
    "carbon_8b": ("HuggingFaceBio/Carbon-8B", None),
}
"""Hub id, and the revision that is pinned where one is known."""
PARAMETERS = {"carbon_500m": 500_000_000, "carbon_3b": 3_000_000_000, "carbon_8b": 8_000_000_000}
"""As their names say; a table of text that is not read comes on top, or is part of it."""

_TOKENIZER = SixMerTokenizer()


def carbon_models() -> list[dict[str, Any]]:
    """Rows of the list of models, beside :func:`~genebrain.genetics.model.catalogue.dna_models`."""
    return [
        model_row(name, PARAMETERS[name], hub_id, revision, in_cache(hub_id, revision))
        for name, (hub_id, revision) in MODELS.items()
    ]


def carbon_ids(sequence: str) -> NDArray[np.int64]:
    """Ids of a stretch of DNA as Carbon reads it, ``<dna>`` in front; no closing mark."""
    framed = _TOKENIZER.frame(sequence.upper(), "pad_right").encode()
    (ids,) = _TOKENIZER.encode_many([framed])
    return np.concatenate([[DNA], np.where(ids == OOV, UNKNOWN, ids + SHIFT)]).astype(np.int64)


class CarbonEncoder:
    """A Carbon checkpoint; nothing but its configuration and identity is read before it first encodes.

    Vectors are pooled over the 6-mers: what stands at ``<dna>`` or ``</dna>`` says of which species a text is, not
    which letters a person has.
    """

    poolings = POOLINGS
    batch_letters = 131_072

    def __init__(self, weights: DNAWeights) -> None:
        self.weights, self.name = weights, weights.name
        self.dtype, self.device = place_for(None, None)

    @cached_property
    def folder(self) -> Path:
        """Folder of the weights: the one that is named, or the hub cache."""
        if self.weights.path is not None:
            return Path(self.weights.path)
        hub_id, pinned = MODELS[self.name]
        published = Checkpoint(hub_id, pinned or "main", 0, 0, closing_mark=False, parameters=0)
        return hub_folder(published, self.weights.revision, self.weights.allow_download)

    @cached_property
    def _raw(self) -> dict[str, Any]:
        path = self.folder / "config.json"
        if not path.is_file():
            raise UserError(f"no config.json in {self.folder}: not a folder of Carbon's weights")
        raw = dict(read_record(path))
        if (raw.get("model_type"), raw.get("vocab_size")) != ("llama", VOCABULARY):
            raise UserError(
                f"{path}: model_type {raw.get('model_type')!r} with vocab_size {raw.get('vocab_size')}, but Carbon is "
                f"'llama' with {VOCABULARY:,} (text, marks and 4,096 6-mers)"
            )
        return raw

    @cached_property
    def _config(self) -> LlamaConfig:
        own = {"vocab_size": VOCABULARY - KEPT, "pad_token_id": None}
        raw = {"max_position_embeddings": MOST_TOKENS, **self._raw, **own}
        return llama_config(raw, weight_files(self.folder), self.folder / "config.json")

    @property
    def hidden_size(self) -> int:
        """Length of a vector."""
        return int(self._config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of configuration, weights, token rule and number format."""
        about = f"{RULE}:{self.dtype}:{fingerprint_files(self._raw, weight_files(self.folder))}"
        return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()

    @cached_property
    def model(self) -> Any:
        """The decoder with the rows of DNA alone."""
        empty = build_empty(LlamaModel, self._config)
        shapes = {key: value.shape for key, value in empty.state_dict().items()}
        weights = dna_weights(weight_files(self.folder), shapes, self.dtype)
        return finish(empty, weights, ModelOptions(), self.device, trainable=False)

    def encode(self, sequences: list[str]) -> dict[str, Tensor]:
        """Vectors float32 ``[sequences, hidden_size]`` by pooling.

        Raises
        ------
        UserError
            A string has more tokens than the model was trained on.
        """
        tokens = [carbon_ids(sequence) for sequence in sequences]
        most = min(MOST_TOKENS, int(self._config.max_position_embeddings))
        if (longest := max(map(len, tokens), default=0)) > most:
            raise UserError(
                f"{self.name} reads {most:,} tokens of six letters, and a chunk has {longest:,}: make chunks shorter "
                f"(genetics.chunk_bp={6 * (most - 1)} at most)"
            )
        read = [(ids - KEPT, ids > END) for ids in tokens]
        return pooled_vectors(read, self.model, self.device, self.hidden_size, UNKNOWN - KEPT)


def dna_weights(files: list[Path], expected: dict[str, torch.Size], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights of the decoder, of the embeddings only the rows of DNA; every key and shape is checked first.

    Raises
    ------
    UserError
        Missing, left-over or misshapen weights, with counts and the first names of each.
    """
    stored = {key: shape for name, shape in stored_shapes(files).items() if (key := backbone_key(name)) is not None}
    wanted = {key: tuple(shape) for key, shape in expected.items()}
    wanted[EMBEDDINGS] = (VOCABULARY, wanted[EMBEDDINGS][1])
    wrong = {
        "missing": [key for key in wanted if key not in stored],
        "unexpected": [key for key in stored if key not in wanted],
        "of another shape": [key for key in wanted if key in stored and tuple(stored[key]) != wanted[key]],
    }
    if problems := [f"{len(keys)} {what} ({', '.join(keys[:5])})" for what, keys in wrong.items() if keys]:
        raise UserError(f"{files[0].parent} does not fit its config.json: weights {'; '.join(problems)}")
    weights: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (a file handle, not a mapping)
                key = backbone_key(name)
                if key == EMBEDDINGS:
                    weights[key] = opened.get_slice(name)[KEPT:].to(dtype)
                elif key is not None:
                    weights[key] = opened.get_tensor(name).to(dtype)
    return weights


for _name in MODELS:
    DNA_ENCODERS.add(_name, CarbonEncoder)
