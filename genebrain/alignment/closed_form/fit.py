"""The closed-form recipe: brain latents, sparse Bayesian gene side, calibrated score, chosen by cross-validation.

Arrays in, a fitted `ClosedForm` out; deterministic given the seed. What never sees the pairing of genes and brains
(gene columns, principal components of the brain features) is fitted once on all given rows; whatever sees it
(regression, rotation) is refitted without each fold, folds keep families whole, and the score is calibrated on
held-out predictions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.choice import ClosedFormSettings, Judge, choose_prior, score_vectors
from genebrain.alignment.closed_form.column_sets import Blocks, GeneBlocks, SetColumns, check_inputs, rivals_of
from genebrain.alignment.closed_form.columns import ColumnSettings, WindowColumns
from genebrain.alignment.closed_form.gene_stack import STACK, Head, Member, first_members, further_members, heads_of
from genebrain.alignment.closed_form.latents import Latents, kind_of
from genebrain.alignment.closed_form.memory import Size, TooManyColumnsError, form_for, memory_budget, too_many_columns
from genebrain.alignment.closed_form.motifs.members import with_motifs, without_motifs
from genebrain.alignment.closed_form.regression_data import PeopleRows
from genebrain.alignment.closed_form.score import Calibration
from genebrain.alignment.closed_form.spectral import grouped_folds, projected
from genebrain.alignment.closed_form.stacking import best_of_kinds, led_latents, readings_of
from genebrain.alignment.closed_form.told import told_choices
from genebrain.alignment.large_tables import give_back, small_products
from genebrain.common.types import FloatArray, IntArray, built

__all__ = ["ClosedForm", "ClosedFormSettings", "TooManyColumnsError", "fit_closed_form"]


@dataclass(frozen=True)
class ClosedForm:
    """A fitted pair of towers whose dot product is the score.

    Attributes
    ----------
    coefficients : array [columns, dims]
        Posterior mean: ``ghat = columns @ coefficients``.
    brain_mean [features], brain_map [features, dims]
        ``u = (features - brain_mean) @ brain_map``, whitened and rotated.
    predictive : array [dims]
        Predictive variance of ``u`` given the genes, before calibration.
    chosen : dict
        Brain candidate, number of dimensions, mode, cross-validated score.
    cv : list of dict
        Everything that was tried, one row each.
    alone : mapping of str to Head
        Of a stack of several families of gene columns: each family by itself, on the same brain latents.
    """

    columns: WindowColumns | SetColumns
    coefficients: FloatArray
    brain_mean: FloatArray
    brain_map: FloatArray
    predictive: FloatArray
    calibration: Calibration
    score: str
    chosen: dict[str, Any]
    cv: list[dict[str, Any]]
    alone: Mapping[str, Head] = field(default_factory=dict)

    def gene_columns(self, blocks: Blocks) -> FloatArray:
        """Standardised columns float32 ``[people, columns]`` of window blocks."""
        return self.columns.transform(blocks)  # type: ignore[arg-type]  # each kind checks its own

    def of_family(self, family: str) -> ClosedForm:
        """The same latents read from one family of gene columns alone; keys of ``alone``."""
        head = self.alone[family]
        chosen = {**self.chosen, "mode": STACK, "recall@1": head.recall}
        own: dict[str, Any] = head.arrays()
        return replace(self, **own, calibration=head.calibration, chosen=chosen, alone={})

    def predicted_latents(self, columns: FloatArray) -> FloatArray:
        """``ghat [people, dims]``: what the genes say about the brain latents."""
        return projected(columns, self.coefficients)

    def observed_latents(self, features: FloatArray) -> FloatArray:
        """``u [people, dims]`` of brain features of the chosen candidate."""
        return projected(features, self.brain_map, self.brain_mean)

    def gene_vectors(self, columns: FloatArray) -> FloatArray:
        """Gene tower: columns to float32 vectors ``[people, c]``."""
        ghat = self.predicted_latents(columns)
        return score_vectors(ghat, None, self.predictive, self.calibration, self.score)[0].astype(np.float32)

    def brain_vectors(self, features: FloatArray) -> FloatArray:
        """Brain tower: features of the chosen candidate to float32 vectors ``[people, c]``."""
        u = self.observed_latents(features)
        return score_vectors(None, u, self.predictive, self.calibration, self.score)[1].astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Arrays and JSON-ready settings from which `from_state` restores the model."""
        own = {n: getattr(self, n) for n in ("coefficients", "brain_mean", "brain_map", "predictive")}
        columns = self.columns.state()
        info = {
            "chosen": self.chosen,
            "cv": self.cv,
            "score": self.score,
            "calibration": asdict(self.calibration),
        }
        nested = {f"columns.{name}": value for name, value in columns.items() if name != "json"}
        for family, head in self.alone.items():
            nested |= {f"alone.{family}.{name}": value for name, value in head.arrays().items()}
        if self.alone:
            info["alone"] = {family: head.facts() for family, head in self.alone.items()}
        return {**own, **nested, "json": {**info, "columns": columns["json"]}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ClosedForm:
        """Restore what `state` gave."""
        info = state["json"]
        nested = {n.removeprefix("columns."): v for n, v in state.items() if n.startswith("columns.")}
        own = {n: state[n] for n in ("coefficients", "brain_mean", "brain_map", "predictive")}
        kind = SetColumns if "sets" in info["columns"] else WindowColumns
        restored = cls(
            columns=kind.from_state({**nested, "json": info["columns"]}),
            calibration=built(Calibration, info["calibration"]),
            alone={f: Head.from_state(f, facts, state) for f, facts in info.get("alone", {}).items()},
            **{name: info[name] for name in ("score", "chosen", "cv")},
            **own,
        )
        restored._refuse_loose_ends()
        return restored

    def _refuse_loose_ends(self) -> None:
        """A ValueError for arrays that do not belong together, or are not finite."""
        dims, features = len(self.predictive), len(self.brain_mean)
        shapes: dict[str, tuple[int, ...]] = {
            "coefficients": (len(self.columns.window), dims), "predictive": (dims,), "brain_mean": (features,),
            "brain_map": (features, dims),
        }  # fmt: skip
        for one in (self, *self.alone.values()):
            for name in shapes.keys() & vars(one).keys():
                values = getattr(one, name)
                if values.shape != shapes[name] or not np.isfinite(values).all():
                    raise ValueError(
                        f"{name} has shape {list(values.shape)}, not {list(shapes[name])}, or is not finite"
                    )
        told_choices(self.chosen)
        str(self.chosen["brain"])


def fit_closed_form(
    gene_blocks: Blocks,
    brain_candidates: dict[str, FloatArray],
    families: IntArray,
    *,
    genomes: IntArray | None = None,
    seed: int = 0,
    settings: ClosedFormSettings | None = None,
    progress: bool = False,
    unpaired: Mapping[str, FloatArray] | None = None,
) -> ClosedForm:
    """Choose brain candidate, dimensions and gene prior by grouped cross-validation; refit on all given rows.

    Parameters
    ----------
    gene_blocks : list of float arrays [people, width], or GeneBlocks
        One block per window; of several sources and sets of columns the predictions of all are stacked.
    brain_candidates : dict of float arrays [people, features]
        Alternative feature sets of the same scans.
    families : int array [people]
        Families stay on one side of every fold.
    genomes : int array [people], optional
        People of one genome (identical twins) are no rivals of each other in cross-validation. None: all differ.
    unpaired : mapping of float arrays [others, features]
        Brain features of people without genes, by candidate: components are fitted on them as well.
    progress : bool
        Show bars: windows that become columns, fits of the ridge, sweeps of the sparse priors.

    Raises
    ------
    ValueError
        Row counts that disagree, non-finite features, fewer than two families.
    TooManyColumnsError
        More gene columns than half of this machine's memory holds.
    """
    settings = settings or ClosedFormSettings()
    with small_products():
        columns, table, form, judge, cv, tried = _led(
            gene_blocks, brain_candidates, families, genomes, seed, settings, unpaired or {}, progress
        )
        latents, best = max(
            ((one, choose_prior(judge, one.values, fits, one.name, cv, progress=progress)) for one, fits in tried),
            key=lambda found: found[1].row["recall@1"],
        )
        told = readings_of(latents, cv) if settings.stack else {}
        if isinstance(columns, SetColumns):
            del tried  # of a large cohort the sums of the first set are as large as those of the others
            members = first_members(judge, columns, latents.values, best)
            judge = replace(judge, x=judge.x[:0].copy())  # each set has a table of its own, one at a time
            members += further_members(judge, table, columns, latents.values, form, progress=progress)
            columns, members, words = with_motifs(
                judge, gene_blocks, columns, members, latents.values, form, progress=progress
            )
            return _stacked(judge, columns, members, latents, best.row | told | words, cv)
    return ClosedForm(
        columns=columns,
        coefficients=best.posterior.mean[-1],
        brain_mean=latents.mean,
        brain_map=latents.map @ best.posterior.rotation[-1],
        predictive=best.posterior.predictive[-1],
        calibration=best.calibration,
        score=settings.score,
        chosen=best.row | told,
        cv=cv,
    )


def race(
    gene_blocks: Blocks, brain_candidates: dict[str, FloatArray], families: IntArray, *, genomes: IntArray, seed: int,
    settings: ClosedFormSettings, progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """First part of :func:`fit_closed_form`, on some of very many people: the kinds of candidates that go on to all.

    Returns ``people`` (number), ``kinds`` (best recall@1 of each in cross-validation, under ridge) and ``on`` (kinds
    that ridge cannot tell from the best, and those of the stack).
    """
    with small_products():
        *_, cv, tried = _led(gene_blocks, brain_candidates, families, genomes, seed, settings, {}, progress)
    on = dict.fromkeys(kind_of(name) for latents, _ in tried for name, _ in latents.parts)
    reached = {kind: value for kind, (value, _) in best_of_kinds(cv).items()}
    return {"people": len(families), "kinds": reached, "on": list(on)}


def _led(
    gene_blocks: Blocks,
    brain_candidates: dict[str, FloatArray],
    families: IntArray,
    genomes: IntArray | None,
    seed: int,
    settings: ClosedFormSettings,
    unpaired: Mapping[str, FloatArray],
    progress: bool,
) -> tuple[Any, ...]:
    """Columns, what makes the table of each set, form of the sums, the judge, and what ridge has tried."""
    families = np.asarray(families)
    n = len(families)
    genomes = np.arange(n) if genomes is None else np.asarray(genomes)
    check_inputs(gene_blocks, brain_candidates, n)
    columns, table, widest = _columns(gene_blocks, settings.columns, progress=progress)
    folds = grouped_folds(families, settings.folds, seed)
    most = max(1, min(max(settings.dimensions), n // 4))
    size, budget = Size(n, widest, len(folds) + 1, most * len(brain_candidates)), memory_budget()
    form = form_for(size, budget)
    if form is PeopleRows and size.of_rows > budget:
        raise TooManyColumnsError(too_many_columns(size, budget, len(gene_blocks), settings.columns))
    judge = Judge(table(0), genomes, folds, settings)
    give_back()  # what columns were made of
    lead, judge, cv, tried = led_latents(
        judge, table, rivals_of(columns), brain_candidates, most, form, unpaired,
        progress=progress,
    )  # fmt: skip
    if lead and isinstance(columns, SetColumns):
        columns = columns.led_by(lead)
        table = partial(columns.one, gene_blocks)  # type: ignore[arg-type]  # sets are made of GeneBlocks
    return columns, table, form, judge, cv, tried


def _columns(
    blocks: Blocks, settings: ColumnSettings, *, progress: bool
) -> tuple[WindowColumns | SetColumns, Callable[[int], FloatArray], int]:
    """Fitted columns, what makes the table of each set, and the columns of the widest."""
    if isinstance(blocks, GeneBlocks):
        sets = SetColumns.fit(without_motifs(blocks), progress=progress)  # words are found when latents are known
        return sets, lambda number: sets.one(blocks, number), max(sets.widths)
    columns = WindowColumns.fit(blocks, settings, progress=progress)
    return columns, lambda _: columns.transform(blocks), len(columns.window)


def _stacked(
    judge: Judge,
    columns: SetColumns,
    members: list[Member],
    latents: Latents,
    chosen: dict[str, Any],
    cv: list[dict[str, Any]],
) -> ClosedForm:
    """The stack of all members, and of each family alone where there are two; sets without weight are left out."""
    columns, heads = heads_of(judge, columns, members, latents.values)
    whole = heads.pop("")
    genes = {**whole.facts(), "alone": {family: head.recall for family, head in heads.items()}}
    return ClosedForm(
        columns=columns,
        **whole.arrays(),
        brain_mean=latents.mean,
        brain_map=latents.map,
        calibration=whole.calibration,
        score=judge.settings.score,
        chosen={**chosen, "mode": STACK, "recall@1": whole.recall, "slope": whole.calibration.slope, "genes": genes},
        cv=cv,
        alone=heads,
    )
