"""Write small cohorts by hand: every file a few lines, every detail open to be broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pysam
import yaml

LENGTH = 2000
START, END = 200, 1800


@dataclass
class SmallCohort:
    """A cohort on disk under ``folder``; change the fields, then :meth:`write`."""

    folder: Path
    n: int = 24
    seed: int = 0
    contig: str = "chr1"
    spacing: int = 20
    write_reference: str = ""
    participants: list[dict[str, object]] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    scans: list[dict[str, object]] = field(default_factory=list)
    series: dict[str, np.ndarray] = field(default_factory=dict)
    keys: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        ids = [f"{i:03d}" for i in range(self.n)]
        self.samples = list(ids)
        self.participants = [
            {"participant_id": name, "site": "AB"[i % 2], "sex": "FM"[i // 2 % 2], "age": 40 + i}
            for i, name in enumerate(ids)
        ]
        self.scans = [{"participant_id": name, "session": "1", "path": f"scans/{name}.npy", "tr": 0.8} for name in ids]
        self.series = {name: random.normal(size=(400, 6)).astype(np.float32) for name in ids}
        self.sequence = "".join(random.choice(list("ACGT"), LENGTH))
        self.sites = list(range(START + 10, END - 10, self.spacing))
        self.alleles = [next(b for b in "ACGT" if b != self.sequence[pos]) for pos in self.sites]
        calls = random.integers(0, 2, size=(len(self.sites), self.n, 2))
        self.genotypes = [[f"{a}|{b}" for a, b in row] for row in calls]
        self.keys = {
            "name": "small",
            "participants": "participants.tsv",
            "genotypes": "genotypes.vcf.gz",
            "reference": "reference.fa",
            "windows": "windows.bed",
            "scans": "scans.tsv",
        }

    def write(self) -> Path:
        """All files; returns the path of ``cohort.yaml``."""
        folder = self.folder
        (folder / "scans").mkdir(parents=True, exist_ok=True)
        write_table(folder / "participants.tsv", self.participants)
        write_table(folder / "scans.tsv", self.scans)
        for name, series in self.series.items():
            np.save(folder / "scans" / f"{name}.npy", series)
        (folder / "reference.fa.fai").unlink(missing_ok=True)
        (folder / "reference.fa").write_text(f">chr1\n{self.write_reference or self.sequence}\n")
        (folder / "windows.bed").write_text(f"chr1\t{START}\t{END}\tGENE1\t0\t+\n")
        write_vcf(
            folder / "genotypes.vcf.gz",
            self.contig,
            self.samples,
            [
                (pos, self.sequence[pos], alternate, row)
                for pos, alternate, row in zip(self.sites, self.alleles, self.genotypes, strict=True)
            ],
        )
        path = folder / "cohort.yaml"
        path.write_text(yaml.safe_dump(self.keys))
        return path


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["\t".join(columns)] + ["\t".join(str(row.get(c, "")) for c in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def write_vcf(path: Path, contig: str, samples: list[str], records: list[tuple[int, str, str, list[str]]]) -> None:
    """A bgzipped, tabix-indexed VCF; positions are 0-based."""
    plain = path.with_suffix("")
    header = ["##fileformat=VCFv4.2", f"##contig=<ID={contig},length={LENGTH}>"]
    header.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    header.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]))
    body = [
        "\t".join([contig, str(pos + 1), ".", reference, alternate, ".", "PASS", ".", "GT", *calls])
        for pos, reference, alternate, calls in records
    ]
    plain.write_text("\n".join(header + body) + "\n")
    pysam.tabix_compress(str(plain), str(path), force=True)
    pysam.tabix_index(str(path), preset="vcf", force=True)
    plain.unlink()
