"""The scans of a folder, found by the names that pipelines give: fMRIPrep, XCP-D, UK Biobank, Connectome Project.

One pass over file names, nothing is opened. A file that fits no pattern is left alone; a folder in which two layouts,
or several versions of one recording, are mixed is an error, never a guess.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from genebrain.brain.folders.bids import choose_files
from genebrain.brain.folders.labels import some
from genebrain.brain.folders.names import entities, recording
from genebrain.brain.folders.versions import one_of_twins
from genebrain.common.types import UserError
from genebrain.common.words import counted

ENDS = ("desc-confounds_timeseries.tsv", "desc-confounds_regressors.tsv", "motion.tsv", "desc-filtered_motion.tsv")
"""The best first. XCP-D's ``outliers.tsv`` has a column of this name too, but of zeros and ones."""

Key = tuple[str, ...]

ENDS_OF_IMAGES = (".nii", ".nii.gz")
BIOBANK = re.compile(
    r"(?:^|/)(?P<id>\d{7})(?:_20227_(?P<visit>\d)_\d)?/(?:fMRI/)?rfMRI\.ica/"
    r"(?P<file>filtered_func_data_clean(?P<mni>_MNI)?\.nii(?:\.gz)?)$"
)
CONNECTOME = re.compile(
    r"(?:^|/)(?P<id>[A-Za-z0-9]+(?:_V\d+_MR)?)/MNINonLinear/Results/"
    r"(?P<run>rfMRI_REST[A-Za-z0-9]*(?:_(?:LR|RL|AP|PA))?)/"
    r"(?P<file>(?P=run)(?P<dense>_Atlas(?:_MSMAll)?)?_hp[A-Za-z0-9]+_clean(?P<more>(?:_[rt]clean)*)"
    r"(?(dense)\.dtseries\.nii|\.nii(?:\.gz)?))$"
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


@dataclass
class Layout:
    """Scans of one naming scheme, and what a reader should know about them."""

    name: str
    scans: list[Found]
    notes: list[str] = field(default_factory=list)


def find_scans(folder: Path, choice: Mapping[str, str] | None = None) -> Layout:
    """All scans of a folder.

    Parameters
    ----------
    folder
        Searched to its depths; folders whose names begin with a dot are passed over.
    choice
        Which files to take where there are several versions, as of :func:`~genebrain.brain.folders.names.read_choice`.

    Raises
    ------
    UserError
        No scan, several layouts, several versions of a recording.
    """
    files = sorted(_walk(folder))
    layouts = [layout for find in FINDERS if (layout := find(folder, files, dict(choice or {}))) is not None]
    if len(layouts) > 1:
        kinds = " and ".join(f"{len(one.scans)} in the layout of {one.name}" for one in layouts)
        raise UserError(
            f"{folder} holds scans in several layouts ({kinds}); name one of the folders inside, or list the scans in "
            "a table (participant_id, path)"
        )
    if layouts:
        _tell_absent(folder, layouts[0])
        return layouts[0]
    zipped = sum(bool(re.search(r"_20227_\d_\d\.zip$", name)) for name in files)
    images = sum(name.endswith(ENDS_OF_IMAGES) for name in files)
    hint = f"; its {zipped} zip files of UK Biobank must be unpacked first" if zipped else ""
    raise UserError(
        f"{folder} holds no scan in a known layout{hint}. Looked for sub-*_bold.nii.gz (fMRIPrep, XCP-D), "
        "ID_20227_2_0/fMRI/rfMRI.ica/filtered_func_data_clean.nii.gz (UK Biobank), "
        "ID/MNINonLinear/Results/rfMRI_REST*/rfMRI_REST*_hp2000_clean.nii.gz (Connectome Project); "
        f"{images} other images. List them in a table with the columns participant_id, path and tr"
    )


def _tell_absent(folder: Path, layout: Layout) -> None:
    """A word about scans that are no files: the reader puts them into quarantine, so that nobody is lost silently."""
    absent = [scan for scan in layout.scans if not scan.path.is_file()]
    if len(absent) == len(layout.scans):
        raise UserError(
            f"{folder}: none of {counted(len(absent), 'scan')} is a file; links that point nowhere are files that were "
            "not fetched (datalad get)"
        )
    if absent:
        layout.notes.append(f"{counted(len(absent), 'scan')} cannot be read: links that point nowhere, or no files")


def _walk(folder: Path) -> list[str]:
    """Paths of all files, relative to the folder, with slashes; linked folders are entered, each once.

    A folder that is named like an image is listed, not entered.
    """
    seen, names = set(), []
    for root, inside, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(root)) in seen:
            inside.clear()
            continue
        seen.add(place)
        files += [name for name in inside if name.endswith(ENDS_OF_IMAGES)]
        inside[:] = sorted(name for name in inside if not name.startswith(".") and not name.endswith(ENDS_OF_IMAGES))
        names += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return names


def _bids(folder: Path, files: list[str], choice: dict[str, str]) -> Layout | None:
    """``sub-*_bold.nii[.gz]`` and other series, with mask and confounds beside them."""
    chosen = choose_files(folder, files, choice)
    if chosen is None:
        return None
    tables = motion_tables(files)
    scans = [
        Found(
            f"sub-{own['sub']}",
            f"ses-{own['ses']}" if "ses" in own else "",
            folder / name,
            _mask(folder / name),
            None if (table := motion_table(name, own, tables)) is None else folder / table,
        )
        for name, own in chosen.files.items()
    ]
    denoised = any(own.get("desc", "").startswith(("denoised", "residual")) for own in chosen.files.values())
    return Layout(
        "XCP-D" if denoised or "seg" in next(iter(chosen.files.values())) else "fMRIPrep", scans, chosen.notes
    )


