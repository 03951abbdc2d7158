"""A second cohort of the same causal truth: other people of the same population, perhaps at another scanner.

The first cohort is drawn again from its settings; its people decide which variants act, how strongly, and how genetic
values are scaled. So what holds in one holds in the other, and the ceiling of both is known.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from genebrain.common.types import UserError, number
from genebrain.simulation.draw import Drawn, draw, streams_of
from genebrain.simulation.genome.families import plan_families
from genebrain.simulation.genome.next_people import joined_genomes, only_new
from genebrain.simulation.genome.sources import REAL_GENOMES, SimulatedGenomes
from genebrain.simulation.known_answer import FILE, read_known_answer, read_truth
from genebrain.simulation.mechanisms.modes import ModeScans
from genebrain.simulation.mechanisms.registry import GeneticPart
from genebrain.simulation.second_settings import SecondCohort
from genebrain.simulation.settings import checked, mechanism_of
from genebrain.simulation.tiers import REFERENCE_FRAMES, Tier

OWN = ("seed", "n_subjects", "n_frames", "tr")
"""Settings of the second cohort that may differ from those of the first."""
FLAGS = ("motion", "null_twin")
USUAL = {
    "tier": "smoke", "n_windows": 12, "window_bp": 20_000, "n_contigs": 3, "n_genomewide": 2_000, "genomes": "msprime",
    "scans": "parcels", "awkward": False, "n_parcels": 80, "n_subjects": 1500, "n_frames": REFERENCE_FRAMES,
    "tr": 0.735, "mechanism": "modes", "model": {},
}  # fmt: skip
"""Values that mean: as the first cohort."""
SAME_TRUTH = 1e-4


def settings_like(like: Path, asked: dict[str, Any], second: SecondCohort) -> dict[str, Any]:
    """Settings of a second cohort: those of the first, with what may differ.

    Raises
    ------
    UserError
        ``like`` is no simulated cohort, or one that has no second; settings that only the first decides; its seed.
    """
    first = _settings_of(like)
    read_truth(_known_answer(like))  # damaged: refused before any work
    world = first.get("like", first)  # the second cohort of a second one
    problems = [
        f"{name}={value} comes from {like} ({world.get(name, USUAL[name])})"
        for name, value in {"mechanism": USUAL["mechanism"], **asked}.items()
        if name in USUAL and name not in OWN and value not in (USUAL[name], world.get(name, USUAL[name]))
    ]
    if asked["seed"] in (first["seed"], world["seed"]):
        problems.append(f"seed={asked['seed']} is that of {like}: another one makes other people")
    if world["genomes"] == REAL_GENOMES:
        problems.append(f"{like} has the {REAL_GENOMES} people, and there are no others")
    if world["awkward"]:
        problems.append(f"{like} was made with awkward=true, whose letters belong to its own people")
    if problems:
        raise UserError("this second cohort cannot be simulated: " + "; ".join(problems))
    own = {name: first[name] if asked[name] == USUAL.get(name) else asked[name] for name in OWN}
    flags = {name: True for name in FLAGS if asked.get(name) or world.get(name)}
    plain = {name: value for name, value in world.items() if name not in FLAGS}
    kept = asdict(second)
    if second.mix is not None:
        kept["mix"] = list(second.mix)
    return {**plain, **own, **flags, "like": world, "second": kept}


def draw_like(tier: Tier, settings: dict[str, Any], like: Path) -> Drawn:
    """Draw the first cohort again, and other people of its population.

    Raises
    ------
    UserError
        The first cohort was drawn by another version; a mix of another number of groups; scanners that this mechanism
        cannot draw anew.
    """
    world, second = settings["like"], settings["second"]
    first = draw(checked(world), world)
    if "like" not in _settings_of(like):
        _refuse_other_truth(like, first)
    assert isinstance(first.source, SimulatedGenomes)
    n, rng = settings["n_subjects"], streams_of(settings["seed"])
    pedigree = plan_families(n, tier.siblings, tier.twins)
    groups = _groups(pedigree.n_founders, tier.n_groups, second["mix"])
    numbers = np.random.default_rng([settings["seed"], len(rng)]).permutation(n)
    samples = [f"H{settings['seed']:03d}{number + 1:06d}" for number in numbers]
    joined = joined_genomes(
        first.source, first.groups, pedigree, groups, samples, fst=second["fst"], rng=rng["genomes"]
    )
    people = groups[:n] if tier.n_groups > 1 else np.zeros(n, np.int64)
    mechanism, known = mechanism_of(settings), len(first.groups)
    again = streams_of(world["seed"])  # the draws of the first cohort, which decide the truth
    genetic = mechanism.genetics(joined, tier, np.concatenate([first.groups, people]), again)
    if not np.allclose(genetic.values[:known], first.genetic.values, atol=SAME_TRUTH):
        raise AssertionError("the first cohort's genetic values changed beside other people")
    own = GeneticPart(
        genetic.values[known:], genetic.causal, None if genetic.design is None else genetic.design[known:]
    )
    moved = {**world, "tr": settings["tr"], "n_frames": settings["n_frames"]}
    new = second["sites"] == "new"
    wide = replace(tier, n_sites=2 * tier.n_sites) if new else tier
    brain = mechanism.brain(wide, moved, again["brain"])
    if new and not isinstance(brain.model, ModeScans):
        raise UserError(f"second.sites=new: mechanism={mechanism.name} draws its scanners with everything else")
    return Drawn(
        only_new(joined, known), people, pedigree, own, brain, rng,
        prefix=f"T{settings['seed']:03d}", first_site=tier.n_sites if new else 0,
    )  # fmt: skip


def _refuse_other_truth(like: Path, drawn: Drawn) -> None:
    """Refuse a first cohort that this version does not draw as it stands in its files."""
    found, now = read_truth(_known_answer(like))["g"], drawn.genetic.values
    same = found.shape == now.shape and np.allclose(np.sort(found, axis=0), np.sort(now, axis=0), atol=SAME_TRUTH)
    if not same:
        raise UserError(
            f"like={like} was simulated by another version of genebrain or msprime, which drew other genomes: simulate "
            "it again with this one"
        )


def _groups(n: int, n_groups: int, mix: list[float] | None) -> Any:
    if mix is None:
        return np.arange(n) * n_groups // n
    if len(mix) != n_groups:
        raise UserError(f"second.mix={mix} has {len(mix)} shares, and the cohort has {n_groups} ancestry groups")
    ends = np.cumsum(mix) / np.sum(mix)
    return np.minimum(np.searchsorted(ends, (np.arange(n) + 0.5) / n), n_groups - 1).astype(np.int64)


def _known_answer(like: Path) -> Path:
    if not like.exists():
        raise UserError(f"like={like} does not exist: name the cohort.yaml of a simulated cohort")
    answer = (like if like.is_dir() else like.parent) / FILE
    if not answer.is_file():
        raise UserError(f"like={like} is no simulated cohort: there is no {FILE} beside it")
    return answer


def _settings_of(like: Path) -> dict[str, Any]:
    found = read_known_answer(_known_answer(like)).get("settings")
    if not isinstance(found, dict) or "seed" not in found:
        raise UserError(f"like={like} was simulated by an older version, which did not keep its settings")
    kept = {**found, **found.get("like", {})} if isinstance(found.get("like", {}), dict) else {"like": found["like"]}
    if wrong := [f"{name}={str(one)[:30]}" for name, one in kept.items() if not _usual_type(name, one)]:
        raise UserError(f"{_known_answer(like)} is damaged ({', '.join(wrong)}): simulate that cohort again")
    return dict(found)


def _usual_type(name: str, value: Any) -> bool:
    """Whether a setting has the type of its usual value; others are compared where they are used."""
    usual = {"seed": 0, "like": {}, "second": {}, **USUAL}.get(name)
    return usual is None or (number(value) if isinstance(usual, float) else type(value) is type(usual))
