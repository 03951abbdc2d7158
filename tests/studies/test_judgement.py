import numpy as np
import pytest

from genebrain.evaluation.retrieval import chance
from genebrain.studies.judged import Judged


@pytest.mark.parametrize("twins", [0, 2, 3])
def test_the_full_gallery_counts_candidates_and_not_people_of_one_genome(twins):
    genome = np.arange(20)
    genome[:twins] = 0
    who = Judged(np.arange(20), genome, n_bootstrap=20, gallery_size=8)
    knows_nothing = np.ones((20, 3), np.float32)
    full = who.full_retrieval(knows_nothing, knows_nothing)
    assert full["gallery_size"] == 20 - max(0, twins - 1)
    # A score without knowledge is at the chance of the gallery that is named beside it.
    assert full["mean"]["recall@1"]["value"] == pytest.approx(chance(full["gallery_size"])["recall@1"])
