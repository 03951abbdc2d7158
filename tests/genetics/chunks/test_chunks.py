"""Reference-cut chunks: they join to the haplotype, they are few, and they are found again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genebrain.common.types import UserError
from genebrain.genetics.chunks.build import ChunkSet, build_chunks, content_fingerprint, dosages
from genebrain.genetics.chunks.cutting import cut_places
from genebrain.genetics.chunks.work import predict
from genebrain.genetics.genome.gene_windows import Window, read_windows
from genebrain.genetics.haplotypes.common_alleles import allele_table
from genebrain.genetics.haplotypes.resolve import Policies, open_genotypes
from genebrain.simulation.genome.genomes import simulate_regions
from tests.genetics.genome.genotype_writing import Record, write_fasta, write_pgen, write_vcf

REAL = Path(__file__).parents[3] / "data" / "chr20_1000g"
DNA = "".join(np.random.default_rng(1).choice(list("ACGT"), 300))
PAIR = str.maketrans("ACGTN", "TGCAN")


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[list[Record], int]:
    """Records in file order, overlapping each other at will, for two people."""
    records = []
    for position in sorted(draw(st.lists(st.integers(60, 235), min_size=1, max_size=14))):
        ref = DNA[position : position + draw(st.integers(1, 9))]
        inserts = draw(st.lists(st.text("ACGT", min_size=1, max_size=8), min_size=1, max_size=3, unique=True))
        # Half of them keep the first base, as indels in real files do.
        alts = [ref[0] + text if draw(st.booleans()) else text for text in inserts]
        alts = tuple(dict.fromkeys(alt for alt in alts if alt != ref)) or ("*",)
        allele = st.integers(0, len(alts))
        records.append(Record(position, ref, alts, tuple(f"{draw(allele)}|{draw(allele)}" for _ in "ab")))
    return records, draw(st.sampled_from([6, 7, 30, 1000]))


def haplotype(records: list[Record], window: Window, person: int, copy: int) -> str:
    """One haplotype written base by base from a list of reference cells, without any of the project's code."""
    cells = list(DNA)
    last, last_inserts = -1, False
    for r in records:
        number = int(r.genotypes[person].split("|")[copy])
        end = r.position + len(r.ref)
        if not number or r.position < window.start or end > window.end or r.alts[number - 1] == "*":
            continue
        alt = r.alts[number - 1]
        indel = len(alt) != len(r.ref) and alt[0] == r.ref[0]
        if r.position <= last:
            if r.position < last or not indel or last_inserts:
                continue
            cells[r.position] += alt[1:]
        else:
            cells[r.position] = alt
        cells[r.position + 1 : end] = [""] * (end - r.position - 1)
        last, last_inserts = end - 1, len(alt) > len(r.ref)
    text = "".join(cells[window.start : window.end])
    return text if window.strand == "+" else text.translate(PAIR)[::-1]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=cohorts(), strand=st.sampled_from("+-"), origin=st.sampled_from(["genome", "window"]))
def test_joined_chunks_are_the_haplotype(tmp_path_factory, drawn, strand, origin):
    records, chunk_bp = drawn
    folder = tmp_path_factory.mktemp("drawn")
    files = (write_vcf(folder / "g.vcf.gz", {"1": DNA}, records, ["a", "b"]), write_fasta(folder / "r.fa", {"1": DNA}))
    window = Window("1", 64, 233, "G", strand)
    built = build_chunks(*files, [window], ["a", "b"], chunk_bp=chunk_bp, cut_origin=origin, progress=False)
    for person in (0, 1):
        for copy in (0, 1):
            rows = built.index[person, copy, 0]
            joined = b"".join(built.sequences[row] for row in rows if row >= 0).decode()
            assert joined == haplotype(records, window, person, copy)