def _mask(scan: Path) -> Path | None:
    stem = re.sub(r"(?:_desc-[^_]+)?_bold\.nii(?:\.gz)?$", "", scan.name)
    stems = (stem, re.sub(r"_(?:echo|part)-[^_]+", "", stem))
    return _first(
        scan.parent, *(f"{own}_desc-brain_mask.nii{gz}" for own in dict.fromkeys(stems) for gz in (".gz", ""))
    )


def _biobank(folder: Path, files: list[str], choice: dict[str, str]) -> Layout | None:
    """Bulk field 20227, unpacked: in template space where somebody has put it there, else in the person's own."""
    names, notes = _one_of_twins(folder, [name for name in files if BIOBANK.search(name)])
    matches = [(name, match) for name in names if (match := BIOBANK.search(name))]
    if not matches:
        return None
    space = _only_rest(choice, "UK Biobank")
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
        scans.append(Found(match["id"], f"ses-{match['visit'] or '2'}", path, mask))
    _refuse_repeated(folder, scans)
    return Layout("UK Biobank", scans, notes if wanted == "MNI" else [NATIVE_NOTE, *notes])


def _connectome(folder: Path, files: list[str], choice: dict[str, str]) -> Layout | None:
    """Cleaned resting scans of the Human Connectome Project; of a run with several versions the most cleaned one."""
    names, notes = _one_of_twins(folder, [name for name in files if CONNECTOME.search(name)])
    matches = [match for name in names if (match := CONNECTOME.search(name))]
    if not matches:
        return None
    kinds = {"nii": [m for m in matches if not m["dense"]], "dtseries": [m for m in matches if m["dense"]]}
    kind = choice.pop("kind", "nii" if kinds["nii"] else "dtseries")
    matches = kinds.get(kind, [])
    if not matches:
        present = ", ".join(name for name, found in kinds.items() if found)
        raise UserError(f"choose={kind}: {folder} holds no such scans; there are: {present}")
    if (space := _only_rest(choice, "the Connectome Project")) not in (None, "MNI"):
        raise UserError(f"space={space}: scans of the Connectome Project are in space MNI")
    most = {(match["id"], match["run"]): 0 for match in matches}
    for match in matches:
        most[match["id"], match["run"]] = max(most[match["id"], match["run"]], len(match["more"]))
    scans = []
    for match in sorted(matches, key=lambda match: (match["id"], match["run"])):
        if len(match["more"]) == most[match["id"], match["run"]]:
            path = folder / match.string
            mask = _first(path.parent, "brainmask_fs.2.nii.gz")
            scans.append(Found(match["id"], match["run"].removeprefix("rfMRI_"), path, mask))
    _refuse_repeated(folder, scans)
    return Layout("the Connectome Project", scans, notes)


FINDERS: tuple[Callable[[Path, list[str], dict[str, str]], Layout | None], ...] = (_bids, _biobank, _connectome)


def _only_rest(choice: dict[str, str], layout: str) -> str | None:
    """The space that is chosen; nothing else can be chosen in layouts that are not BIDS."""
    for key, label in choice.items():
        if key == "task" and label != "rest":
            raise UserError(f"task={label}: of {layout}, resting scans are looked for; list others in a table")
        if key not in ("task", "space"):
            raise UserError(f"choose={key}-{label}: names in the layout of {layout} say nothing of it")
    return choice.get("space")


def _one_of_twins(folder: Path, names: list[str]) -> tuple[list[str], list[str]]:
    files, notes = one_of_twins(folder, {name: {"path": name.removesuffix(".gz")} for name in names})
    return list(files), notes


def _refuse_repeated(folder: Path, scans: list[Found]) -> None:
    """One person has one scan per visit or run; a second one is a copy or another version of it."""
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for scan in scans:
        files[scan.participant_id, scan.session].append(scan.path.relative_to(folder).as_posix())
    if twice := [" and ".join(paths) for paths in files.values() if len(paths) > 1]:
        raise UserError(
            f"{folder}: {counted(len(twice), 'recording')} with several files ({some(twice, 2)}); keep one of each, "
            "name the folder that holds one, or list the scans in a table"
        )


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def motion_tables(names: Iterable[str]) -> dict[Key, dict[str, str]]:
    """Folder and recording -> how the name of a table ends -> its path, of all files of a folder."""
    found: dict[Key, dict[str, str]] = defaultdict(dict)
    for name in names:
        if name.endswith("tsv"):
            own = entities(name.rsplit("/", 1)[-1])
            for end in ENDS:
                if name.endswith(f"_{end}") and (end != "motion.tsv" or "desc" not in own):
                    found[_key(name, own)].setdefault(end, name)
    return found


def motion_table(name: str, own: Mapping[str, str], tables: Mapping[Key, Mapping[str, str]]) -> str | None:
    """The table of a scan, of those in its folder."""
    beside = tables.get(_key(name, own), {})
    return next((beside[end] for end in ENDS if end in beside), None)


def _key(name: str, own: Mapping[str, str]) -> Key:
    return (name.rpartition("/")[0], own.get("rec", ""), *recording(own))
