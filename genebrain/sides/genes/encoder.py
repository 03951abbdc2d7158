"""DNA encoder of a gene side: options of its weights, and what is made of them when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genebrain.common.types import UserError
from genebrain.genetics.encoders.protocol import DNAWeights
from genebrain.genetics.model.options import ModelOptions

if TYPE_CHECKING:
    from genebrain.genetics.encoders.options import EmbedOptions
    from genebrain.genetics.encoders.protocol import ChunkReader, DNAEncoder
    from genebrain.genetics.model.backbone import GeneratorBackbone
    from genebrain.genetics.model.language_model import GeneratorLanguageModel


@dataclass(frozen=True)
class ReadsDNA:
    """Which DNA encoder, with which weights.

    Parameters
    ----------
    name : str
        generator_tiny (random weights, offline), a published one, see ``genebrain models``, carbon_500m, carbon_3b,
        carbon_8b, transformers (any model in a folder: ``path``), or an encoder of a plugin (``DNA_ENCODERS``).
    path : str, optional
        Local folder with config.json and safetensors weights; None: the hub cache.
    revision : str, optional
        Commit on the hub; None: the pinned one.
    weights_seed : int
        Of the random weights of generator_tiny.
    allow_download : bool
        Fetch weights that are not in the cache (with HF_HUB_OFFLINE=0 in the environment).
    model : ModelOptions
        Kernels and long context of the encoder; of these only context, context_tokens and window change numbers.
    """

    name: str = "generator_tiny"
    path: str | None = None
    revision: str | None = None
    weights_seed: int = 0
    allow_download: bool = False
    model: ModelOptions = field(default_factory=ModelOptions)

    if TYPE_CHECKING:

        @property
        def own(self) -> bool: ...  # noqa: D102
        def options(self) -> EmbedOptions: ...  # noqa: D102

    def encoder(self) -> DNAEncoder:
        """The encoder, known by its fingerprint; weights are loaded when it first reads."""
        from genebrain.genetics.encoders.plain import make_encoder

        return make_encoder(self.weights)

    def reader(self) -> ChunkReader:
        """How the encoder reads chunks under these options."""
        from genebrain.genetics.encoders.plain import reader_for

        return reader_for(self.encoder(), self.options(), self.name)

    @property
    def weights(self) -> DNAWeights:
        """Which weights the encoder is made with."""
        return DNAWeights(self.name, self.path, self.revision, self.weights_seed, self.allow_download, self.model)

    def backbone(self, **more: Any) -> GeneratorBackbone:
        """Load the encoder; ``more`` goes to :func:`genebrain.genetics.model.backbone.load_generator`."""
        from genebrain.genetics.model.backbone import load_generator

        return load_generator(**self.checkpoint, **more)

    def language_model(self, **more: Any) -> GeneratorLanguageModel:
        """The same encoder with its output head, as it was published: whatever ``tuning`` says, nothing is trained."""
        from genebrain.genetics.model.language_model import load_language_model

        return load_language_model(**self.checkpoint, **more)

    @property
    def checkpoint(self) -> dict[str, Any]:
        """Weights and how they are run: arguments of :func:`~genebrain.genetics.model.backbone.load_generator`.

        Raises
        ------
        UserError
            The encoder is none of GENERator's, and this needs the decoder itself.
        """
        if self.own:
            raise UserError(
                f"genetics.name={self.name} reads letters in its own way: it gives vectors for fit, embed and "
                "embed-sequences; this needs a GENERator (generator_tiny, or a published one)"
            )
        return {
            "name": self.name, "path": self.path, "revision": self.revision, "seed": self.weights_seed,
            "allow_download": self.allow_download, "options": self.model,
        }  # fmt: skip
