"""Small genotype files written for tests: bgzipped, indexed VCF and PGEN with the same records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pgenlib
import pysam


@dataclass(frozen=True)
class Record:
    """One line of a VCF; ``position`` is 0-based, ``genotypes`` as GT strings."""

    position: int
    ref: str
    alts: tuple[str, ...]
    genotypes: tuple[str, ...]
    contig: str = "1"
    filter: str = "PASS"


def write_fasta(path: Path, contigs: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{text}\n" for name, text in contigs.items()))
    return path


def write_vcf(path: Path, contigs: dict[str, str], records: list[Record], samples: list[str]) -> Path:
    """``path`` ends in .vcf.gz; records in the order given."""
    lines = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    lines += [f"##contig=<ID={name},length={len(text)}>" for name, text in contigs.items()]
    lines += ['##FILTER=<ID=q10,Description="low">', '##ALT=<ID=DEL,Description="Deletion">']
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]))
    for r in records:
        fields = [r.contig, str(r.position + 1), ".", r.ref, ",".join(r.alts), ".", r.filter, ".", "GT"]
        lines.append("\t".join([*fields, *r.genotypes]))
    plain = path.with_suffix("")
    plain.write_text("\n".join(lines) + "\n")
    pysam.tabix_compress(str(plain), str(path), force=True)
    pysam.tabix_index(str(path), preset="vcf", force=True)
    plain.unlink()
    return path


def write_pgen(path: Path, records: list[Record], samples: list[str], sex: list[str] | None = None) -> Path:
    """The same records; haploid genotypes are stored doubled, as plink2 does."""
    most = max(len(r.alts) for r in records) + 1
    with pgenlib.PgenWriter(
        str(path).encode(),
        len(samples),
        variant_ct=len(records),
        nonref_flags=False,
        allele_ct_limit=most,
        hardcall_phase_present=True,
    ) as writer:
        for r in records:
            codes, phased = [], []
            for genotype in r.genotypes:
                called = [-9 if c == "." else int(c) for c in genotype.replace("/", "|").split("|")]
                codes += called * 2 if len(called) == 1 else called
                phased.append("/" not in genotype)
            writer.append_partially_phased(
                np.array(codes, np.int32), np.array(phased, np.bool_), allele_ct=len(r.alts) + 1
            )
    rows = [f"{r.contig}\t{r.position + 1}\t.\t{r.ref}\t{','.join(r.alts)}\t{r.filter}" for r in records]
    path.with_suffix(".pvar").write_text("\n".join(["##x", "#CHROM\tPOS\tID\tREF\tALT\tFILTER", *rows]) + "\n")
    people = [f"{name}\t{code}" for name, code in zip(samples, sex or ["NA"] * len(samples), strict=True)]
    path.with_suffix(".psam").write_text("\n".join(["#IID\tSEX", *people]) + "\n")
    return path
