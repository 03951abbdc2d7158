"""Haplotypes, unique chunks and oddities of whole golden cohorts, whatever their files are called."""

from __future__ import annotations

import csv
import gzip
import hashlib
from pathlib import Path

import cyvcf2
import numpy as np
import pytest

from genebrain.common.types import UserError
from genebrain.genetics.chunks.build import ChunkSet, build_chunks
from genebrain.genetics.genome.contigs import canonical
from genebrain.genetics.genome.gene_windows import Window, read_windows
from genebrain.genetics.genome.reference import Reference, reverse_complement
from genebrain.genetics.haplotypes.resolve import Policies

AS_BCFTOOLS = Policies(unphased="as_written", missing_threshold=1.0, reference_mismatch="report")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def _one(folder: Path, *patterns: str) -> Path:
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    if not found:
        pytest.skip(f"{folder.name} has no file like {', '.join(patterns)}")
    return found[0]


def _cases(golden: Path) -> list[Path]:
    found = sorted({path.parent for path in (golden / "genotypes").glob("*/expected_haplotypes.tsv")})
    if not found:
        pytest.skip(f"no genotype cases under {golden}")
    return found


def _references(folder: Path) -> list[Path]:
    """FASTA files, the one without planted changes first: planted ones come with a ``.sites.tsv``."""
    found = [p for p in sorted(folder.glob("*.fa*")) if p.suffix in (".fa", ".fasta", ".gz")]
    found = [p for p in found if not p.name.startswith("expected")]
    return sorted(found, key=lambda p: _planted(p) is not None)


def _planted(reference: Path) -> Path | None:
    sites = reference.parent / f"{reference.name.split('.fa')[0]}.sites.tsv"
    return sites if sites.is_file() else None


def _genotypes(folder: Path) -> list[Path]:
    found = sorted(p for pattern in ("*.vcf.gz", "*.bcf", "*.pgen") for p in folder.glob(pattern))
    if not found:
        pytest.skip(f"{folder.name} has no genotypes")
    return found


def _samples(path: Path) -> list[str]:
    reader = cyvcf2.VCF(str(path))
    names = list(reader.samples)
    reader.close()
    return names


def _windows(folder: Path) -> list[Window]:
    return read_windows(_one(folder, "*.bed", "*.bed.gz", "*.gtf*", "*.gff*"))


def _build(folder: Path, genotypes: Path, chunk_bp: int, **kw: object) -> tuple[ChunkSet, list[str], list[Window]]:
    samples, windows = _samples(genotypes), _windows(folder)
    options = {"policies": AS_BCFTOOLS, "cut_origin": "window", "progress": False} | kw
    return (
        build_chunks(genotypes, _references(folder)[0], windows, samples, chunk_bp=chunk_bp, **options),  # type: ignore[arg-type]
        samples,
        windows,
    )


def _joined(chunks: ChunkSet, subject: int, hap: int, number: int, window: Window) -> bytes:
    rows = chunks.index[subject, hap, number]
    text = b"".join(chunks.sequences[row] for row in rows if row >= 0)
    return text if window.strand == "+" else reverse_complement(text)


@pytest.mark.parametrize(("chunk_bp", "origin"), [(600, "window"), (1500, "genome"), (10**6, "window")])
def test_every_haplotype_is_the_expected_one(golden, chunk_bp, origin):
    for folder in _cases(golden):
        expected = {
            (r["gene"], r["sample"], int(r["hap"]) - 1): r["sha256_plus_strand"]
            for r in _rows(folder / "expected_haplotypes.tsv")
        }
        for genotypes in _genotypes(folder):
            chunks, samples, windows = _build(folder, genotypes, chunk_bp, cut_origin=origin)
            found = {
                (window.name, sample, hap): hashlib.sha256(_joined(chunks, s, hap, w, window)).hexdigest()
                for w, window in enumerate(windows)
                for s, sample in enumerate(samples)
                for hap in (0, 1)
                if (chunks.index[s, hap, w] >= 0).any()
            }
            assert found == expected, f"{folder.name}/{genotypes.name}"


