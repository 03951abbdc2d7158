"""Practice cohort of the guide: simulated people whose files lie as a VCF and an fMRIPrep folder lie.

    python docs/practice_cohort.py practice

Everything is simulated (300 people, 12 genes, head motion, three sites). The images and confounds tables are those of
``genebrain simulate scans=nifti motion=true``; here they get the names that fMRIPrep gives, and
two people have no scan.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from genebrain import tasks

WITHOUT_SCAN = 2


def main(out: Path, n_subjects: int = 300, seed: int = 7) -> None:
    """Write the cohort below ``out``: ``raw/`` as simulated, ``derivatives/`` and the tables as a lab has them."""
    raw = Path(tasks.simulate(out / "raw", scans="nifti", motion=True, n_subjects=n_subjects, seed=seed)).parent
    scans = pd.read_csv(raw / "scans.tsv", sep="\t").sort_values("participant_id")
    for scan in scans[WITHOUT_SCAN:].itertuples():
        stem = f"sub-{scan.participant_id}_task-rest"
        func = out / "derivatives" / f"sub-{scan.participant_id}" / "func"
        func.mkdir(parents=True, exist_ok=True)
        image = func / f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
        _link(raw / scan.path, image)
        _link(raw / scan.confounds, func / f"{stem}_desc-confounds_timeseries.tsv")
        sidecar = {"RepetitionTime": scan.tr, "SkullStripped": False}
        Path(str(image).replace(".nii.gz", ".json")).write_text(json.dumps(sidecar) + "\n")
    for name in ("genotypes.vcf.gz", "genotypes.vcf.gz.tbi", "reference.fa", "windows.bed", "atlas.nii.gz"):
        _link(raw / name, out / name)
    _link(raw / "participants.tsv", out / "participants.tsv")
    print(f"wrote {out}: {len(scans)} people, {len(scans) - WITHOUT_SCAN} with a scan")


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.hardlink_to(source)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
