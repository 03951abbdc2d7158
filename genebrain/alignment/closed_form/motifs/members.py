"""Words as members of a stack of gene readings: found anew without each fold, used only where held-out people gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from genebrain.alignment.closed_form.choice import Judge, fit_priors
from genebrain.alignment.closed_form.column_sets import Blocks, ColumnSet, GeneBlocks, SetColumns
from genebrain.alignment.closed_form.columns import WindowColumns
from genebrain.alignment.closed_form.empirical_bayes import Posterior, fit_ridge
from genebrain.alignment.closed_form.gene_stack import Member, held_out_errors, stacked_reading
from genebrain.alignment.closed_form.motifs.columns import MotifColumns
from genebrain.alignment.closed_form.motifs.pursuit import PursuitSettings, pursue
from genebrain.alignment.closed_form.motifs.words import counts_of
from genebrain.alignment.closed_form.regression_data import Form
from genebrain.common.types import FloatArray
from genebrain.common.words import no_bar

MOTIFS = "motifs"
"""Name of the family, of its source and of its set."""
APPROVAL_ERRORS = 2.326
"""Standard errors by which words must lower the error of held-out people: a one-sided test of level .01."""


def without_motifs(blocks: GeneBlocks) -> GeneBlocks:
    """The sets whose columns need no latents."""
    return blocks.only([one.name for one in blocks.sets if one.family != MOTIFS])


def with_motifs(
    judge: Judge,
    blocks: Blocks,
    columns: SetColumns,
    members: list[Member],
    u: FloatArray,
    form: Form,
    *,
    progress: bool = False,
) -> tuple[SetColumns, list[Member], dict[str, Any]]:
    """A stack with words where they are asked for and approved, otherwise as it is; what was found under ``motifs``."""
    asked = [one for one in blocks.sets if one.family == MOTIFS] if isinstance(blocks, GeneBlocks) else []
    if not asked or not isinstance(blocks, GeneBlocks):
        return columns, members, {}
    found, more, facts = motif_members(judge, blocks, u, members, form, progress=progress)
    if found is not None:
        columns = SetColumns((*columns.sets, *asked), (*columns.parts, found))
    return columns, [*members, *more], {MOTIFS: facts}


def motif_members(
    judge: Judge,
    blocks: GeneBlocks,
    u: FloatArray,
    others: Sequence[Member],
    form: Form,
    *,
    progress: bool,
) -> tuple[MotifColumns | None, list[Member], dict[str, Any]]:
    """Members that read words beside allele counts; None and none where held-out people gain nothing.

    Parameters
    ----------
    others : sequence of Member
        What the stack has without words.

    Returns
    -------
    columns, members
        Of the words of everybody.
    facts : dict
        ``found``, ``words``: of the fit on everybody; ``gain``, ``gain_standard_error``: by how much words lower the
        error of a held-out person, in units of the noise; ``approved``.
    """
    (one,) = (one for one in blocks.sets if one.family == MOTIFS)
    exact, *alleles = blocks.sources[one.source]
    fitted = WindowColumns.fit(alleles, one.settings)
    beside = fitted.transform(alleles)
    held_out: dict[str, FloatArray] = {}
    with tqdm(total=len(judge.left_out), desc="words", unit="fit", leave=False, disable=no_bar(progress)) as bar:
        for rows in judge.left_out:
            used = np.setdiff1d(np.arange(len(u)), rows)
            words = pursue(exact[used], beside[used], u[used], PursuitSettings())
            columns = MotifColumns.of_words(words, counts_of(words, exact[used]), fitted)
            table = columns.transform([exact, *alleles]).astype(np.float64)
            posteriors = _posteriors(judge, table, u, rows, form)
            for mode, posterior in posteriors.items():
                own = held_out.setdefault(mode, np.zeros_like(u))
                own[rows] = table[rows] @ posterior.mean[0] @ posterior.rotation[0].T
            bar.update()
    if not columns.words:  # of the last fit, which is on everybody
        return None, [], {"found": 0, "approved": False}
    members = [
        _member(judge, one, mode, posterior, held_out[mode], u)
        for mode, posterior in posteriors.items()
        if mode in judge.settings.modes or len(posteriors) == 1
    ]
    facts = {"found": len(columns.words), "words": columns.names, **_gain(judge, others, members, u)}
    return (columns, members, facts) if facts["approved"] else (None, [], facts)


def _posteriors(judge: Judge, table: FloatArray, u: FloatArray, rows: Any, form: Form) -> dict[str, Posterior]:
    """One fit without some rows, under every prior."""
    data = form.of_subsets(table, u, [rows])
    return fit_priors(replace(judge, x=table), u, (data, fit_ridge(data)), judge.settings.modes)


def _member(
    judge: Judge, one: ColumnSet, mode: str, posterior: Posterior, held_out: FloatArray, u: FloatArray
) -> Member:
    member = Member(one.name, one.family, mode, held_out, posterior.mean[0] @ posterior.rotation[0].T, 0.0)
    return replace(member, recall=stacked_reading(judge, [member], u).recall)


def _gain(judge: Judge, others: Sequence[Member], members: Sequence[Member], u: FloatArray) -> dict[str, Any]:
    """By how much the stack's error falls, person by person; stacks whose weights did not see the person."""
    before, noise = held_out_errors(judge, others, u)
    after, _ = held_out_errors(judge, [*others, *members], u)
    gain = ((before - after) / noise).mean(axis=1)
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    return {
        "gain": float(gain.mean()),
        "gain_standard_error": error,
        "approved": bool(gain.mean() > APPROVAL_ERRORS * error),
    }
