"""A cohort's VCF written as PGEN, record by record, as ``plink2 --vcf ... --make-pgen`` would."""

from __future__ import annotations

from pathlib import Path

import cyvcf2
import numpy as np
import pgenlib
import yaml


def use_pgen(cohort: Path) -> Path:
    """Put a PGEN in the place of the VCF of a cohort, whose ``cohort.yaml`` is changed; returns it."""
    described = yaml.safe_load(cohort.read_text(encoding="utf-8"))
    vcf = cohort.parent / described["genotypes"]
    pgen = vcf.with_name("genotypes.pgen")
    write_pgen(vcf, pgen)
    described["genotypes"] = pgen.relative_to(cohort.parent).as_posix()
    cohort.write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
    for file in vcf.parent.glob(f"{vcf.name}*"):
        file.unlink()
    return pgen


def write_pgen(vcf: Path, pgen: Path) -> None:
    """All records with one ALT allele, phased; missing calls stay missing."""
    with cyvcf2.VCF(str(vcf)) as reader:
        samples, rows = list(reader.samples), []
        n_records = reader.num_records
        options = {"variant_ct": n_records, "nonref_flags": False, "hardcall_phase_present": True}
        with pgenlib.PgenWriter(str(pgen).encode(), len(samples), **options) as writer:
            for record in reader:
                calls = record.genotype.array()
                codes = np.where(calls[:, :2] < 0, -9, calls[:, :2]).astype(np.int32)
                writer.append_partially_phased(np.ascontiguousarray(codes.ravel()), calls[:, 2].astype(bool))
                rows.append(f"{record.CHROM}\t{record.POS}\t{record.ID or '.'}\t{record.REF}\t{record.ALT[0]}\tPASS")
    pgen.with_suffix(".pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT\tFILTER", *rows]) + "\n")
    pgen.with_suffix(".psam").write_text("\n".join(["#IID\tSEX", *(f"{name}\tNA" for name in samples)]) + "\n")
