"""Window encoders of the two BrainLM families: parcels as rows of tokens, or as rows of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from genebrain.brain.encoders.base import ParcelWindowEncoder
from genebrain.brain.models.brainlm.canvas import Canvas
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.brainlm.region_time import BrainLM


class RegionTimeWindowEncoder(ParcelWindowEncoder):
    """BrainLM, region x time: a token is some frames of one parcel."""

    encoder: BrainLM

    def tokens(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Class token, then parcels x windows in raster order."""
        series = self.prepare(windows)
        if not self.common_centre:
            return self.encoder.tokens(series)
        centre = self.contract.coordinates.mean(axis=0, keepdims=True)
        return self.encoder.tokens(series, coordinates=np.repeat(centre, self.contract.n_parcels, axis=0))

    @property
    def common_centre(self) -> bool:
        """Whether all parcels are said to lie at their common centre, for the tokens of places to be comparable.

        The centre of a parcel is added to its token, and what follows is not linear: equal activity gives another
        response at every place. Covariances between places are then mostly those of the responses.
        """
        return self.summary == "connectivity"

    def description(self) -> dict[str, Any]:
        """As of any encoder, and whether centres were taken off."""
        return super().description() | ({"centres": "common"} if self.common_centre else {})


class PictureWindowEncoder(ParcelWindowEncoder):
    """BrainLM, picture: a token is a patch of parcels x frames."""

    encoder: ViTMAE

    @property
    def places(self) -> int:
        """Rows of patches that hold data."""
        return int(self._patches().any(dim=1).sum())

    @property
    def token_rows(self) -> int:
        """Rows of patches, those of padding included."""
        return len(self._patches())

    def _patches(self) -> Tensor:
        canvas = Canvas(self.contract.n_parcels, 1, self.encoder.config)
        return canvas.data_patches().view(canvas.grid)
