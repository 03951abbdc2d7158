"""One look for all figures: sizes, type, colours and readable names.

Nothing but style. Colours are those of Okabe and Ito (2008), distinct under all common forms of colour blindness.
"""

from __future__ import annotations

from matplotlib.figure import Figure

COLOURS = {
    "model": "#0072B2",
    "baseline": "#9FB4C2",
    "chance": "#777777",
    "ceiling": "#222222",
    "ink": "#222222",
}
PALETTE = ("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
ACRONYMS = {"cca": "CCA", "pls": "PLS", "pca": "PCA", "auc": "AUC", "dna": "DNA", "fc": "FC", "mrr": "MRR"}


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches whose axes get only left and bottom lines."""
    return _Figure(figsize=(width, height), layout="constrained", facecolor="white")


def pretty(name: str) -> str:
    """Words from a key: ``ridge_cca`` -> ``ridge CCA``, ``val/loss`` -> ``val loss``."""
    words = name.replace("_", " ").replace("/", " ").split()
    return " ".join(ACRONYMS.get(word.lower(), word) for word in words)


class _Figure(Figure):
    def add_subplot(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        axes = super().add_subplot(*args, **kwargs)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, length=3)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
        return axes
