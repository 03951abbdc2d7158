"""People with one side alone: a cohort that has them, and projectors that learn from them beside the pairs.

After SOTAlign (2026, arXiv 2602.23353): a linear teacher from the pairs (here the closed form) says how alike every
genome without a scan and every scan without a genome are; the student is trained by InfoNCE on the pairs and, on
batches of unpaired people, towards the transport plan between both sides that the teacher's scores imply. The gradient
of that divergence is the difference of the two plans, so that nothing is differentiated through Sinkhorn's iterations.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from genebrain.alignment.closed_form.column_sets import rows_of
from genebrain.alignment.closed_form.latents import JOINED
from genebrain.brain.connectome.base import needed
from genebrain.evaluation.rank_metrics import expected_recall_at_1
from genebrain.sides.connectome import some_of
from genebrain.sides.pooling import GenePooling
from genebrain.sides.workspace import Workspace

ALONE = 1000
"""People with a genome alone, and as many with a scan alone."""
BATCH, STEPS, EVERY, PATIENCE, SINKHORN = 256, 300, 5, 60, 30


def taken_apart(path: Path, pairs: int, seed: int) -> tuple[Path, list[str], list[str]]:
    """A cohort of ``pairs`` people of another; ids of those whose genome, and whose scan, is all that it has."""
    table, scans = (pd.read_csv(path.parent / f"{name}.tsv", sep="\t") for name in ("participants", "scans"))
    order = np.random.default_rng(seed).permutation(table["participant_id"].to_numpy())
    genome_alone, scan_alone = order[pairs : pairs + ALONE].tolist(), order[pairs + ALONE : pairs + 2 * ALONE].tolist()
    without = table["participant_id"].isin(scan_alone)
    table.loc[without, "genotype_id"] = [f"none{i}" for i in range(int(without.sum()))]
    table.to_csv(path.parent / "pairs.tsv", sep="\t", index=False)
    scans[~scans["participant_id"].isin(genome_alone)].to_csv(path.parent / "paired_scans.tsv", sep="\t", index=False)
    words = yaml.safe_load(path.read_text()) | {"participants": "pairs.tsv", "scans": "paired_scans.tsv"}
    (path.parent / "pairs.yaml").write_text(yaml.safe_dump(words))
    return path.parent / "pairs.yaml", genome_alone, scan_alone


def features_alone(
    path: Path, workspace: Workspace, side: Any, genetics: Any, brain: str, training: Any,
    alone: tuple[list[str], list[str]], store: Path,
) -> tuple[Any, Any]:  # fmt: skip
    """Gene blocks of those with a genome alone, features of those with a scan alone.

    ``path`` is the cohort of everybody, ``workspace`` that of the pairs; ``brain`` names the candidate.
    """
    whole = Workspace(path, store, progress=False)
    whole.ingest(side)
    place = {name: row for row, name in enumerate(whole.cohort.table["participant_id"])}
    ids = workspace.cohort.table["participant_id"].to_numpy()
    rows = np.array([place[name] for name in ids[training]])
    genes, scans = (np.array([place[name] for name in names]) for names in alone)
    whole.embed(genetics, training=rows)
    blocks, _ = whole.gene_blocks(genetics, GenePooling(), rows)
    fitted, _ = workspace.brain_features(side, training)
    summary = some_of(whole.brain_inputs(replace(side, unpaired=False), rows), scans)
    parts = [fitted[name].transform(*needed(fitted[name], summary)) for name in brain.split(JOINED)]
    return rows_of(blocks, genes), np.concatenate(parts, axis=1)


def plan(scores: Tensor) -> Tensor:
    """Entropic transport plan of equal masses for scores in units of the entropy, ``[rows, columns]``, sum 1."""
    for _ in range(SINKHORN):
        scores = scores - scores.logsumexp(dim=1, keepdim=True)
        scores = scores - scores.logsumexp(dim=0, keepdim=True)
    return scores.exp() / scores.shape[1]


def towards(student: Tensor, teacher: Tensor) -> Tensor:
    """Surrogate whose gradient is that of the divergence of the student's plan from the teacher's."""
    return ((plan(student.detach()) - plan(teacher)) * student).sum()


def taught(
    towers: Any, pairs: Any, alone: tuple[Tensor, Tensor], teacher: tuple[Tensor, ...], validation: Any, weight: float,
    seed: int,
) -> Any:  # fmt: skip
    """Train towers on pairs and unpaired people until validation recall stops to rise.

    Parameters
    ----------
    pairs, validation : dict of tensors
        ``gene``, ``brain``, ``genome_id``, ``family_id``.
    alone, teacher : pairs of tensors
        Features and the teacher's score vectors of people with a genome alone, and with a scan alone.
    """
    torch.manual_seed(seed)
    optimiser, draw = towers.configure_optimizers(), torch.Generator().manual_seed(seed)
    best, since, kept = -1.0, 0, copy.deepcopy(towers.state_dict())
    for step in range(STEPS):
        towers.train()
        gene, brain = towers(pairs)
        loss = towers.loss(gene, brain, towers.logit_scale.log_scale, pairs["genome_id"], pairs["family_id"])
        if weight:
            rows = [torch.randint(len(side), (BATCH,), generator=draw) for side in alone]
            gene, brain = towers({"gene": alone[0][rows[0]], "brain": alone[1][rows[1]]})
            known = teacher[0][rows[0]] @ teacher[1][rows[1]].T
            loss = loss + weight * towards(towers.logit_scale.log_scale.exp() * gene @ brain.T, known)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        towers.logit_scale.clamp_()
        if step % EVERY == 0:
            gene, brain = towers.vectors(validation["gene"], validation["brain"])
            ids = validation["genome_id"].numpy()
            reached = expected_recall_at_1(gene @ brain.T, ids, relatives="rivals", gallery=min(32, len(ids)))
            if reached > best:
                best, since, kept = reached, step, copy.deepcopy(towers.state_dict())
            elif step - since > PATIENCE:
                break
    towers.load_state_dict(kept)
    return towers
