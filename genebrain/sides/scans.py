"""Scans of a cohort through a scan encoder: one vector per person, embeddings of frozen encoders kept in the store."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.encoders.settings import EncoderSettings, Reads, VolumeSettings, volume_cleaning_problem
from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.sides.connectome import ConnectomeSide, Feature, parcels_folder, person_scans
from genebrain.sides.options import (
    Aggregate,
    Positives,
    component_list,
    component_problems,
    count_problems,
    encoder_problems,
    positives_problems,
)
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.training.settings import ALL_LINEAR, LoraSettings, Tuning

if TYPE_CHECKING:
    from genebrain.brain.encoders.base import WindowEncoder
    from genebrain.brain.encoders.cache import EncoderShelf, ScanShape
    from genebrain.brain.store.job import ScanOptions
    from genebrain.brain.store.store import ScanStore
    from genebrain.brain.windows.bank import WindowBank
    from genebrain.cohort.participants import Cohort
    from genebrain.sides.embedding_feature import WindowFeature
    from genebrain.sides.person_vectors import PersonVectors
    from genebrain.sides.vectors.features import VectorFeature

EVERY_LAYER = LoraSettings(targets=(ALL_LINEAR,))
"""Adapters for encoders whose layers have no common names."""


@dataclass(frozen=True)
class EncoderSide(EncoderSettings):
    """Embeddings of each person's scans by an encoder; which one, and its weights: :class:`genebrain.EncoderSettings`.

    Parameters
    ----------
    windows : WindowPolicy
        How scans are cut.
    volumes : VolumeSettings
        How volumes are scaled and boxed, for the encoders that read them.
    cleaning : Cleaning
        What is removed from parcel series; each way of cleaning has its own folder in the store, which the connectome
        shares. Of volumes only frames of motion can be left out (``fd_threshold``).
    aggregate : {"mean", "motion", "attention"}
        Over a person's scans: plain, by the inverse mean framewise displacement, or by weights of windows that fit
        learns, from the plain ones on.
    components : sequence
        Numbers of components of the embeddings to try, or all; chosen by cross-validation inside training. For
        ``connectivity``: of places.
    tuning : {"frozen", "lora", "full"}
        Whether ``fit`` trains the encoder: not, by low-rank adapters, or all its weights.
    lora : LoraSettings
        Form of the adapters, for ``tuning=lora``.
    train_windows : int
        Windows of a person that a training step sees, drawn anew; evaluation takes all.
    batch : int
        Windows that pass the encoder at a time.
    device : {"auto", "cpu", "cuda"}
        auto: a GPU where there is one.
    min_frames : int
        Shorter scans are left out and counted.
    positives : {"people", "scans"}
        Rows of contrastive training, as for :class:`~genebrain.sides.connectome.ConnectomeSide`.
    """

    windows: WindowPolicy = field(default_factory=WindowPolicy)
    volumes: VolumeSettings = field(default_factory=VolumeSettings)
    cleaning: Cleaning = field(default_factory=Cleaning)
    aggregate: Aggregate = "mean"
    components: tuple[int | str, ...] = (16, 64, "all")
    tuning: Tuning = "frozen"
    lora: LoraSettings = EVERY_LAYER
    train_windows: int = 2
    batch: int = 16
    device: str = "auto"
    min_frames: int = 10
    positives: Positives = "people"

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", component_list(self.components))
        problems = positives_problems(self.positives, self.tuning, self.aggregate)
        reads: Reads = "parcels"
        try:
            super().__post_init__()
            reads = self.reads
        except UserError as error:
            problems.append(str(error))
        if self.scaling == "cohort" and reads == "volumes":
            problems.append("brain.scaling=cohort is for encoders of parcels; volumes are scaled when they are read")
        if reads == "volumes" and (problem := volume_cleaning_problem(self.encoder, self.cleaning)):
            problems.append(f"brain.cleaning: {problem}")
        problems += component_problems(self.components)
        problems += encoder_problems(self.aggregate, self.summary, self.tuning, self.device)
        problems += count_problems(1, batch=self.batch, min_frames=self.min_frames, train_windows=self.train_windows)
        if problems:
            raise UserError("; ".join(problems))

    @property
    def settings(self) -> EncoderSettings:
        """Which encoder, with which weights."""
        return EncoderSettings(**{one.name: getattr(self, one.name) for one in fields(EncoderSettings)})

    @property
    def source(self) -> Hashable:
        """Sides of equal source share ingest and inputs: only what is fitted on them may differ."""
        plain: Aggregate = "mean" if self.aggregate == "attention" else self.aggregate
        return replace(
            self, components=("all",), tuning="frozen", lora=EVERY_LAYER, train_windows=2, aggregate=plain,
            positives="people",
        )  # fmt: skip

    @property
    def trained(self) -> bool:
        """Whether something before the brain tower is trained: the encoder, or the weights of windows."""
        return self.tuning != "frozen" or self.aggregate == "attention"

    @property
    def needs_time_step(self) -> bool:
        """Whether the time between two frames must be known: for weights trained at one, seconds, or a band-pass."""
        if self.windows.in_seconds or self.cleaning.filters:
            return True
        return _shelf().expected(self.settings).tr is not None

    def build(self, cohort: Cohort, store: Path) -> WindowEncoder:
        """An encoder for the scans of a cohort (those in the store), in evaluation mode, for the caller alone."""
        return _shelf().take(self.settings, **self._shape(cohort, store))

    def shared(self, cohort: Cohort, store: Path) -> WindowEncoder:
        """The same encoder for all who ask, built once: it must not be changed."""
        return _shelf().get(self.settings, **self._shape(cohort, store))

    def _shape(self, cohort: Cohort, store: Path) -> ScanShape:
        from genebrain.brain.encoders.reading import scan_shape

        return scan_shape(self.scans(cohort, store), cohort.parcel_coordinates, cohort.atlas)

    def bank(self, encoder: WindowEncoder, cohort: Cohort, store: Path) -> WindowBank:
        """The windows of the scans in the store, as this encoder wants them."""
        from genebrain.brain.windows.bank import WindowBank

        return WindowBank(self.scans(cohort, store), self.windows, encoder.frames, encoder.tr, encoder.check_frames)

    def scans(self, cohort: Cohort, store: Path) -> ScanStore:
        """The store of what the encoder reads."""
        from genebrain.brain.store.store import ScanStore

        return ScanStore(store / self.folder(self.options(cohort)))

    def options(self, cohort: Cohort) -> ScanOptions:
        """How the scans are read."""
        from genebrain.brain.encoders.reading import scan_options

        return scan_options(
            self.settings, cohort.scans, atlas=cohort.atlas, volumes=self.volumes, cleaning=self.cleaning,
            min_frames=self.min_frames,
        )  # fmt: skip

    def folder(self, options: ScanOptions) -> str:
        """Name of the folder of the scans in the store."""
        from genebrain.brain.encoders.reading import options_name

        # Parcels are shared with the connectome; volumes of another box or scale lie apart.
        if self.settings.reads == "parcels":
            return parcels_folder(self.cleaning)
        return f"volumes-{options_name(options)}"

    def ingest(self, cohort: Cohort, store: Path, *, progress: bool = True) -> tuple[dict[str, Any], set[int]]:
        """Bring the scans into the store; returns counts, and the people with at least one window."""
        from genebrain.sides.person_vectors import ingest_windows

        return ingest_windows(self, cohort, store, progress=progress)

    def inputs(
        self,
        cohort: Cohort,
        store: Path,
        training: IntArray,
        *,
        encoder: WindowEncoder | None = None,
        progress: bool = True,
    ) -> tuple[NDArray[np.float32] | PersonVectors]:
        """Embeddings of every person, float32 ``[people, width]``, as the only item.

        Those of ``summary=connectivity`` are read and averaged when a block of them is asked for. ``training`` rows are
        looked at only for ``scaling=cohort``; ``encoder`` replaces the one of these settings.
        """
        from genebrain.sides.person_vectors import PersonVectors, vectors_of_windows

        vectors, _ = vectors_of_windows(self, cohort, store, training, encoder=encoder, progress=progress)
        scans = person_scans(cohort, self.scans(cohort, store))
        people = PersonVectors(vectors, scans, self.scan_weights(cohort, store))
        return (people if self.summary == "connectivity" else np.asarray(people),)

    def features(self, width: int) -> Mapping[str, WindowFeature]:
        """Unfitted candidates by name, for embeddings of so many columns."""
        from genebrain.sides.embedding_feature import window_features

        return window_features(self.components, width, tangent=self.summary == "connectivity")

    def fit(self, inputs: tuple[FloatArray | PersonVectors], rows: IntArray) -> dict[str, WindowFeature]:
        """Fit every candidate on the given (training) rows."""
        from genebrain.sides.person_vectors import PersonVectors

        (embeddings,) = inputs
        training = embeddings.of(rows) if isinstance(embeddings, PersonVectors) else embeddings[rows]
        features = self.features(embeddings.shape[1])
        # Vectors that are averaged when asked for are those of connectivity, whose feature reads them block by block.
        return {name: feature.fit(training) for name, feature in features.items()}  # type: ignore[arg-type]

    def restore(self, name: str, state: dict[str, np.ndarray[Any, Any]]) -> WindowFeature:
        """Take a fitted candidate back from a checkpoint."""
        from genebrain.sides.embedding_feature import restored_feature

        return restored_feature(name, state)

    def description(self, cohort: Cohort, store: Path) -> dict[str, Any]:
        """What a run records of its brain side: encoder, weights and windows in words and numbers."""
        facts = _shelf().facts(self.settings, **self._shape(cohort, store))
        return {**facts, "tuning": self.tuning, "cleaning": self.cleaning.describe() if self.cleaning.active else None}

    def scan_weights(self, cohort: Cohort, store: Path) -> dict[str, float]:
        """Weight of each scan in its person's vector; those that are not named weigh 1."""
        if self.aggregate != "motion":
            return {}
        from genebrain.sides.person_vectors import motion_weights

        return motion_weights(cohort.scans, self.scans(cohort, store).keys(cohort.scans))


BrainSide = ConnectomeSide | EncoderSide | VectorBrain
AnyFeature: TypeAlias = "Feature | WindowFeature | VectorFeature"


def _shelf() -> EncoderShelf:
    from genebrain.brain.encoders.cache import SHELF

    return SHELF
