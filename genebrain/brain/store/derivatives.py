"""The scans of a folder, found by the names that pipelines give: fMRIPrep, UK Biobank, Human Connectome Project.

Contract: one pass over file names, nothing is opened. A file that fits no pattern is left alone; a folder in which two
layouts, two template spaces or two tasks are mixed is an error, never a guess.

What it does NOT know: what is inside the images, time steps, tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from genebrain.common.types import UserError

BOLD = re.compile(r"sub-[^/]*_bold\.nii(?:\.gz)?$")
BIOBANK = re.compile(
    r"(?:^|/)(?P<id>\d{7})(?:_20227_(?P<visit>\d)_\d)?/(?:fMRI/)?rfMRI\.ica/"
    r"(?P<file>filtered_func_data_clean(?P<mni>_MNI)?\.nii(?:\.gz)?)$"
)
CONNECTOME = re.compile(
    r"(?:^|/)(?P<id>[A-Za-z0-9]+(?:_V\d+_MR)?)/MNINonLinear/Results/"
    r"(?P<run>rfMRI_REST[A-Za-z0-9]*(?:_(?:LR|RL|AP|PA))?)/"
    r"(?P<file>(?P=run)_hp[A-Za-z0-9]+_clean(?P<more>(?:_[rt]clean)*)\.nii(?:\.gz)?)$"
)
NATIVE_NOTE = (
    "these UK Biobank scans lie in each person's own space, not in a template's: an atlas in template space does not "
    "fit them; register them first (filtered_func_data_clean_MNI is looked for before)"
)


@dataclass(frozen=True)
class Found:
    """One scan of a folder."""

    participant_id: str
    session: str
    path: Path
    mask: Path | None = None
    confounds: Path | None = None
    sidecars: tuple[Path, ...] = ()


@dataclass
class Layout:
    """Scans of one naming scheme, and what a reader should know about them."""

    name: str
    scans: list[Found]
    notes: list[str] = field(default_factory=list)


def find_scans(folder: Path, space: str | None = None, task: str | None = None) -> Layout:
    """All scans of a folder.

    Parameters
    ----------
    folder
        Searched to its depths.
    space, task
        Which template space and task to take where there are several.

    Raises
    ------
    UserError
        No scan, several layouts, several spaces or tasks.
    """
    files = sorted(_walk(folder))
    layouts = [layout for find in FINDERS if (layout := find(folder, files, space, task)) is not None]
    if len(layouts) > 1:
        kinds = " and ".join(f"{len(one.scans)} in the layout of {one.name}" for one in layouts)
        raise UserError(
            f"{folder} holds scans in several layouts ({kinds}); name one of the folders inside, or list the scans in "
            "a table (participant_id, path)"
        )
    if layouts:
        return layouts[0]
    zipped = sum(bool(re.search(r"_20227_\d_\d\.zip$", name)) for name in files)
    images = sum(name.endswith((".nii", ".nii.gz")) for name in files)
    hint = f"; its {zipped} zip files of UK Biobank must be unpacked first" if zipped else ""
    raise UserError(
        f"{folder} holds no scan in a known layout{hint}. Looked for sub-*_bold.nii.gz (fMRIPrep), "
        "ID_20227_2_0/fMRI/rfMRI.ica/filtered_func_data_clean.nii.gz (UK Biobank), "
        "ID/MNINonLinear/Results/rfMRI_REST*/rfMRI_REST*_hp2000_clean.nii.gz (Connectome Project); "
        f"{images} other images. List them in a table with the columns participant_id, path and tr"
    )


def _walk(folder: Path) -> list[str]:
    """Paths of all files, relative to the folder, with slashes; linked folders are entered, each once."""
    seen, names = set(), []
    for root, inside, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(root)) in seen:
            inside.clear()
            continue
        seen.add(place)
        names += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return names


def entities(name: str) -> dict[str, str]:
    """``sub-01_ses-1_task-rest_bold`` -> ``{"sub": "01", "ses": "1", "task": "rest"}``."""
    return dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+.]+)", name))


def _fmriprep(folder: Path, files: list[str], space: str | None, task: str | None) -> Layout | None:
    """``sub-*_bold.nii[.gz]`` with mask and confounds beside them."""
    found = [folder / name for name in files if BOLD.search(name)]
    if not found:
        return None
    parts = {p: entities(p.name) for p in found}
    # A folder of preprocessed scans may also hold the raw ones, which are not aligned to any template.
    preprocessed = [p for p in found if parts[p].get("desc") == "preproc"]
    found = preprocessed or found
    for key, wanted in (("space", space), ("task", task)):
        present = sorted({parts[p].get(key, "none") for p in found})
        if wanted is not None:
            found = [p for p in found if parts[p].get(key, "none") == wanted]
            if not found:
                raise UserError(f"no scan in {folder} has {key}-{wanted}; there are: {', '.join(present)}")
        elif len(present) > 1:
            raise UserError(f"{folder} holds scans with several values of {key} ({', '.join(present)}): choose one")
    scans = []
    for scan in found:
        own = parts[scan]
        stem = re.sub(r"_(?:desc-[a-zA-Z0-9]+_)?bold\.nii(?:\.gz)?$", "", scan.name)
        run = re.sub(r"_(?:space|res|cohort|desc)-[a-zA-Z0-9+.]+", "", stem)
        scans.append(
            Found(
                f"sub-{own['sub']}",
                f"ses-{own['ses']}" if "ses" in own else "",
                scan,
                _first(scan.parent, f"{stem}_desc-brain_mask.nii.gz", f"{stem}_desc-brain_mask.nii"),
                _first(scan.parent, f"{run}_desc-confounds_timeseries.tsv", f"{run}_desc-confounds_regressors.tsv"),
            )
        )
    return Layout("fMRIPrep", scans)


def _biobank(folder: Path, files: list[str], space: str | None, task: str | None) -> Layout | None:
    """Bulk field 20227, unpacked: in template space where somebody has put it there, else in the person's own."""
    matches = [(name, match) for name in files if (match := BIOBANK.search(name))]
    if not matches:
        return None
    _only_rest(task, "UK Biobank")
    in_template = {name.rsplit("/", 1)[0] for name, match in matches if match["mni"]}
    wanted = space or ("MNI" if in_template else "native")
    if wanted not in ("MNI", "native"):
        raise UserError(f"space={space}: scans of UK Biobank are in space MNI or native")
    taken = [(name, match) for name, match in matches if bool(match["mni"]) == (wanted == "MNI")]
    left_out = len({name.rsplit("/", 1)[0] for name, _ in matches}) - len(taken)
    if left_out:
        raise UserError(
            f"{left_out} scans in {folder} have no version in space {wanted}, {len(taken)} have: scans of two spaces "
            f"cannot be mixed; register the others, or choose space={'native' if wanted == 'MNI' else 'MNI'}"
        )
    scans = []
    for name, match in taken:
        path = folder / name
        mask = None if wanted == "MNI" else _first(path.parent, "mask.nii.gz", "mask.nii")
        sidecars = (path.parent.parent / "rfMRI.json", path.parent / "rfMRI.json")
        scans.append(Found(match["id"], f"ses-{match['visit'] or '2'}", path, mask, None, sidecars))
    return Layout("UK Biobank", scans, [] if wanted == "MNI" else [NATIVE_NOTE])


def _connectome(folder: Path, files: list[str], space: str | None, task: str | None) -> Layout | None:
    """Cleaned resting scans of the Human Connectome Project; of a run with several versions the most cleaned one."""
    matches = [match for name in files if (match := CONNECTOME.search(name))]
    if not matches:
        return None
    _only_rest(task, "the Connectome Project")
    if space not in (None, "MNI"):
        raise UserError(f"space={space}: scans of the Connectome Project are in space MNI")
    best: dict[tuple[str, str], re.Match[str]] = {}
    for match in sorted(matches, key=lambda match: len(match["more"])):
        best[match["id"], match["run"]] = match
    scans = []
    for (person, run), match in sorted(best.items()):
        path = folder / match.string
        scans.append(Found(person, run.removeprefix("rfMRI_"), path, _first(path.parent, "brainmask_fs.2.nii.gz")))
    return Layout("the Connectome Project", scans)


FINDERS: tuple[Callable[[Path, list[str], str | None, str | None], Layout | None], ...] = (
    _fmriprep,
    _biobank,
    _connectome,
)


def _only_rest(task: str | None, layout: str) -> None:
    if task not in (None, "rest"):
        raise UserError(f"task={task}: of {layout}, resting scans are looked for; list others in a table")


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
