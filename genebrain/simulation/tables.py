"""The tables and scan files of a simulated cohort: who is who, at which site, and where each scan lies.

Participants, genotypes and scans stand in three different orders under unrelated names, as in real studies,
so that joining by position shows at once. Scan files carry a running number, never a person's id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from genebrain.simulation.genome.families import Pedigree
from genebrain.simulation.mechanisms.registry import BrainPart, Conditions
from genebrain.simulation.motion import IMAGE, TABLE, Motion, restless_scans
from genebrain.simulation.tiers import Tier
from genebrain.simulation.volumes import LabelImage

N_COMPONENTS = 10
BATCH = 32
SCAN_STREAM, VOXEL_STREAM, MOTION_STREAM, NOISE_STREAM = 101, 102, 103, 105

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class People:
    """Columns of ``participants.tsv``; rows of the table unless said otherwise.

    Attributes
    ----------
    order : int ``[rows]``
        Person (in the order of the genotype file) of each row.
    genome : int ``[rows]``
        Person whose genome the row carries; differs from ``order`` for the mislabelled.
    genotype_id, participant_id, sex : list of str ``[rows]``
    group, site, family : int ``[people]``
    age, mean_fd : float ``[rows]``
        Years, and mean framewise displacement in mm.
    """

    order: NDArray[np.int64]
    genome: NDArray[np.int64]
    participant_id: list[str]
    genotype_id: list[str]
    group: NDArray[np.int64]
    site: NDArray[np.int64]
    family: NDArray[np.int64]
    family_known: bool
    sex: NDArray[np.str_]
    age: Floats
    mean_fd: Floats

    @classmethod
    def draw(
        cls,
        samples: list[str],
        groups: NDArray[np.int64],
        pedigree: Pedigree,
        tier: Tier,
        rng: np.random.Generator,
        *,
        families_known: bool,
        prefix: str = "S",
    ) -> People:
        """Shuffle people into rows, give them sites, and swap the genomes of the mislabelled in a ring."""
        n = len(samples)
        order = rng.permutation(n)
        site = rng.integers(0, tier.n_sites, n)
        matched = rng.random(n) < tier.site_match
        site[matched] = groups[matched] % tier.n_sites
        genome = order.copy()
        swapped = rng.choice(n, round(tier.mislabelled * n), replace=False)
        genome[swapped] = np.roll(order[swapped], 1)
        return cls(
            order=order,
            genome=genome,
            participant_id=[f"{prefix}{row + 1:06d}" for row in range(n)],
            genotype_id=[samples[person] for person in genome],
            group=groups,
            site=site,
            family=pedigree.family,
            family_known=families_known,
            sex=rng.choice(["F", "M"], n),
            age=rng.uniform(22, 78, n).round(1),
            mean_fd=rng.lognormal(np.log(0.12), 0.4, n).round(4),
        )


def write_participants(path: Path, people: People, panel: NDArray[np.int8], *, has_groups: bool) -> None:
    """Write ``participants.tsv``; components come from the dosages ``panel`` ``[people, SNPs]``."""
    order = people.order
    table = pd.DataFrame({"participant_id": people.participant_id, "genotype_id": people.genotype_id})
    if people.family_known:
        table["family_id"] = [f"F{people.family[person] + 1:06d}" for person in order]
    table["site"] = [f"site{people.site[person] + 1:02d}" for person in order]
    table["sex"], table["age"] = people.sex, people.age
    if has_groups:
        table["ancestry"] = [f"group{people.group[person] + 1:02d}" for person in order]
    components = principal_components(panel)[people.genome]
    for number, column in enumerate(components.T):
        table[f"PC{number + 1}"] = column.round(6)
    table["mean_fd"] = people.mean_fd
    table.to_csv(path, sep="\t", index=False, lineterminator="\n")


def principal_components(panel: NDArray[np.int8]) -> Floats:
    """First components ``[people, at most 10]`` of common SNPs, unit variance."""
    frequency = panel.mean(axis=0) / 2
    common = np.minimum(frequency, 1 - frequency) >= 0.05
    scaled = panel[:, common].astype(np.float64)  # in place: of a biobank this is the largest table
    scaled -= 2 * frequency[common]
    scaled /= np.sqrt(2 * frequency * (1 - frequency))[common]
    wanted = min(N_COMPONENTS, min(scaled.shape) - 1)
    people, _, _ = randomized_svd(scaled, wanted, random_state=0)
    return np.asarray(people * np.sqrt(len(panel)))


def other_scanner(series: Any, gain: float, noise: float, rng: np.random.Generator) -> Any:
    """A scan ``[frames, parcels]`` in other units, with white noise in shares of each parcel's standard deviation."""
    if noise:
        series = series + noise * series.std(axis=0) * rng.standard_normal(series.shape, dtype=np.float32)
    return np.asarray(gain * series, dtype=np.float32) if gain != 1 or noise else series


