"""A scan encoder that an alignment has trained, written so that another run can start from it.

The folder has the form that ``pretrain`` writes (weights, configuration, input contract, marks of the scans that
were seen), for ``brain.path``. Adapters are added into the weights.
"""

from __future__ import annotations

import copy
from pathlib import Path

from genebrain.alignment.model import AlignmentModel
from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.files import ALIGNED, ENCODER, save_encoder
from genebrain.cohort.participants import Cohort
from genebrain.common.types import IntArray
from genebrain.sides.brains.seen_scans import save_seen
from genebrain.sides.connectome import person_scans
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.training.adapters import merge_adapters
from genebrain.training.tuned_encoder import tuned_encoders


def save_tuned_scans(
    model: AlignmentModel, side: BrainSide, cohort: Cohort, store: Path, training: IntArray, run: Path
) -> Path | None:
    """Write the trained scan encoder of a fitted model into ``run/encoder``; None where there is none.

    Parameters
    ----------
    training : int array
        Rows of the people whose scans were learned from or decided when to stop.
    """
    if model.towers is None or not isinstance(side, EncoderSide):
        return None
    for tuned in tuned_encoders(model.towers.brain_tower).values():
        encoder = tuned.model
        assert isinstance(encoder, WindowEncoder)
        if tuned.tuning == "lora":
            encoder = copy.deepcopy(encoder)
            merge_adapters(encoder)
        words = f"{ALIGNED} ({tuned.tuning}) of {len(training)} people, from {encoder.origin}"
        folder = run / ENCODER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        scans = side.scans(cohort, store)
        keys = person_scans(cohort, scans)
        save_seen(folder, scans, cohort.scans, (key for row in training for key in keys[row]), side.path)
        # Last: weights never lie there without what they have seen.
        return save_encoder(encoder, folder, words)
    return None