def small(folder: Path, text: str = DNA, n: int = 3) -> tuple[Path, Path, list[str]]:
    samples = [f"person{i}" for i in range(n)]
    records = [
        Record(70, DNA[70], (next(b for b in "ACGT" if b != DNA[70]),), ("0|1", "1|1", "0|0")),
        Record(90, DNA[90:94], (DNA[90], f"{DNA[90:94]}G"), ("1|2", "2|0", ".|.")),
    ]
    contigs = {"1": text}
    return write_vcf(folder / "g.vcf.gz", contigs, records, samples), write_fasta(folder / "r.fa", contigs), samples


def test_cuts_lie_on_the_genome_or_count_from_the_window():
    window = Window("1", 64, 233, "G")
    assert cut_places(window, 60, "genome").tolist() == [64, 120, 180, 233]
    assert cut_places(window, 60, "window").tolist() == [64, 124, 184, 233]
    assert cut_places(Window("1", 60, 120, "G"), 60, "genome").tolist() == [60, 120]
    assert cut_places(window, 1000, "genome").tolist() == [64, 233]


def test_windows_that_overlap_share_their_chunks_when_cut_on_the_genome(tmp_path):
    vcf, fasta, samples = small(tmp_path)
    windows = [Window("1", 0, 240, "A"), Window("1", 60, 300, "B")]
    shared = build_chunks(vcf, fasta, windows, samples, chunk_bp=60, progress=False)
    assert np.array_equal(shared.index[:, :, 0, 1:4], shared.index[:, :, 1, 0:3])
    apart = build_chunks(vcf, fasta, [windows[0]], samples, chunk_bp=60, progress=False)
    assert {bytes(key) for key in apart.keys} < {bytes(key) for key in shared.keys}


def test_keys_are_hashes_and_minus_strand_slots_run_in_the_direction_of_transcription(tmp_path):
    vcf, fasta, samples = small(tmp_path)
    plus, minus = (
        build_chunks(vcf, fasta, [Window("1", 60, 300, "G", strand)], samples, chunk_bp=60, progress=False)
        for strand in "+-"
    )
    for text, key in zip(minus.sequences, minus.keys, strict=True):
        assert hashlib.blake2b(text, digest_size=16).digest() == key.tobytes()
    forward = [plus.sequences[row].decode() for row in plus.index[0, 0, 0]]
    backward = [minus.sequences[row].decode().translate(PAIR)[::-1] for row in minus.index[0, 0, 0]]
    assert forward == backward[::-1]
    assert plus.index.dtype == np.int32
    assert plus.index.shape == (3, 2, 1, 4)


def test_chunks_of_n_only_and_deleted_chunks_do_not_exist(tmp_path):
    text = DNA[:120] + "N" * 70 + DNA[190:]
    records = [Record(59, text[59:80], (text[59],), ("1|0",))]
    vcf = write_vcf(tmp_path / "g.vcf.gz", {"1": text}, records, ["a"])
    fasta = write_fasta(tmp_path / "r.fa", {"1": text})
    built = build_chunks(vcf, fasta, [Window("1", 40, 200, "G")], ["a"], chunk_bp=20, progress=False)
    assert (built.index[0, :, 0] >= 0).tolist() == [
        [True, False, True, True, False, False, False, True],
        [True, True, True, True, False, False, False, True],
    ]
    counts = built.report["counts"]
    assert (counts["deleted_chunks"], counts["all_n_chunks"], counts["mostly_n_chunks"]) == (1, 6, 0)


