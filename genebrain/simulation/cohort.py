"""Writer of a cohort whose best possible gene-to-brain retrieval is known exactly.

Genomes with real linkage make a latent trait, the trait shapes the powers of connectome modes, the modes make
scans; every file has the form of a real cohort's. Same settings and seed, same bytes. The cohort is written
beside its place and renamed when whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from genebrain.common.alone import waiting_for
from genebrain.common.leftovers import sweep_folders, writer
from genebrain.common.types import UserError
from genebrain.simulation.draw import draw
from genebrain.simulation.genome.awkward import NEEDED_POLICIES
from genebrain.simulation.genome.sources import REAL_GENOMES
from genebrain.simulation.known_answer import FILE, ORACLE_NOTE, ceilings, stands_already, write_known_answer
from genebrain.simulation.mechanisms.registry import GeneticPart
from genebrain.simulation.motion import READING
from genebrain.simulation.scans import reliability
from genebrain.simulation.second_cohort import draw_like, settings_like
from genebrain.simulation.second_settings import SecondCohort, second_settings
from genebrain.simulation.settings import (
    DEFAULT_MECHANISM,
    DEFAULT_TIER,
    REAL_SUBJECTS,
    checked,
    cohort_name,
    mechanism_of,
)
from genebrain.simulation.tables import People, write_participants, write_scans
from genebrain.simulation.tiers import REFERENCE_FRAMES, Tier

DEFAULT_SUBJECTS = 1500
VERSION = 2
SOURCE = (
    "exact Bayes-optimal retrieval of the simulated model (genebrain.evaluation.ceiling), standardised g and u with "
    "squared correlation r2 per dimension; galleries of unrelated people"
)
NOISY = "; u is the reading of scans without the noise of the other scanner, so that this is an upper bound"
BOUND = "; u is the true trait, so that this is an upper bound: no scan tells the trait without error"


def simulate_cohort(
    out: Path | str,
    tier: str = DEFAULT_TIER,
    n_subjects: int = DEFAULT_SUBJECTS,
    seed: int = 0,
    *,
    mechanism: str = DEFAULT_MECHANISM,
    null_twin: bool = False,
    n_windows: int = 12,
    window_bp: int = 20_000,
    longest_bp: int | None = None,
    n_contigs: int = 3,
    n_genomewide: int = 2_000,
    genomes: Literal["msprime", "chr20_1000g"] = "msprime",
    scans: Literal["parcels", "nifti"] = "parcels",
    awkward: bool = False,
    motion: bool = False,
    n_frames: int = REFERENCE_FRAMES,
    tr: float = 0.735,
    n_parcels: int = 80,
    like: Path | str | None = None,
    second: SecondCohort | Mapping[str, Any] | None = None,
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
    mechanism : str
        Name in :data:`genebrain.simulation.mechanisms.MECHANISMS`: how genomes shape a trait and the trait a scan. The
        tiers are settings of the default one; the others have their own, changed through ``**model``.
    null_twin : bool
        Give every person the trait of another one: the same genomes and the same kind of scans, and no relation.
    n_windows, window_bp, n_contigs : int
        Simulated gene windows, their length in bases, and the contigs they lie on.
    longest_bp : int, optional
        Windows grow evenly from ``window_bp`` to this length; None: all have the same.
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
    like : Path or str, optional
        ``cohort.yaml`` of a simulated cohort whose causal truth this one shares, with other people of its population
        (:mod:`genebrain.simulation.second_cohort`). Genome, mechanism and tier are its; ``n_subjects``, ``n_frames``
        and ``tr`` at their defaults are its too.
    second : SecondCohort or mapping of its fields, optional
        With ``like``: another scanner, ancestry mix or other allele frequencies.
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
    out, second = Path(out), second_settings(second)
    if genomes == REAL_GENOMES and n_subjects == DEFAULT_SUBJECTS:
        n_subjects = REAL_SUBJECTS
    settings = {
        "version": VERSION, "tier": tier, "n_subjects": n_subjects, "seed": seed, "n_windows": n_windows,
        "window_bp": window_bp, "n_contigs": n_contigs, "n_genomewide": n_genomewide, "genomes": genomes,
        "scans": scans, "awkward": awkward, "n_frames": n_frames, "tr": tr, "n_parcels": n_parcels, "model": model,
    }  # fmt: skip
    # Cohorts without keep their bytes.
    settings |= {name: True for name, on in {"motion": motion, "null_twin": null_twin}.items() if on}
    settings |= {} if longest_bp is None else {"longest_bp": longest_bp}
    if mechanism != DEFAULT_MECHANISM:
        settings |= {"mechanism": mechanism}
    if like is not None:
        settings = settings_like(Path(like), settings, second)
    elif second.changed():
        raise UserError(
            f"{', '.join(second.changed())}: these belong to like=COHORT, a second cohort of the same truth"
        )
    chosen = checked(settings)
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
                _make(out, chosen, settings, None if like is None else Path(like))
        finally:
            lock.unlink(missing_ok=True)
    return out / "cohort.yaml"


def _make(out: Path, chosen: Tier, settings: dict[str, Any], like: Path | None) -> None:
    """Write the cohort beside its place and give it its name."""
    work: Path | None = None
    sweep_folders(out)
    try:
        work = Path(tempfile.mkdtemp(prefix=f"{out.name}.partial-{writer()}-", dir=out.parent))
        work.chmod(0o755)
        _write(work, chosen, settings, like)
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


def _write(folder: Path, tier: Tier, settings: dict[str, Any], like: Path | None) -> None:
    drawn = draw(tier, settings) if like is None else draw_like(tier, settings, like)
    source, genetic, brain, rng = drawn.source, drawn.genetic, drawn.brain, drawn.streams
    mechanism, g = mechanism_of(settings), genetic.values
    acting = g[rng["twin"].permutation(len(g))] if settings.get("null_twin") else g
    z = np.sqrt(tier.h2) * acting + np.sqrt(1 - tier.h2) * rng["trait"].normal(size=g.shape)

    people = People.draw(
        source.samples, drawn.groups, drawn.pedigree, tier, rng["people"],
        families_known=settings["genomes"] != REAL_GENOMES, prefix=drawn.prefix,
    )  # fmt: skip
    people = replace(people, site=people.site + drawn.first_site)
    files = source.write(folder, genetic.causal)
    u, own, mean_fd = write_scans(folder, people, brain, z, tier.n_sessions, settings)
    if mean_fd is not None:
        people = replace(people, mean_fd=mean_fd)
    write_participants(folder / "participants.tsv", people, source.panel, has_groups=tier.n_groups > 1)

    rel = reliability(brain.loudness, settings["n_frames"], tier.n_sessions) if mechanism.exact else 1.0
    answer = _answer(tier, settings, rel, brain.loudness, genetic)
    truth = {"g": g[people.genome], "z": z[people.order], "u": np.sqrt(rel) * u[people.order]}
    if genetic.design is not None:
        truth["design"] = genetic.design[people.genome]
    if tier.mislabelled:
        truth["mislabelled"] = (people.genome != people.order).astype(np.float32)
    write_known_answer(folder, answer, truth)
    description = {
        "name": f"{settings['genomes']}-{cohort_name(settings)}" + f"-seed{settings['seed']}" * ("like" in settings),
        "participants": "participants.tsv",
        **files,
    }
    description |= {"scans": "scans.tsv", **own, "known_answer": FILE}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(description, sort_keys=False))


def _answer(tier: Tier, settings: dict[str, Any], rel: float, loudness: float, genetic: GeneticPart) -> dict[str, Any]:
    """Settings, theory and ceilings; with a confound the ceiling holds within strata only."""
    mechanism = mechanism_of(settings)
    r2 = 0.0 if settings.get("null_twin") else tier.h2 * rel
    noise = settings.get("second", {}).get("noise", 0.0)
    table = ceilings(tier.k, r2, tier.mislabelled)
    confounded = tier.n_groups > 1 and tier.site_shift > 0
    scope = "within site x ancestry" if confounded else "all unrelated people"
    return {
        "tier": cohort_name(settings),
        "k": tier.k,
        "h2": tier.h2,
        "rel": rel,
        "r2": r2,
        "seed": settings["seed"],
        "n_subjects": settings["n_subjects"],
        "loudness": loudness,
        "n_causal": len(genetic.causal),
        "source": SOURCE + (NOISY if noise else "" if mechanism.exact else BOUND),
        "scope": scope,
        "ceiling": None if confounded else table,
        "ceiling_within_strata": table if confounded else None,
        **({"motion": READING} if settings.get("motion") else {}),
        **({"noise": noise} if noise else {}),
        "oracle": ORACLE_NOTE,
        "policies": dict(NEEDED_POLICIES) if settings["awkward"] else {},
        "model": asdict(tier),
        "settings": settings,
    }
