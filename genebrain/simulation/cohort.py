"""Write a cohort whose best possible gene-to-brain retrieval is known exactly.

Genomes with real linkage make a latent trait, the trait shapes the powers of connectome modes, the modes make
scans; every file has the form of a real cohort's. Same settings and seed, same bytes. The cohort is written
beside its place and renamed when whole.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from genebrain.common.alone import waiting_for
from genebrain.common.leftovers import sweep_folders, writer
from genebrain.common.types import UserError
from genebrain.simulation.awkward import NEEDED_POLICIES
from genebrain.simulation.families import Pedigree, plan_families
from genebrain.simulation.genome_sources import REAL_GENOMES, Genomes, RealGenomes, SimulatedGenomes
from genebrain.simulation.known_answer import FILE, ORACLE_NOTE, ceilings, stands_already, write_known_answer
from genebrain.simulation.motion import READING
from genebrain.simulation.scans import BrainModel, Parcels, loudness_for, reliability, synthetic_connectome
from genebrain.simulation.tables import People, write_participants, write_scans
from genebrain.simulation.tiers import REFERENCE_FRAMES, Tier, get_tier
from genebrain.simulation.traits import (
    FEWEST_BASES_PER_DIMENSION,
    bases_wanted,
    choose_causal,
    genetic_values,
    variants_needed,
)

DEFAULT_SUBJECTS, REAL_SUBJECTS = 1500, 300
FST = 0.05
VERSION = 2
GENOMES = ("msprime", REAL_GENOMES)
COUNTS = ("n_windows", "window_bp", "n_contigs")
SOURCE = (
    "exact Bayes-optimal retrieval of the simulated model (genebrain.evaluation.ceiling), standardised g and u with "
    "squared correlation r2 per dimension; galleries of unrelated people"
)
STREAMS = ("genomes", "causal", "people", "trait", "brain")


def simulate_cohort(
    out: Path | str,
    tier: str = "smoke",
    n_subjects: int = DEFAULT_SUBJECTS,
    seed: int = 0,
    *,
    n_windows: int = 12,
    window_bp: int = 20_000,
    n_contigs: int = 3,
    n_genomewide: int = 2_000,
    genomes: Literal["msprime", "chr20_1000g"] = "msprime",
    scans: Literal["parcels", "nifti"] = "parcels",
    awkward: bool = False,
    motion: bool = False,
    n_frames: int = REFERENCE_FRAMES,
    tr: float = 0.735,
    n_parcels: int = 80,
    **model: Any,
) -> Path:
    """Simulate a cohort, or return the one that stands there with the same settings.

    Parameters
    ----------
    out : Path or str
        Folder; created. Must not exist, be empty, or hold a cohort of these very settings.
    tier : str
        Name in :data:`genebrain.simulation.tiers.TIERS`.
    n_subjects : int
        People. With the real genomes at most 300; the default then means all of them.
    seed : int
        Decides everything random.
    n_windows, window_bp, n_contigs : int
        Simulated gene windows, their length in bases, and the contigs they lie on.
    n_genomewide : int
        Unlinked SNPs outside the windows, for principal components and kinship.
    genomes : {"msprime", "chr20_1000g"}
        Simulated, or the 300 real people that the project ships.
    scans : {"parcels", "nifti"}
        Parcel series as ``.npy``, or 4D images with a label image.
    awkward : bool
        Add to the genotypes and the reference what real files hold. The truth stays;
        ``policies`` in ``known_answer.json`` says which reading policies are then needed.
    motion : bool
        Let heads move: artefacts at moved frames, and a confounds table beside each scan
        (:mod:`genebrain.simulation.motion`). Everything else stays as without.
    n_frames, tr, n_parcels
        Frames per scan, repetition time in seconds, parcels (even). 424 parcels lie where those of A424 do, which
        is what BrainLM reads; other numbers lie at random, mirrored.
    **model
        Fields of :class:`~genebrain.simulation.tiers.Tier` to change, such as ``h2=0.3``.

    Returns
    -------
    Path of ``cohort.yaml``.

    Raises
    ------
    UserError
        Impossible settings, a folder that holds something else, a disk that cannot be written.
    """
    out = Path(out)
    if genomes == REAL_GENOMES and n_subjects == DEFAULT_SUBJECTS:
        n_subjects = REAL_SUBJECTS
    settings = {
        "version": VERSION, "tier": tier, "n_subjects": n_subjects, "seed": seed, "n_windows": n_windows,
        "window_bp": window_bp, "n_contigs": n_contigs, "n_genomewide": n_genomewide, "genomes": genomes,
        "scans": scans, "awkward": awkward, "n_frames": n_frames, "tr": tr, "n_parcels": n_parcels, "model": model,
    }  # fmt: skip
    if motion:  # cohorts without keep their bytes
        settings["motion"] = True
    chosen = _checked(settings)
    if stands_already(out, settings):
        return out / "cohort.yaml"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the cohort cannot be written to {out}: {error}; nothing was left there") from error
    lock = out.parent / f".{out.name}.lock"
    with waiting_for(lock, f"another process is simulating the cohort {out}; waiting for it"):
        try:
            if not stands_already(out, settings):  # else another process has made it meanwhile
                _make(out, chosen, settings)
        finally:
            lock.unlink(missing_ok=True)
    return out / "cohort.yaml"


def _make(out: Path, chosen: Tier, settings: dict[str, Any]) -> None:
    """Write the cohort beside its place and give it its name."""
    work: Path | None = None
    sweep_folders(out)
    try:
        work = Path(tempfile.mkdtemp(prefix=f"{out.name}.partial-{writer()}-", dir=out.parent))
        work.chmod(0o755)
        _write(work, chosen, settings)
        if out.is_dir():
            out.rmdir()
        work.rename(out)
    except OSError as error:
        if out.is_dir() and stands_already(out, settings):
            return
        raise UserError(f"the cohort cannot be written to {out}: {error}; nothing was left there") from error
    finally:
        if work is not None and work.exists():
            shutil.rmtree(work, ignore_errors=True)


def _write(folder: Path, tier: Tier, settings: dict[str, Any]) -> None:
    n, seed = settings["n_subjects"], settings["seed"]
    rng = {name: np.random.default_rng([seed, stream]) for stream, name in enumerate(STREAMS)}
    pedigree = plan_families(n, tier.siblings, tier.twins)
    groups = np.arange(pedigree.n_founders) * tier.n_groups // pedigree.n_founders
    source = _genomes(settings, tier, pedigree, groups, rng["genomes"])
    dosages = source.dosages
    causal = choose_causal(dosages, source.usable, tier.k * tier.causal_per_dim, rng["causal"])
    columns = np.stack([dosages[window][site] for window, site in causal], axis=1)
    groups = groups[:n] if tier.n_groups > 1 else np.zeros(n, np.int64)
    g = genetic_values(columns, tier.k, tier.architecture, groups, rng["trait"])
    z = np.sqrt(tier.h2) * g + np.sqrt(1 - tier.h2) * rng["trait"].normal(size=g.shape)

    people = People.draw(
        source.samples, groups, pedigree, tier, rng["people"], families_known=settings["genomes"] != REAL_GENOMES
    )
    loudness = loudness_for(tier.rel, REFERENCE_FRAMES)
    parcels = Parcels.of(settings["n_parcels"], rng["brain"])
    brain = BrainModel.build(
        synthetic_connectome(parcels, rng["brain"]),
        k=tier.k, n_active=tier.n_active, loudness=loudness, tr=settings["tr"], rng=rng["brain"],
    )  # fmt: skip
    shift = tier.site_shift * rng["brain"].normal(size=(tier.n_sites, settings["n_parcels"]))
    files = source.write(folder, causal)
    u, own, mean_fd = write_scans(folder, people, brain, z, shift, tier.n_sessions, settings, parcels.points)
    if mean_fd is not None:
        people = replace(people, mean_fd=mean_fd)
    write_participants(folder / "participants.tsv", people, source.panel, has_groups=tier.n_groups > 1)

    rel = reliability(loudness, settings["n_frames"], tier.n_sessions)
    answer = _answer(tier, settings, rel, loudness, len(causal))
    truth = {"g": g[people.genome], "z": z[people.order], "u": np.sqrt(rel) * u[people.order]}
    if tier.mislabelled:
        truth["mislabelled"] = (people.genome != people.order).astype(np.float32)
    write_known_answer(folder, answer, truth)
    description = {"name": f"{settings['genomes']}-{settings['tier']}", "participants": "participants.tsv", **files}
    description |= {"scans": "scans.tsv", **own, "known_answer": FILE}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(description, sort_keys=False))


def _genomes(
    settings: dict[str, Any], tier: Tier, pedigree: Pedigree, groups: NDArray[np.int64], rng: np.random.Generator
) -> Genomes:
    n = settings["n_subjects"]
    if settings["genomes"] == REAL_GENOMES:
        return RealGenomes.read(n)
    numbers = np.random.default_rng([settings["seed"], len(STREAMS)]).permutation(n)
    return SimulatedGenomes.simulate(
        pedigree,
        groups,
        [f"G{number + 1:06d}" for number in numbers],
        n_windows=settings["n_windows"],
        window_bp=settings["window_bp"],
        n_contigs=settings["n_contigs"],
        n_genomewide=settings["n_genomewide"],
        fst=FST,
        awkward_seed=settings["seed"] + 1 if settings["awkward"] else None,
        write_panel=bool(tier.siblings or tier.twins),
        rng=rng,
    )


def _answer(tier: Tier, settings: dict[str, Any], rel: float, loudness: float, n_causal: int) -> dict[str, Any]:
    """Settings, theory and ceilings; with a confound the ceiling holds within strata only."""
    r2 = tier.h2 * rel
    table = ceilings(tier.k, r2, tier.mislabelled)
    confounded = tier.n_groups > 1 and tier.site_shift > 0
    scope = "within site x ancestry" if confounded else "all unrelated people"
    return {
        "tier": settings["tier"],
        "k": tier.k,
        "h2": tier.h2,
        "rel": rel,
        "r2": r2,
        "seed": settings["seed"],
        "n_subjects": settings["n_subjects"],
        "loudness": loudness,
        "n_causal": n_causal,
        "source": SOURCE,
        "scope": scope,
        "ceiling": None if confounded else table,
        "ceiling_within_strata": table if confounded else None,
        **({"motion": READING} if settings.get("motion") else {}),
        "oracle": ORACLE_NOTE,
        "policies": dict(NEEDED_POLICIES) if settings["awkward"] else {},
        "model": asdict(tier),
        "settings": settings,
    }


def _checked(settings: dict[str, Any]) -> Tier:
    """The tier with the user's changes; raises one UserError that names everything impossible."""
    tier = get_tier(settings["tier"])
    known = {field.name for field in fields(Tier)}
    if unknown := sorted(set(settings["model"]) - known):
        raise UserError(f"unknown settings {', '.join(unknown)}; a tier has {', '.join(sorted(known))}")
    tier = replace(tier, **settings["model"])
    real, n = settings["genomes"] == REAL_GENOMES, settings["n_subjects"]
    # Genetic values are centred within groups, and identical twins have one genome.
    people = max(2 * tier.n_groups, tier.k + tier.n_groups + round(n * tier.twins / 2))
    needed, bases = variants_needed(tier.k, tier.architecture), settings["n_windows"] * settings["window_bp"]
    wrong = [
        (settings["genomes"] not in GENOMES, f"genomes={settings['genomes']} is not one of {GENOMES}"),
        (settings["scans"] not in ("parcels", "nifti"), f"scans={settings['scans']} is not parcels or nifti"),
        (real and n > REAL_SUBJECTS, f"n_subjects={n}, but {REAL_GENOMES} has {REAL_SUBJECTS} people"),
        (
            real and (tier.n_groups > 1 or tier.siblings + tier.twins > 0 or settings["awkward"]),
            f"{REAL_GENOMES} has no ancestry groups, families or awkward records: use genomes=msprime for this",
        ),
        (
            n < people,
            f"n_subjects={n} is too few: a trait of k={tier.k} dimensions in n_groups={tier.n_groups} groups, with "
            f"twins={tier.twins:g}, needs {people}",
        ),
        (
            not real and 0 < bases < FEWEST_BASES_PER_DIMENSION * needed,
            f"n_windows={settings['n_windows']} of window_bp={settings['window_bp']} are {bases:,} bases, too few for "
            f"the {needed} independent causal variants of k={tier.k}: {bases_wanted(tier.k, tier.architecture)}",
        ),
        (settings["n_parcels"] % 2 == 1, f"n_parcels={settings['n_parcels']} must be even (two hemispheres)"),
        (
            not tier.k < tier.n_active < settings["n_parcels"],
            f"n_parcels={settings['n_parcels']} is too few: it must be above the {tier.n_active} modes in which"
            f" brains differ (n_active), and these above the {tier.k} dimensions of the trait (k)",
        ),
        (settings["n_frames"] < 2, f"n_frames={settings['n_frames']} must be at least 2"),
        (not 0 < settings["tr"] <= 10, f"tr={settings['tr']} s must lie in (0, 10]"),
        (min(settings[key] for key in COUNTS) < 1, f"{', '.join(COUNTS)} must be at least 1"),
        (not 0 <= tier.h2 < 1 or not 0 < tier.rel < 1, f"need 0 <= h2 < 1 and 0 < rel < 1, got {tier.h2}, {tier.rel}"),
        (not 0 <= tier.siblings + tier.twins <= 1, "siblings and twins are shares and sum to at most 1"),
    ]  # fmt: skip
    if problems := [text for bad, text in wrong if bad]:
        raise UserError("this cohort cannot be simulated: " + "; ".join(problems))
    return tier
