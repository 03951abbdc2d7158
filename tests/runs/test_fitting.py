import numpy as np

from genebrain.sides.genes.readings import told_missing


def test_windows_without_an_embedding_are_counted_in_words():
    blocks = [np.zeros((5, 3), np.float32) for _ in range(4)]
    assert told_missing(blocks) == ""
    blocks[0][2] = blocks[1][2] = blocks[1][4] = np.nan
    assert told_missing(blocks).startswith("note: 3 of 20 windows of people (2 people) have no embedding")
    assert "in everybody" not in told_missing(blocks)
    blocks[3][:] = np.nan
    assert told_missing(blocks).endswith("Missing in everybody: 1 windows")
