"""What the closed form reads of a cohort's genomes: masks, sources, sets, and what is said where nothing is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain import tasks
from genebrain.alignment.closed_form.column_sets import GeneBlocks
from genebrain.alignment.made_blocks import MadeBlocks
from genebrain.cohort.participants import Cohort, load_cohort
from genebrain.common.types import UserError
from genebrain.sides.genes import features, readings
from genebrain.sides.genes.masked import MaskedGenes
from genebrain.sides.genes.readings import column_sets
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.workspace import Workspace
from tests.cohort.small_cohort import SmallCohort

N = 24
TRAINING = np.arange(16)
RARE = 10
"""The first sites of the cohort, one carrier each."""


def with_rare(folder: Path) -> SmallCohort:
    small = SmallCohort(folder, n=N)
    for site in range(RARE):
        small.genotypes[site] = ["0|1" if person == site else "0|0" for person in range(N)]
    return small


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    return load_cohort(with_rare(tmp_path_factory.mktemp("cohort")).write())


def test_a_second_look_counts_no_alleles(cohort: Cohort, tmp_path: Path, monkeypatch) -> None:
    """What one verb has counted, the next finds with the chunks; other training people are counted anew."""
    gene, first = GeneSide(chunk_bp=300), Workspace(cohort, tmp_path, progress=False)
    first.read_chunks(gene, TRAINING)
    (kept,) = tmp_path.glob("chunk_index/*/alleles-*.safetensors")
    monkeypatch.setattr(features, "counted_alleles", None)
    second = Workspace(cohort, tmp_path, progress=False)
    assert second.alleles(gene, TRAINING).alleles == first.alleles(gene, TRAINING).alleles
    for one, other in zip(second.alleles(gene, TRAINING).dosages, first.alleles(gene, TRAINING).dosages, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TypeError):
        second.alleles(gene, TRAINING[:-1])
    kept.unlink()
    with pytest.raises(TypeError):
        Workspace(cohort, tmp_path, progress=False).alleles(gene, TRAINING)


def test_dosages_of_a_large_cohort_are_made_when_asked_for(cohort: Cohort, tmp_path: Path, monkeypatch) -> None:
    gene = GeneSide(chunk_bp=300, columns="dosages")
    kept, _ = Workspace(cohort, tmp_path, progress=False).gene_blocks(gene, GenePooling(), TRAINING)
    monkeypatch.setattr(readings, "KEPT", 0)
    made, _ = Workspace(cohort, tmp_path, progress=False).gene_blocks(gene, GenePooling(), TRAINING)
    assert isinstance(kept, GeneBlocks)
    assert isinstance(made, GeneBlocks)
    for name, blocks in kept.sources.items():
        if name != readings.BURDEN:  # one column a window
            assert isinstance(made.sources[name], MadeBlocks)
            assert made.sources[name].widths == [block.shape[1] for block in blocks]
        for one, other in zip(made.sources[name], blocks, strict=True):
            np.testing.assert_array_equal(one, other)


def test_both_families_under_both_masks(cohort: Cohort, tmp_path: Path) -> None:
    gene, workspace = GeneSide(chunk_bp=300), Workspace(cohort, tmp_path, progress=False)
    done = workspace.embed(gene, training=TRAINING)
    blocks, width = workspace.gene_blocks(gene, GenePooling(), TRAINING)
    assert isinstance(blocks, GeneBlocks)
    masked = {f"{f} {t}" for f in ("embeddings", "dosages") for t in ("0.003", "0.01")}
    assert set(blocks.sources) == masked | {"rare alleles"}
    assert [one.family for one in blocks.sets] == ["dosages"] * 4 + ["embeddings"] * 2
    assert width is not None
    (dosages,) = blocks.sources["dosages 0.003"]
    rest = np.array([[sum(map(int, call.split("|"))) for call in row] for row in workspace_genotypes(cohort)])[RARE:]
    counts = rest[:, :16].sum(axis=1)
    np.testing.assert_array_equal(dosages, rest[(counts >= 5) & (counts <= 27)].T)
    every = np.array([[sum(map(int, call.split("|"))) for call in row] for row in workspace_genotypes(cohort)])
    rare = every[every[:, :16].sum(axis=1) < 12].sum(axis=0)
    np.testing.assert_array_equal(blocks.sources["rare alleles"][0][:, 0], rare)
    whole = workspace.chunks(gene)
    first, second = workspace.masked(gene, TRAINING)
    assert isinstance(first, MaskedGenes)
    strings = [set(workspace.chunks(side).sequences) for side in (first, second)]
    assert done["encoded"] == workspace.read_chunks(gene, TRAINING).n_unique == len(strings[0] | strings[1])
    assert len(strings[1]) < len(strings[0]) < whole.n_unique
    # A person whose only rare allele is gone has the string of somebody without it.
    places = {chunk for chunk in workspace.chunks(first).index[:, :, 0, 0].ravel() if chunk >= 0}
    assert len(places) < len(set(whole.index[:, :, 0, 0].ravel()))


def workspace_genotypes(cohort: Cohort) -> list[list[str]]:
    small = with_rare(cohort.folder)
    return small.genotypes


def test_equal_masks_need_no_new_work(cohort: Cohort, tmp_path: Path) -> None:
    gene, workspace = GeneSide(chunk_bp=300), Workspace(cohort, tmp_path, progress=False)
    workspace.embed(gene, training=TRAINING)
    again = Workspace(cohort, tmp_path, progress=False)
    assert again.embed(gene, training=TRAINING)["encoded"] == 0
    before, after = (set(again.read_chunks(gene, rows).sequences) for rows in (TRAINING, TRAINING[:-1]))
    fewer = again.embed(gene, training=TRAINING[:-1])
    assert fewer["encoded"] == len(after - before) < len(after), "what is equal is shared"


def test_older_runs_read_as_they_did(cohort: Cohort, tmp_path: Path) -> None:
    gene, workspace = GeneSide(chunk_bp=300, columns="embeddings", rare_below=0), Workspace(cohort, tmp_path)
    workspace.embed(gene, training=TRAINING)
    blocks, _ = workspace.gene_blocks(gene, GenePooling(), TRAINING)
    plain, _ = workspace.blocks(gene, GenePooling())
    assert isinstance(blocks, list)
    np.testing.assert_array_equal(blocks[0], plain[0])
    assert workspace.masked(gene, TRAINING) == [gene]


def test_dosages_alone_need_no_encoder(cohort: Cohort, tmp_path: Path) -> None:
    gene, workspace = GeneSide(chunk_bp=300, columns="dosages"), Workspace(cohort, tmp_path, progress=False)
    assert set(workspace.embed(gene, training=TRAINING)) == {"dosages"}
    blocks, width = workspace.gene_blocks(gene, GenePooling(), TRAINING)
    assert {one.family for one in blocks.sets} == {"dosages"}
    assert width is None
    assert not (tmp_path / "chunks").exists()


def test_one_frequency_gives_one_source(cohort: Cohort, tmp_path: Path) -> None:
    gene, workspace = GeneSide(chunk_bp=300, rare_below=0.05), Workspace(cohort, tmp_path, progress=False)
    workspace.embed(gene, training=TRAINING)
    blocks, _ = workspace.gene_blocks(gene, GenePooling(), TRAINING)
    assert set(blocks.sources) == {"embeddings 0.05", "dosages 0.05", "rare alleles"}
    assert len({one.name for one in blocks.sets}) == 6


def test_without_a_mask_components_are_cut() -> None:
    (*_, flat, turned) = column_sets(("embeddings", "dosages"), (0.0,), {"embeddings": 8})
    assert flat.settings.variance is turned.settings.variance is None
    (flat, turned) = column_sets(("embeddings",), (0.003, 0.01), {"embeddings 0.003": 8, "embeddings 0.01": 5})
    assert (flat.settings.item_width, turned.settings.item_width) == (8, 5)
    assert flat.settings.variance == turned.settings.variance == 1.0


def test_where_all_alleles_are_rare_it_is_said(tmp_path: Path) -> None:
    small = with_rare(tmp_path)
    small.sites, small.alleles, small.genotypes = (
        values[:RARE] for values in (small.sites, small.alleles, small.genotypes)
    )
    path = small.write()
    with pytest.raises(UserError, match=r"all 10 alleles in the windows are rare among the 16 .*rare_below=0 "):
        Workspace(path, progress=False).embed(GeneSide(), training=TRAINING)
    small.genotypes = [["0|0"] * N for _ in range(RARE)]
    with pytest.raises(UserError, match=r"none of the 16 training people differs from the reference"):
        Workspace(small.write(), tmp_path / "again", progress=False).embed(GeneSide(), training=TRAINING)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rare_below": 0.6}, "rare_below=0.6"),
        ({"rare_below": -0.1}, "rare_below=-0.1"),
        ({"rare_below": (0.1, 0.2, 0.3)}, "has 3 numbers"),
        (
            {"columns": "variants"},
            "columns=variants: use one of auto, both, embeddings, dosages, both.motifs, dosages.motifs",
        ),
        ({"columns": "both", "tuning": "lora"}, "leave genetics.columns=both away"),
    ],
)
def test_wrong_options_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        GeneSide(**options)
    assert GeneSide(tuning="lora").families == ("embeddings",)


def test_the_verb_embed_reads_what_fit_will_read(cohort: Cohort, tmp_path: Path) -> None:
    path = cohort.folder / "cohort.yaml"
    done = tasks.embed(path, genetics=GeneSide(chunk_bp=300), store=tmp_path, seed=3)
    workspace = Workspace(path, tmp_path, progress=False)
    from genebrain.cohort.splits.settings import SplitSettings

    training = SplitSettings().make(workspace.cohort, 3).training
    assert done["chunks"]["encoded"] > 0
    assert workspace.embed(GeneSide(chunk_bp=300), training=training)["encoded"] == 0


def test_the_plan_counts_what_the_masks_leave(cohort: Cohort, tmp_path: Path) -> None:
    gene, workspace = GeneSide(chunk_bp=300), Workspace(cohort, tmp_path, progress=False)
    everybody = workspace.read_chunks(gene, np.arange(N))
    assert gene.plan(cohort)["chunks_unique"] == everybody.n_unique
    assert gene.plan(cohort)["encoder_tokens"] == gene.cost(everybody)["encoder_tokens"]