def test_a_saved_set_comes_back_whole_and_holds_no_name(tmp_path):
    vcf, fasta, samples = small(tmp_path)
    windows = [Window("1", 60, 180, "A"), Window("1", 30, 300, "B", "-")]
    built = build_chunks(vcf, fasta, windows, samples, chunk_bp=60, progress=False)
    for _ in range(2):  # the second time over the first
        built.save(tmp_path / "set")
    assert (tmp_path / "set").stat().st_mode & 0o077 == 0, "haplotypes of people are for their owner"
    back = ChunkSet.load(tmp_path / "set")
    for name in ("keys", "index", "n_chunks"):
        assert np.array_equal(getattr(back, name), getattr(built, name))
    assert (back.sequences, back.window_names, back.report) == (built.sequences, built.window_names, built.report)
    assert (back.n_unique, back.n_naive) == (len(built.sequences), int((built.index >= 0).sum()))
    assert not any(b"person" in path.read_bytes() for path in (tmp_path / "set").iterdir())
    (tmp_path / "set" / "sequences.txt").write_bytes(b"ACGT\n")
    with pytest.raises(UserError, match=r"sequences.txt \(changed\); delete its folder"):
        ChunkSet.load(tmp_path / "set")
    (tmp_path / "set" / "checksums.json").unlink()  # as older versions left it
    with pytest.raises(UserError, match="1 strings for"):
        ChunkSet.load(tmp_path / "set")
    (tmp_path / "set" / "keys.npy").unlink()
    with pytest.raises(UserError, match="delete its folder"):
        ChunkSet.load(tmp_path / "set")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no chunk set"):
        built.save(tmp_path / "full")


def test_the_fingerprint_follows_contents_and_settings_not_places(tmp_path):
    (tmp_path / "other").mkdir()
    vcf, fasta, samples = small(tmp_path)
    moved = small(tmp_path / "other")
    windows = [Window("1", 60, 180, "A")]
    first = content_fingerprint(vcf, fasta, windows, samples, chunk_bp=1500)
    assert content_fingerprint(moved[0], moved[1], windows, samples, progress=False) == first
    moved[1].write_text(moved[1].read_text().replace("A", "C", 1))
    assert (
        len(
            {
                first,
                content_fingerprint(vcf, moved[1], windows, samples),
                content_fingerprint(vcf, fasta, windows, samples[::-1]),
                content_fingerprint(vcf, fasta, [Window("1", 60, 180, "A", "-")], samples),
                content_fingerprint(vcf, fasta, windows, samples, chunk_bp=600),
                content_fingerprint(vcf, fasta, windows, samples, policies=Policies(unphased="random")),
            }
        )
        == 6
    )
    with pytest.raises(UserError, match="cannot be read"):
        content_fingerprint(tmp_path / "none.bcf", fasta, windows, samples)


def test_dosages_have_one_column_per_carried_allele(tmp_path):
    vcf, _, samples = small(tmp_path)
    windows = [Window("1", 60, 180, "A"), Window("1", 200, 300, "B")]
    one, none = dosages(vcf, windows, samples)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, [[1, 1, 1], [2, 0, 1], [0, np.nan, np.nan]])
    assert none.shape == (3, 0)
    np.testing.assert_array_equal(dosages(vcf, windows, samples[::-1])[0], one[::-1])
    assert dosages(vcf, windows, samples, min_allele_count=2)[0].shape == (3, 2)
    assert dosages(vcf, windows, samples, counting_rows=[2])[0].shape == (3, 0)


def test_dosages_agree_between_vcf_and_pgen(tmp_path):
    genotypes = ("0|1", "./.", "1|1")
    records = [Record(p, DNA[p], ("*", *(b for b in "ACGT" if b != DNA[p])), genotypes) for p in (70, 80)]
    vcf = write_vcf(tmp_path / "g.vcf.gz", {"1": DNA}, records, list("abc"))
    pgen = write_pgen(tmp_path / "g.pgen", records, list("abc"))
    windows = [Window("chr1", 60, 100, "A")]
    for left, right in zip(dosages(vcf, windows, list("ab")), dosages(pgen, windows, list("ab")), strict=True):
        np.testing.assert_array_equal(left, right)


def test_settings_that_make_no_sense(tmp_path):
    vcf, fasta, samples = small(tmp_path)
    with pytest.raises(ValueError, match="0 windows"):
        build_chunks(vcf, fasta, [], samples, progress=False)
    with pytest.raises(UserError, match="no sample was asked for"):
        build_chunks(vcf, fasta, [Window("1", 0, 9, "A")], [], progress=False)


