"""Any causal or masked language model of DNA in a folder, as Transformers reads it without code of its own.

``genetics=transformers genetics.path=FOLDER``: ``config.json``, safetensors weights and the files of a tokenizer
(characters, BPE, or k-mers). Marks that the tokenizer adds are read, and not pooled. Frames, layers and long context
are GENERator's alone. Folders that need remote code are refused.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genebrain.common.reading import read_record
from genebrain.common.types import UserError
from genebrain.genetics.encoders.protocol import DNA_ENCODERS, DNAWeights
from genebrain.genetics.encoders.token_batches import pooled_vectors
from genebrain.genetics.model.checkpoints import fingerprint_files, weight_files
from genebrain.genetics.model.encode import POOLINGS

NAME = "transformers"
RULE = "transformers/1"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "tokenizer.model", "spiece.model",
)  # fmt: skip
PROBE = "ACGTTGCAAGGCTTAACCGATCGATTACAGGCATCGTTAGCAACTGGTCAATCGGCTAAGCTTGACCTG"
MOST_UNKNOWN = 0.05
"""Share of the tokens of a plain stretch of DNA that may be unknown to a tokenizer of DNA."""
UNLIMITED = 10**6
UNREAD = ("pooler.",)
"""Beginnings of the names of weights that no vector depends on."""


class PretrainedEncoder:
    """A model in a folder; its weights are read when it first encodes.

    Parameters
    ----------
    weights : DNAWeights
        With ``path``, the folder.

    Raises
    ------
    UserError
        No folder, no weights in safetensors, a kind of model that Transformers does not have, a tokenizer that does not
        read DNA.
    """

    poolings = POOLINGS
    batch_letters = 65_536

    def __init__(self, weights: DNAWeights) -> None:
        if weights.path is None:
            raise UserError(f"genetics.name={NAME} reads a model from a folder: name it with genetics.path=FOLDER")
        self.folder, self.name = Path(weights.path), NAME
        if not (self.folder / "config.json").is_file():
            raise UserError(f"no config.json in {self.folder}: not a folder of a Transformers model")
        self._raw = read_record(self.folder / "config.json")
        self._files = weight_files(self.folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def config(self) -> Any:
        """Configuration as Transformers reads it."""
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        except (ValueError, KeyError, OSError) as error:
            own = " (it asks for code of its own, which is never run)" if "auto_map" in self._raw else ""
            raise UserError(
                f"{self.folder}: model_type {self._raw.get('model_type')!r} is none that Transformers has{own}: make "
                "vectors elsewhere and give them as genes= (docs/vectors.md)"
            ) from error

    @property
    def hidden_size(self) -> int:
        """Length of a vector."""
        return int(self.config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of configuration, weights, tokenizer and the way DNA is given to it."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{RULE}:{fingerprint_files(self._raw, self._files)}:{self.tokenizer.way}".encode())
        for name in TOKENIZER_FILES:
            if (self.folder / name).is_file():
                digest.update(name.encode() + (self.folder / name).read_bytes())
        return digest.hexdigest()

    @cached_property
    def tokenizer(self) -> DNATokenizer:
        """The tokenizer, and how it wants DNA."""
        return DNATokenizer(self.folder)

    @cached_property
    def model(self) -> Any:
        """The model without its head, in float32, with gradients off.

        Raises
        ------
        UserError
            Weights of another shape, or some of what is read are not there.
        """
        from transformers import AutoModel
        from transformers.utils import logging as told

        loud = told.get_verbosity()
        told.set_verbosity_error()  # its table of heads that are not read; what is missing is said below
        try:
            model, found = AutoModel.from_pretrained(
                self.folder, config=self.config, local_files_only=True, trust_remote_code=False, use_safetensors=True,
                dtype=torch.float32, output_loading_info=True,
            )  # fmt: skip
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            raise UserError(f"{self.folder}: the weights do not fit the configuration ({_line(error)})") from error
        finally:
            told.set_verbosity(loud)
        if missing := sorted(name for name in found["missing_keys"] if not name.startswith(UNREAD)):
            raise UserError(
                f"{self.folder}: {len(missing)} weights of the model are not in the files, and would be random: "
                f"{', '.join(missing[:5])}; get the whole model, or a config.json that belongs to these weights"
            )
        return model.to(self.device).eval().requires_grad_(False)

    @property
    def max_tokens(self) -> int:
        """Longest input: of the tokenizer and of learned positions, whichever is less."""
        limits = [self.tokenizer.max_tokens]
        if (rows := self._learned_positions()) is not None:
            limits.append(rows)
        return min(limits)

    def encode(self, sequences: list[str]) -> dict[str, Tensor]:
        """Vectors float32 ``[sequences, hidden_size]`` by pooling.

        Raises
        ------
        UserError
            A string has more tokens than the model reads.
        """
        tokens = [self.tokenizer.tokens(sequence) for sequence in sequences]
        longest = max((len(ids) for ids, _ in tokens), default=0)
        if longest > self.max_tokens:
            letters = max(map(len, sequences))
            fitting = max(6, int(letters * self.max_tokens / longest * 0.9) // 6 * 6)
            raise UserError(
                f"{self.folder} reads {self.max_tokens:,} tokens, and {letters:,} letters are {longest:,}: make chunks "
                f"shorter, such as genetics.chunk_bp={fitting}"
            )
        return pooled_vectors(tokens, self.model, self.device, self.hidden_size, self.tokenizer.pad)

    def _learned_positions(self) -> int | None:
        """Positions of a model that has a vector for each; None where they are computed."""
        kind = str(getattr(self.config, "position_embedding_type", "absolute"))
        computed = any(getattr(self.config, key, None) for key in ("rope_theta", "rope_parameters", "rope_scaling"))
        rows = getattr(self.config, "max_position_embeddings", None) or getattr(self.config, "n_positions", None)
        if rows is None or computed or kind not in ("absolute", "relative_key", "relative_key_query"):
            return None
        # RoBERTa and its kin count positions from behind the padding id.
        shifted = self.config.model_type in ("roberta", "esm", "camembert", "xlm-roberta", "longformer")
        return int(rows) - (int(self.config.pad_token_id or 0) + 1 if shifted else 0)


class DNATokenizer:
    """A tokenizer of Transformers, given DNA in the way that it knows: in upper case, lower case, or as k-mers."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        try:
            self._own = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (ValueError, KeyError, OSError, ImportError) as error:
            raise UserError(
                f"{folder}: no tokenizer that Transformers reads without code of its own ({_line(error)})"
            ) from error
        self.unknown = self._own.unk_token_id
        self.pad = int(self._own.pad_token_id if self._own.pad_token_id is not None else 0)
        length = int(self._own.model_max_length or UNLIMITED)
        self.max_tokens = length if length < UNLIMITED else UNLIMITED
        shares = {way: self._unknown_share(way) for way in self._ways()}
        self.way = min(shares, key=lambda way: shares[way])  # the first of equals
        if shares[self.way] > MOST_UNKNOWN:
            raise UserError(
                f"{folder}: its tokenizer does not know DNA: {shares[self.way]:.0%} of the tokens of a plain stretch "
                "of A, C, G and T are unknown to it, in upper case, in lower case and as k-mers"
            )

    def tokens(self, sequence: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ids of one string with the marks that the tokenizer adds; and which of them stand for letters."""
        text = self._given(sequence, self.way)
        found = self._own(text, return_special_tokens_mask=True, truncation=False, verbose=False)
        ids = np.asarray(found["input_ids"], np.int64)
        special = np.asarray(found["special_tokens_mask"], bool)
        # Unknown pieces are letters too (N, or a rest behind the last k-mer), though some tokenizers call them marks.
        return ids, ~special | (ids == (-1 if self.unknown is None else self.unknown))

    def _ways(self) -> list[str]:
        return ["upper", "lower", *(f"{k}-mers" for k in self._lengths())]

    def _lengths(self) -> list[int]:
        """Lengths k of which the vocabulary holds all words."""
        words = {str(word).upper() for word in self._own.get_vocab() if re.fullmatch(r"[ACGTacgt]{2,8}", str(word))}
        lengths = sorted({len(word) for word in words})
        return [k for k in lengths if k <= 6 and all("".join(w) in words for w in product("ACGT", repeat=k))]

    def _given(self, sequence: str, way: str) -> str:
        if way == "upper":
            return sequence.upper()
        if way == "lower":
            return sequence.lower()
        k = int(way.removesuffix("-mers"))
        text = sequence.upper()
        return " ".join(text[start : start + k] for start in range(max(1, len(text) - k + 1)))

    def _unknown_share(self, way: str) -> float:
        ids = np.asarray(self._own(self._given(PROBE, way), add_special_tokens=False, verbose=False)["input_ids"])
        if not len(ids):
            return 1.0
        return float((ids == (-1 if self.unknown is None else self.unknown)).mean())


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


DNA_ENCODERS.add(NAME, PretrainedEncoder)