def write_scans(
    folder: Path,
    people: People,
    brain: BrainPart,
    trait: Floats,
    n_sessions: int,
    settings: dict[str, Any],
) -> tuple[Floats, dict[str, str], Floats | None]:
    """Write scans and ``scans.tsv``, and with ``settings["motion"]`` a confounds table beside each scan.

    Parameters
    ----------
    brain : BrainPart
        Maker of scans, parcels and scanner effects.
    trait : ``[people, k]``

    Returns
    -------
    reading : float ``[people, k]``
        What the oracle reads in the scans without motion, averaged over sessions, not standardised.
    files : dict
        ``parcel_coordinates``, and for images ``atlas``.
    mean_fd : float ``[rows]`` or None
        Mean framewise displacement over the scans of each row of the participants, mm; None without motion.
    """
    (folder / "scans").mkdir()
    seed, n = settings["seed"], len(trait)
    number = np.random.default_rng([seed, SCAN_STREAM]).permutation(n * n_sessions).reshape(n_sessions, n)
    points = brain.parcels.points
    labels = LabelImage.build(points) if settings["scans"] == "nifti" else None
    moving = bool(settings.get("motion"))
    suffix = ".npy" if labels is None else IMAGE if moving else ".nii.gz"
    name = [("scan-" if moving else "") + f"{scan + 1:06d}" for scan in range(n * n_sessions)]
    row_of = np.argsort(people.order)
    level, displacement = people.mean_fd[row_of], np.zeros((n_sessions, n))
    restless = restless_scans(n_sessions, n, np.random.default_rng([seed, MOTION_STREAM]))
    reading = np.zeros_like(trait)
    for session in range(n_sessions):
        for first in range(0, n, BATCH):
            batch = slice(first, first + BATCH)
            rng = np.random.default_rng([seed, SCAN_STREAM, session, first])
            site = people.site[batch]
            here = Conditions(brain.shift[site], site, level[batch])
            series = brain.model.scans(trait[batch], here, settings["n_frames"], rng)
            reading[batch] += brain.model.read_trait(series, trait[batch], here) / n_sessions
            for person, one in enumerate(series, start=first):
                scan = number[session, person]
                path = folder / "scans" / (name[scan] + suffix)
                if scanner := settings.get("second"):
                    rng = np.random.default_rng([seed, NOISE_STREAM, scan])
                    one = other_scanner(one, scanner["gain"], scanner["noise"], rng)
                if moving:
                    rng = np.random.default_rng([seed, MOTION_STREAM, scan])
                    motion = Motion.draw(level[person], len(one), rng, restless=restless[session, person])
                    one, displacement[session, person] = motion.disturb(one, rng), motion.mean_fd
                    motion.write(path.with_name(name[scan] + TABLE), one)
                if labels is None:
                    np.save(path, one)
                else:
                    labels.write_scan(path, one, settings["tr"], np.random.default_rng([seed, VOXEL_STREAM, scan]))
    lines = ["participant_id\tsession\tpath\ttr\tsite" + "\tconfounds\tmean_fd" * moving + "\n"]
    for scan, session, person in sorted((number[s, p], s, p) for s in range(n_sessions) for p in range(n)):
        cells = [people.participant_id[row_of[person]], session + 1, f"scans/{name[scan]}{suffix}"]
        cells += [settings["tr"], f"site{people.site[person] + 1:02d}"]
        if moving:
            cells += [f"scans/{name[scan]}{TABLE}", f"{displacement[session, person]:.4f}"]
        lines.append("\t".join(map(str, cells)) + "\n")
    (folder / "scans.tsv").write_text("".join(lines))
    files = {"parcel_coordinates": "parcel_coordinates.tsv"}
    if labels is not None:
        labels.write(folder / "atlas.nii.gz")
        points, files = labels.centres(), {"atlas": "atlas.nii.gz", **files}
    table = pd.DataFrame(points, columns=["x", "y", "z"]).round(2)
    table.to_csv(folder / "parcel_coordinates.tsv", sep="\t", index=False, lineterminator="\n")
    return reading, files, displacement.mean(axis=0)[people.order].round(4) if moving else None