@pytest.fixture(scope="module")
def real() -> tuple[Path, Path, list[str]]:
    if not (REAL / "genotypes.vcf.gz").is_file():
        pytest.skip("no real genotypes beside the package")
    genotypes = REAL / "genotypes.vcf.gz"
    with open_genotypes(genotypes) as file:
        return genotypes, REAL / "reference.fa.gz", file.samples


def spread(genotypes: Path) -> list[Window]:
    with open_genotypes(genotypes) as file:
        return [Window(file.contigs[0], start, start + 20_000, f"w{start}") for start in range(0, 3_000_000, 150_000)]


def test_real_people_share_most_chunks(real):
    genotypes, reference, samples = real
    windows = spread(genotypes)
    sizes = [50, 100, len(samples)]
    built = [
        build_chunks(genotypes, reference, windows, samples[:n], chunk_bp=3000, cut_origin="window", progress=False)
        for n in sizes
    ]
    found = [predict(chunks, 3000) for chunks in built]
    assert found[-1]["saving"] >= 25
    growth = np.polyfit(np.log(sizes), np.log([each["chunks_unique"] for each in found]), 1)[0]
    assert growth < 0.7
    last = found[-1]
    assert abs(last["rule_of_thumb"]["chunks_unique"] / last["chunks_unique"] - 1) < 0.15
    assert last["encoder_tokens"] / last["chunks_unique"] == pytest.approx(3000 / 6 + 2, rel=0.1)
    assert last["tokens_naive"] / last["encoder_tokens"] == pytest.approx(last["saving"], rel=0.1)
    assert sum(each["chunks_naive"] for each in last["per_window"]) == last["chunks_naive"]
    json.dumps(last)


def test_a_thousand_simulated_people_share_most_chunks(tmp_path):
    regions = list(
        simulate_regions(
            np.zeros(1000, int), n_windows=3, window_bp=20_000, n_contigs=3, fst=0.0, rng=np.random.default_rng(4)
        )
    )
    contigs = {r.contig: "A" * r.start + r.sequence.tobytes().decode() for r in regions}
    records = [
        Record(int(place), ref, (alt,), tuple(f"{a}|{b}" for a, b in calls), contig=region.contig)
        for region in regions
        for place, ref, alt, calls in zip(region.position, region.ref, region.alt, region.haplotypes, strict=True)
    ]
    samples = [f"p{i}" for i in range(1000)]
    vcf = write_vcf(tmp_path / "g.vcf.gz", contigs, records, samples)
    fasta = write_fasta(tmp_path / "r.fa", contigs)
    windows = [Window(r.contig, *r.window, r.name, r.strand) for r in regions]
    sizes = (100, 300, 1000)
    built = [build_chunks(vcf, fasta, windows, samples[:n], chunk_bp=3000, progress=False) for n in sizes]
    found = [predict(chunks, 3000) for chunks in built]
    assert found[-1]["saving"] >= 40
    growth = np.polyfit(np.log(sizes), np.log([each["chunks_unique"] for each in found]), 1)[0]
    assert growth < 0.7


def test_real_genes_are_read_in_full_and_rare_alleles_can_be_masked(real):
    genotypes, reference, samples = real
    windows = read_windows(REAL / "genes.bed")
    rare = {"mask": allele_table(genotypes, windows, samples, counting_rows=range(200), frequency=0.01).mask(0.01)}
    every, common = (
        predict(build_chunks(genotypes, reference, windows, samples, **more, progress=False), 1500)  # type: ignore[arg-type]
        for more in ({}, rare)
    )
    assert every["report"]["counts"]["reference_mismatches"] == 0
    assert every["report"]["counts"]["records"] == 4856
    assert common["chunks_unique"] < 0.6 * every["chunks_unique"]
    assert common["chunks_naive"] == every["chunks_naive"]