def test_expected_sequences_letter_by_letter(golden):
    checked = 0
    for folder in _cases(golden):
        for path in folder.glob("expected_haplotypes.fa*"):
            with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
                entries = [entry.split("\n", 1) for entry in lines.read().split(">")[1:]]
            expected = {name.strip(): text.replace("\n", "").encode() for name, text in entries}
            chunks, samples, windows = _build(folder, _genotypes(folder)[0], 1500)
            for w, window in enumerate(windows):
                for s, sample in enumerate(samples):
                    for hap in (0, 1):
                        text = _joined(chunks, s, hap, w, window)
                        assert text == expected.get(f"{window.name}|{sample}|{hap + 1}", b"")
                        checked += 1
    if not checked:
        pytest.skip("no expected sequences")


def test_unique_chunks_per_piece(golden):
    for folder in _cases(golden):
        rows = _rows(_one(folder, "expected_chunks.tsv"))
        for chunk_bp in sorted({int(row["chunk_bp"]) for row in rows}):
            chunks, _, windows = _build(folder, _genotypes(folder)[0], chunk_bp)
            for row in (row for row in rows if int(row["chunk_bp"]) == chunk_bp):
                w = [window.name for window in windows].index(row["gene"])
                pieces = chunks.index[:, :, w, : chunks.n_chunks[w]]
                distinct = [len(set(piece[piece >= 0].tolist())) for piece in np.moveaxis(pieces, 2, 0)]
                if windows[w].strand == "-":
                    distinct.reverse()
                assert "|".join(map(str, distinct)) == row["unique_refcut_per_chunk"]
                assert sum(distinct) == int(row["unique_refcut_chunks"])
                assert int((pieces >= 0).sum()) == int(row["naive_chunks"])


def test_oddities_are_counted(golden):
    for folder in _cases(golden):
        chunks, _, _ = _build(folder, _genotypes(folder)[0], 1500)
        found = {counts["name"]: counts for counts in chunks.report["per_window"]}
        for row in _rows(_one(folder, "expected_flags.tsv")):
            expected = {key: int(value) for key, value in row.items() if key != "gene"}
            assert {key: found[row["gene"]][key] for key in expected} == expected


def test_planted_reference_errors_are_all_reported(golden):
    checked = 0
    for folder in _cases(golden):
        windows = _windows(folder)
        for reference in _references(folder):
            if (sites := _planted(reference)) is None:
                continue
            expected = {(canonical(row["chrom"]), int(row["pos_1based"])) for row in _rows(sites)}
            genotypes = _genotypes(folder)[0]
            samples = _samples(genotypes)
            chunks = build_chunks(genotypes, reference, windows, samples, policies=AS_BCFTOOLS, progress=False)
            found = chunks.report["reference_mismatches"]
            touched = {
                (canonical(m["contig"]), m["position"] + k)
                for m in found
                for k, (a, b) in enumerate(zip(m["ref"], m["fasta"], strict=True))
                if a != b
            }
            assert touched == expected
            with pytest.raises(UserError, match=f"{len(found)} of .* records.*wrong genome build") as error:
                build_chunks(
                    genotypes,
                    reference,
                    windows,
                    samples,
                    policies=Policies(unphased="as_written"),
                    progress=False,
                )
            assert str(error.value).count("FASTA") == min(5, len(found))
            checked += 1
    if not checked:
        pytest.skip("no reference with planted changes")


def test_an_unphased_file_is_refused_with_counts(golden):
    checked = 0
    for folder in _cases(golden):
        n = sum(int(row["unphased_het_genotypes"]) for row in _rows(_one(folder, "expected_flags.tsv")))
        genotypes = _genotypes(folder)[0]
        strict = Policies(missing_threshold=1.0)
        arguments = (genotypes, _references(folder)[0], _windows(folder), _samples(genotypes))
        if n:
            with pytest.raises(UserError, match=r"heterozygous genotypes .* are unphased"):
                build_chunks(*arguments, policies=strict, progress=False)
            checked += 1
        else:
            build_chunks(*arguments, policies=strict, progress=False)
    if not checked:
        pytest.skip("no case with unphased genotypes")


def test_references_hold_the_windows(golden):
    for folder in _cases(golden):
        with Reference(_references(folder)[0]) as fasta:
            fasta.check(_windows(folder))
            for window in _windows(folder):
                assert len(fasta.fetch(window)) == len(window)
