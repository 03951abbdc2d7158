"""Comparisons have one colour and one sentence in every report, and a table in the terminal."""

import numpy as np

from genebrain.evaluation.report.comparisons import colour_of, glossary, terminal_table
from genebrain.evaluation.report.figures import order_to_show
from genebrain.studies.baselines import COMPARISONS


def test_every_comparison_has_its_own_colour_and_meaning():
    colours = [colour_of(name) for name in ("model", *COMPARISONS)]
    assert len(set(colours)) == len(colours)
    assert [name for name, _ in glossary([*COMPARISONS, *COMPARISONS, "unknown"])] == [
        name for name, _ in glossary(COMPARISONS)
    ]
    assert len(glossary(COMPARISONS)) == len(COMPARISONS)


def test_terminal_table_has_a_row_per_method_and_the_printed_numbers(metrics: dict):
    lines = terminal_table(metrics).splitlines()
    done = [name for name, one in metrics["baselines"].items() if one]
    assert len(lines) == 1 + 1 + len(done) + 1 + bool(metrics.get("ceiling"))
    recall = metrics["retrieval"]["mean"]["recall@1"]["value"]
    assert lines[1].startswith("model ")
    assert f"{recall:.2f}".removeprefix("0") in lines[1]
    assert len({line.rstrip()[:14].strip() for line in lines[1:]}) == len(lines) - 1


def test_the_order_of_the_similarity_figure_is_blind_to_the_pairing():
    random = np.random.default_rng(5)
    scores, labels = random.standard_normal((40, 40)), np.repeat([0, 1], 20)
    order = order_to_show(scores, labels)
    dealt = order_to_show(scores[:, random.permutation(40)], labels)
    assert np.array_equal(order, dealt) or np.array_equal(order, np.r_[dealt[:20][::-1], dealt[20:][::-1]])
    assert set(order[:20]) == set(range(20))
