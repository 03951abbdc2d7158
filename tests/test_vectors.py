"""Vectors in and out: a run exports what it computed, and vectors alone are a cohort that gives the same numbers."""

from __future__ import annotations

import json
import re
import runpy
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genebrain
from genebrain import config, tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.alignment.train import TrainerSettings
from genebrain.cli import main
from genebrain.common.types import UserError
from genebrain.common.vectors import read_vectors, table_of, write_vectors
from genebrain.sides.pooling import GenePooling
from genebrain.sides.vectors.genes import blocks_of
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from tests.pictures import blank_pictures  # noqa: F401 - for the whole file

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 150, "n_parcels": 30, "n_genomewide": 200}
CLOSED = AlignmentSettings(train="none")
JUDGE = {"n_bootstrap": 40, "n_permutations": 40, "progress": False}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "c", n_subjects=150, seed=5, **SMALL)


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    """A run with one reading of the genomes, which is what an exported table holds."""
    folder = tmp_path_factory.mktemp("runs") / "fit"
    plain = genebrain.GeneSide(columns="embeddings", rare_below=0)
    tasks.fit(cohort, run=folder, genetics=plain, alignment=CLOSED, progress=False)
    tasks.evaluate(folder, comparisons=(), **JUDGE)
    return folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    return tasks.export(run, tmp_path_factory.mktemp("vectors") / "v", features=True, progress=False)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> dict:
    """Vectors of 160 people whose first three numbers go together; five have no scan vector, three no genome."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("tables")
    shared = rng.normal(size=(160, 3))
    ids = [f"p{i:04d}" for i in range(160)]
    genes = np.concatenate([shared, rng.normal(size=(160, 5))], axis=1)
    brains = np.concatenate([shared + 0.2 * rng.normal(size=(160, 3)), rng.normal(size=(160, 9))], axis=1)
    columns = [f"g{i // 2}:{i % 2}" for i in range(8)]
    write_vectors(folder / "genes.parquet", ids[:157], genes[:157], columns)
    np.savez(folder / "brains.npz", ids=np.array([f"sub-{one}" for one in ids[5:]]), vectors=brains[5:])
    table = pd.DataFrame({"participant_id": ids, "site": ["A", "B"] * 80, "age": rng.integers(20, 80, 160)})
    table.to_csv(folder / "people.tsv", sep="\t", index=False)
    return {"folder": folder, "ids": ids, "genes": genes, "brains": brains}


def test_the_dot_product_of_exported_vectors_is_the_score_that_was_judged(run, exported):
    genome, brain = (pd.read_parquet(exported / f"{side}.parquet") for side in ("genome", "brain"))
    assert list(genome.columns[:3]) == ["participant_id", "split", "v0"]
    assert (genome["participant_id"] == brain["participant_id"]).all()
    split = json.loads((run / "split.json").read_text())
    test = genome["split"] == "test"
    assert np.flatnonzero(test).tolist() == split["test"]
    scores = genome[test].filter(like="v").to_numpy() @ brain[test].filter(like="v").to_numpy().T
    # Rank of the own scan among all test people, counted here.
    rank = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
    opened = genebrain.load_run(run)
    assert (opened.predictions["rank_gene_to_brain"] == rank).all()
    among_all = opened.metrics["gallery_full"]["gene_to_brain"]["recall@1"]["value"]
    assert np.mean(rank == 1) == pytest.approx(among_all)


def test_what_is_exported_is_private_and_explained(exported):
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in exported.iterdir())
    assert stat.S_IMODE(exported.stat().st_mode) == 0o700
    said = json.loads((exported / "export.json").read_text())["files"]
    assert set(said) == {f.name for f in exported.glob("*.parquet")}
    assert "dot product" in said["genome.parquet"]


def test_search_ranks_by_score_and_knows_the_own_scan(cohort, run, capsys, tmp_path):
    opened = genebrain.load_run(run)
    scores = opened.vectors("test").scores
    person = scores.index[3]
    found = opened.search(genome=person, k=4)
    assert found["participant_id"].tolist() == scores.loc[person].nlargest(4).index.tolist()
    assert found["own"].tolist() == [one == person for one in found["participant_id"]]
    reverse = opened.search(scan=person, k=4)
    assert reverse["participant_id"].tolist() == scores[person].nlargest(4).index.tolist()
    tasks.search(run, genome=person, k=2, out=tmp_path / "found.tsv", progress=False)
    assert len(pd.read_csv(tmp_path / "found.tsv", sep="\t")) == 2
    told = capsys.readouterr().out
    assert person not in told
    assert "the 2 best of the test people, readable" in told
    tasks.search(run, vcf=cohort.parent / "genotypes.vcf.gz", k=2, out=tmp_path / "found.tsv", progress=False)
    assert "the 2 best of the test people for each of 150, readable" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "found.tsv", sep="\t")
    # People of a genotype file are called as there: here never as in the participants table.
    names = opened.cohort.table.set_index("participant_id")["genotype_id"]
    assert not set(names) & set(names.index)
    assert table["own"].tolist() == (names[table["participant_id"]].to_numpy() == table["query"].to_numpy()).tolist()
    assert table["own"].sum() > 5
    learned = opened.ids("train")[0]
    assert "own" not in opened.search(genome=learned, k=2), (
        "somebody who is not among the scans that are looked through"
    )
    for wrong in ({}, {"genome": person, "scan": person}, {"genome": "nobody"}, {"genome": person, "k": 0}):
        with pytest.raises(UserError):
            opened.search(**wrong)


def test_a_run_that_was_not_judged_or_fitted_says_so(tmp_path, run):
    with pytest.raises(UserError, match="not a run folder"):
        genebrain.load_run(tmp_path)
    with pytest.raises(UserError, match="split=tests"):
        genebrain.load_run(run).rows("tests")


def test_trained_towers_export_their_projectors(people, tmp_path):
    ids = people["ids"]
    run = genebrain.fit(
        genes=people["genes"], brains=people["brains"], ids=ids, run=tmp_path / "r", progress=False,
        alignment=AlignmentSettings(train="residual"), trainer=TrainerSettings(max_epochs=2, patience=2),
    )  # fmt: skip
    opened = genebrain.load_run(run)
    if opened.fitted.towers is None:  # validation decides; the towers of the textbook recipe always stay
        run = genebrain.fit(
            genes=people["genes"], brains=people["brains"], ids=ids, run=tmp_path / "t", progress=False,
            alignment=AlignmentSettings(start="random", train="full", score="cosine"),
            trainer=TrainerSettings(max_epochs=2, patience=2),
        )  # fmt: skip
        tasks.export(run, tmp_path / "out", progress=False)
        vectors = read_vectors(tmp_path / "out" / "genome.parquet").values
        assert vectors.shape == (160, 512)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    else:
        tasks.export(run, tmp_path / "out", progress=False)
        assert read_vectors(tmp_path / "out" / "genome_projector.parquet").values.shape == (160, 512)


def test_vectors_exported_of_a_cohort_give_its_numbers(cohort, run, exported, tmp_path):
    """Without genotypes and scans: the same scores of every pair, hence the same recall."""
    again = tasks.fit(
        genes=exported / "genome_features.parquet",
        brains=exported / "brain_features.parquet",
        participants=cohort.parent / "participants.tsv",
        run=tmp_path / "again",
        alignment=CLOSED,
        progress=False,
    )
    metrics = tasks.evaluate(again, comparisons=(), **JUDGE)
    before, after = genebrain.load_run(run), genebrain.load_run(again)
    assert before.ids() == after.ids()
    scores = [one.vectors("all").scores.to_numpy() for one in (before, after)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-6 * np.abs(scores[0]).max()
    for direction in ("gene_to_brain", "brain_to_gene"):
        one, other = (m["retrieval"][direction]["recall@1"]["value"] for m in (metrics, before.metrics))
        assert one == pytest.approx(other, abs=1e-6)


def test_readings_exported_of_the_default_recipe_give_its_numbers(cohort, tmp_path):
    """Several readings of the genomes and kinds of scan features: all are exported, and the same are chosen."""
    tasks.fit(cohort, run=tmp_path / "first", alignment=CLOSED, progress=False)
    out = tasks.export(tmp_path / "first", tmp_path / "out", features=True, progress=False)
    tables = {"genes": out / "genome_features.parquet", "brains": out / "brain_features.parquet"}
    people = cohort.parent / "participants.tsv"
    tasks.fit(**tables, participants=people, run=tmp_path / "again", alignment=CLOSED, progress=False)
    before, after = genebrain.load_run(tmp_path / "first"), genebrain.load_run(tmp_path / "again")
    one, other = (run.model.closed_form.chosen for run in (before, after))
    assert (one["brain"], one["k"]) == (other["brain"], other["k"])
    assert any(name.startswith("rare alleles|") for name in read_vectors(tables["genes"]).columns)
    assert len(before.model.closed_form.columns.sets) > 1
    kinds = {name.partition("|")[0].partition("-")[0] for name in read_vectors(tables["brains"]).columns}
    assert kinds == set(genebrain.ConnectomeSide().kinds)  # those that the model does not use as well
    assert "rare alleles" in {name.partition("|")[0] for name in read_vectors(tables["genes"]).columns}
    scores = [run.vectors("all").scores.to_numpy() for run in (before, after)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-6 * np.abs(scores[0]).max()
    judged = [tasks.evaluate(run.path, comparisons=(), findings=False, **JUDGE)["retrieval"] for run in (before, after)]
    assert judged[0] == judged[1]
    scan = read_vectors(tables["brains"])
    frame = pd.DataFrame(scan.values[:2], columns=scan.columns, index=scan.ids[:2])
    assert np.allclose(after.embed_scans(frame), after.vectors("all").brain[:2], rtol=1e-5, atol=1e-5)


def test_readings_of_a_table_are_named_as_export_names_them(people, tmp_path):
    table = pd.DataFrame(np.eye(60, 4), index=[f"p{i}" for i in range(60)])
    for columns, words in (
        ([f"lag0|{i}" for i in range(3)] + ["x"], "3 of 4 columns are named reading|column and 1 are not"),
        (["mine|a:0", "mine|a:1", "mine|b:0", "mine|b:1"], "the reading 'mine' of genomes is unknown"),
        (["dosages|a:0", "dosages|a:1", "embeddings 0.1|a:0", "embeddings 0.1|a:1"], "amiss: dosages 0.1, embeddings"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            blocks_of(table_of(table.set_axis(columns, axis=1)), table.to_numpy(np.float32), GenePooling())
    side = genebrain.VectorBrain(scale="columns")
    with pytest.raises(UserError, match="leave both out"):
        side.fit((table.to_numpy(np.float32),), np.arange(60), columns=["a|0", "a|1", "b|0", "b|1"])


def test_one_side_of_vectors_beside_real_files(cohort, run, exported, tmp_path):
    again = tasks.fit(
        cohort, genetics=genebrain.VectorGenes(str(exported / "genome_features.parquet")), run=tmp_path / "g",
        alignment=CLOSED, progress=False,
    )  # fmt: skip
    before, after = genebrain.load_run(run), genebrain.load_run(again)
    assert np.allclose(before.vectors().genome, after.vectors().genome, atol=1e-5)
    with pytest.raises(UserError, match=r"names no file of vectors; give brain\.path=FILE"):
        tasks.fit(cohort, brain=genebrain.VectorBrain(), run=tmp_path / "b", progress=False)


def test_files_of_vectors_go_the_whole_way_and_the_losses_are_counted(people, tmp_path, capsys):
    folder = people["folder"]
    given = {"genes": folder / "genes.parquet", "brains": folder / "brains.npz", "participants": folder / "people.tsv"}
    tasks.check(None, **given)
    said = capsys.readouterr().out
    assert "vectors of genomes: 157 rows x 8 columns, in 4 windows" in said
    assert "`sub-` prefix was ignored" in said
    assert "known of people: site, age; not known: family_id, ancestry, sex, mean_fd" in said
    assert "3 of 160 participants have no gene vectors" in said
    assert "5 of 160 participants have no brain vectors" in said
    run = tasks.fit(run=tmp_path / "r", alignment=CLOSED, progress=False, **given)
    metrics = tasks.evaluate(run, **JUDGE)
    assert metrics["retrieval"]["mean"]["recall@1"]["value"] > 10 * metrics["chance"]["recall@1"]
    assert metrics["permutation"]["p_stratified"] < 0.05
    assert metrics["strata_columns"] == ["site"]
    assert "dosage" not in metrics["baselines"]
    assert metrics["baselines"]["confound_only"] is not None
    assert "left out: the comparison dosage" in capsys.readouterr().err
    funnel = json.loads((run / "funnel.json").read_text())
    assert (funnel["listed"], funnel["genotyped"], funnel["scanned"], funnel["after_filters"]) == (160, 157, 155, 152)
    assert tasks.report(run).stat().st_size > 10_000
    assert not any(one in path.read_text() for one in people["ids"] for path in run.glob("*.json"))


def test_shuffled_vectors_are_at_chance(people, tmp_path):
    shuffled = np.random.default_rng(0).permutation(people["brains"])
    run = genebrain.fit(genes=people["genes"], brains=shuffled, run=tmp_path / "r", alignment=CLOSED, progress=False)
    metrics = tasks.evaluate(run, comparisons=(), **JUDGE)
    assert metrics["retrieval"]["mean"]["recall@1"]["ci"][0] < 2 * metrics["chance"]["recall@1"]
    assert metrics["permutation"]["p_free"] > 0.01


def test_the_order_of_rows_and_repeated_scans_change_nothing(people, tmp_path):
    """Frames in another order, and every scan split into two rows around it: the mean is the same person."""
    ids, genes, brains = people["ids"], people["genes"], people["brains"]
    plain = genebrain.fit(genes=genes, brains=brains, ids=ids, run=tmp_path / "a", alignment=CLOSED, progress=False)
    noise = np.random.default_rng(3).normal(size=brains.shape)
    order = np.random.default_rng(2).permutation(320)
    twice = pd.DataFrame(np.concatenate([brains + noise, brains - noise])[order], index=np.array(ids * 2)[order])
    frame = pd.DataFrame(genes, index=ids)
    other = genebrain.fit(genes=frame, brains=twice, run=tmp_path / "b", alignment=CLOSED, progress=False)
    one, two = (genebrain.load_run(run).vectors("all") for run in (plain, other))
    assert one.ids == two.ids
    # The mean of two rows is rounded, and that turns the latents of which genes say nothing: they share one variance.
    # So the scale of all scores (how far latents scatter around nothing) moves in its third digit, and nothing else.
    a, b = one.scores.to_numpy().ravel(), two.scores.to_numpy().ravel()
    assert np.corrcoef(a, b)[0, 1] > 1 - 1e-6
    assert np.polyfit(a, b, 1)[0] == pytest.approx(1, abs=0.02)


def test_nothing_of_the_test_people_is_learned(people, tmp_path):
    """Changing test people's vectors leaves the fitted model as it is, scaling and components included."""
    runs = []
    for name, factor in (("a", 1.0), ("b", 50.0)):
        brains, genes = people["brains"].copy(), people["genes"].copy()
        if runs:
            test = genebrain.load_run(runs[0]).rows("test")
            brains[test] *= factor
            genes[test] *= factor
        side = genebrain.VectorBrain(scale="columns", components=(4, "all"))
        runs.append(
            genebrain.fit(genes=genes, brains=brains, brain=side, run=tmp_path / name, alignment=CLOSED, progress=False)
        )
    one, two = (run / "checkpoints" / "closed_form.safetensors" for run in runs)
    assert one.read_bytes() == two.read_bytes()


def test_a_window_that_a_person_lacks_is_the_mean_of_the_others(people, tmp_path, capsys):
    genes = pd.DataFrame(people["genes"], index=people["ids"], columns=[f"g{i // 2}:{i % 2}" for i in range(8)])
    genes.iloc[7, 2:4] = np.nan
    genebrain.fit(genes=genes, brains=people["brains"], ids=people["ids"], run=tmp_path / "r", progress=False,
                  alignment=CLOSED)  # fmt: skip
    assert "1 of 640 windows of people (1 person) have no embedding" in capsys.readouterr().err


@pytest.mark.parametrize("window", ["concat", "mean", "max"])
def test_poolings_above_the_chunk(people, tmp_path, window):
    folder = people["folder"]
    run = tasks.fit(
        genes=folder / "genes.parquet", brains=folder / "brains.npz", pooling=GenePooling(window=window),
        run=tmp_path / "r", alignment=CLOSED, progress=False,
    )  # fmt: skip
    blocks = genebrain.load_run(run).subjects.blocks
    genes = people["genes"][5:157].reshape(152, 4, 2)
    wanted = {"mean": genes.mean(axis=1), "max": genes.max(axis=1)}
    if window == "concat":
        assert [block.shape[1] for block in blocks] == [2, 2, 2, 2]
    else:
        assert np.allclose(blocks[0], wanted[window], atol=1e-6)


def test_an_ablation_of_poolings(people, tmp_path):
    folder = people["folder"]
    results = tasks.ablate(
        None, {"arms": {"apart": {}, "mean": {"pooling": {"window": "mean"}}}}, run=tmp_path / "a", seeds=[0], jobs=1,
        genes=folder / "genes.parquet", brains=folder / "brains.npz",
    )  # fmt: skip
    table = pd.read_csv(results, keep_default_na=False).set_index("arm")
    assert (table["error"] == "").all()
    assert float(table.loc["apart", "recall@1"]) > 2 * float(table.loc["mean", "recall@1"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.set_axis([f"x{i}" for i in range(160)]), r"x0, x1, x2, x3, x4 and 155 more against p0000, p0001"),
        (lambda g: g.set_axis(["p0000", *g.index[:-1]]), "1 of 160 rows repeat the id of an earlier row: p0000"),
        (
            lambda g: g.mask((g.index == "p0003")[:, None] & (g.columns == 2)),
            r"1 numbers are missing \(NaN\) in 1 of 8",
        ),
        (lambda g: g * 0, "all 8 columns are the same in all 160 rows"),
    ],
)
def test_bad_vectors_are_refused_with_names_and_counts(people, tmp_path, change, words):
    genes = pd.DataFrame(people["genes"], index=people["ids"])
    brains = pd.DataFrame(people["brains"], index=people["ids"])
    with pytest.raises(UserError, match=words):
        genebrain.fit(genes=change(genes), brains=brains, run=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_ids_that_do_not_match_show_the_first_five_of_both(people, tmp_path):
    genes = pd.DataFrame(people["genes"], index=people["ids"])
    brains = pd.DataFrame(people["brains"], index=[f"x{i}" for i in range(160)])
    with pytest.raises(UserError, match=r"p0000, p0001, p0002, p0003, p0004 and 155 more against x0, x1, x2, x3, x4"):
        genebrain.fit(genes=genes, brains=brains, run=tmp_path / "r", progress=False)


def test_a_refusal_leaves_nothing_behind_but_what_was_there_before(people, tmp_path):
    few = {side: pd.DataFrame(people[side], index=people["ids"])[:12] for side in ("genes", "brains")}
    for run in (tmp_path / "new", tmp_path / "old"):
        if run.name == "old":
            run.mkdir()
            (run / "notes.txt").write_text("mine")
        with pytest.raises(UserError, match="12 people are too few for this split"):
            genebrain.fit(**few, run=run, progress=False)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "old/notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match="too few"):
        genebrain.fit(**few, run=tmp_path / "with_store", store=tmp_path / "with_store/store", progress=False)
    assert (tmp_path / "with_store/store").is_dir()


def test_bad_brain_vectors(people, tmp_path):
    genes = pd.DataFrame(people["genes"], index=people["ids"])
    brains = pd.DataFrame(people["brains"], index=people["ids"])
    twice = pd.concat([brains, brains.iloc[:2]])
    with pytest.raises(UserError, match="2 of 162 rows repeat id and numbers of an earlier row: p0000, p0001"):
        genebrain.fit(genes=genes, brains=twice, run=tmp_path / "r", progress=False)
    holes = brains.copy()
    holes.iloc[0] = np.nan
    with pytest.raises(UserError, match=r"in 12 of 12 columns \(0, 1, 2, 3, 4 and 7 more\), 1 of 160 rows"):
        genebrain.fit(genes=genes, brains=holes, run=tmp_path / "r", progress=False)


def test_what_does_not_go_together_is_refused_before_work(people, cohort, tmp_path):
    folder = people["folder"]
    given = {"genes": folder / "genes.parquet", "brains": folder / "brains.npz"}
    with pytest.raises(UserError, match="poolings that are trained read chunks"):
        tasks.fit(run=tmp_path / "r", pooling=GenePooling(window="attention"), progress=False,
                  alignment=AlignmentSettings(start="random", train="full", score="cosine"), **given)  # fmt: skip
    with pytest.raises(UserError, match="give brains=FILE too"):
        tasks.fit(genes=given["genes"], run=tmp_path / "r", progress=False)
    with pytest.raises(UserError, match="no such file"):
        tasks.fit(genes=given["genes"], brains=tmp_path / "none.npz", run=tmp_path / "r", progress=False)
    with pytest.raises(UserError, match="3 ids for 160 rows"):
        genebrain.fit(genes=people["genes"], brains=people["brains"], ids=["a", "b", "c"], run=tmp_path / "r")
    run = tasks.fit(run=tmp_path / "r", alignment=CLOSED, progress=False, **given)
    with pytest.raises(UserError, match="holds another experiment"):
        tasks.fit(genes=given["brains"], brains=given["genes"], run=run, progress=False)
    with pytest.raises(UserError, match="holds vectors of genomes and no genotypes: use genetics=vectors"):
        tasks.fit(run / "cohort" / "cohort.yaml", run=tmp_path / "x", progress=False)


@pytest.mark.parametrize("verb", ["fit", "check", "ablate"])
def test_the_command_line_knows_the_short_form(verb):
    built = config.build(config.compose(verb, ["genes=a.parquet", "brains=b.npz", "participants=p.tsv"]))
    assert (built["genes"], built["brains"], built["participants"]) == ("a.parquet", "b.npz", "p.tsv")
    built = config.build(config.compose(verb, ["genetics=vectors", "genetics.path=a.parquet", "brain=vectors"]))
    assert built["genetics"] == genebrain.VectorGenes("a.parquet")
    assert built["brain"] == genebrain.VectorBrain()


def test_the_example_aligns_two_arrays_in_fifteen_lines(capsys):
    path = Path(__file__).parent.parent / "examples" / "align_two_arrays.py"
    code = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 15
    runpy.run_path(str(path))
    assert "Above chance" in capsys.readouterr().out


def test_every_command_of_the_page_runs(people, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("genes.parquet", "brains.npz"):
        (tmp_path / name).write_bytes((people["folder"] / name).read_bytes())
    (tmp_path / "participants.tsv").write_text((people["folder"] / "people.tsv").read_text())
    rng = np.random.default_rng(7)  # cohort B: other people, the same truth
    (tmp_path / "B").mkdir()
    shared, ids = rng.normal(size=(60, 3)), [f"b{i}" for i in range(60)]
    genes = np.concatenate([shared, rng.normal(size=(60, 5))], axis=1)
    write_vectors(tmp_path / "B" / "g.parquet", ids, genes, [f"g{i // 2}:{i % 2}" for i in range(8)])
    brains = np.concatenate([shared + 0.2 * rng.normal(size=(60, 3)), rng.normal(size=(60, 9))], axis=1)
    write_vectors(tmp_path / "B" / "b.parquet", ids, brains)
    (tmp_path / "B" / "cohort.yaml").write_text("gene_vectors: g.parquet\nbrain_vectors: b.parquet\n")
    page = (Path(__file__).parent.parent / "docs" / "vectors.md").read_text()
    lines = [line.removeprefix("genebrain ") for line in page.splitlines() if line.startswith("genebrain ")]
    # Genotypes and simulated cohorts: tests/runs/test_new_people.py and tests/simulation/test_second_cohort.py.
    simulated = re.compile("^simulate ")
    lines = [line for line in lines if not simulated.search(line)]
    assert len(lines) == 4
    given = "genes=genes.parquet brains=brains.npz participants=participants.tsv"
    first = [f"check {given}", f"fit {given} run=runs/mine", "evaluate run=runs/mine", "report run=runs/mine"]
    last = ["evaluate run=runs/mine cohort.path=B/cohort.yaml out=runs/mine-on-B", "report run=runs/mine-on-B"]
    quick = {
        "fit": ["trainer.max_epochs=2"],
        "evaluate": ["n_bootstrap=40", "n_permutations=40", "comparisons=[confound_only]"],
    }
    for line in [*first, *lines, *last]:
        verb, *words = [word.replace("=ID", "=p0009") for word in line.split()]
        assert main([verb, *words, *quick.get(verb, [])]) == 0, line
    assert (tmp_path / "runs/mine/report.html").is_file()
    assert "Second cohort" in (tmp_path / "runs/mine-on-B/report.html").read_text()
    metrics = json.loads((tmp_path / "runs/mine-on-B/metrics.json").read_text())
    assert metrics["retrieval"]["mean"]["recall@1"]["value"] > 10 * metrics["chance"]["recall@1"]
    assert len(pd.read_csv(tmp_path / "found.tsv", sep="\t")) == 10


def test_words_in_the_place_of_settings_are_explained(tmp_path):
    with pytest.raises(UserError, match=r"brain='correlation', pooling='mean'.*ConnectomeSide"):
        tasks.fit("cohort.yaml", brain="correlation", pooling="mean", run=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_used_run_folder_is_refused_before_people_are_read(people, tmp_path, monkeypatch):
    folder = people["folder"]
    given = {"genes": folder / "genes.parquet", "brains": folder / "brains.npz"}
    run = tasks.fit(run=tmp_path / "r", alignment=CLOSED, progress=False, **given)
    before = sorted(path for path in run.rglob("*"))
    few = tmp_path / "few.tsv"
    few.write_text("participant_id\n" + "".join(f"{one}\n" for one in people["ids"][:120]))
    other = tmp_path / "other.yaml"
    other.write_text((run / "cohort" / "cohort.yaml").read_text() + f"participants: {few}\n")
    copy = tmp_path / "copy.yaml"
    copy.write_text((run / "cohort" / "cohort.yaml").read_text())
    sides = {"genetics": genebrain.VectorGenes(), "brain": genebrain.VectorBrain(), "alignment": CLOSED}
    assert tasks.fit(copy, run=run, progress=False, **sides) == run  # the same people
    monkeypatch.setattr(Workspace, "ingest", lambda *_: pytest.fail("scans were read"))
    with pytest.raises(UserError, match=r"holds a fit of another cohort \(.*cohort.yaml\); choose another run="):
        tasks.fit(other, run=run, progress=False, **sides)
    monkeypatch.setattr(Workspace, "__init__", lambda *_: pytest.fail("the cohort was read"))
    with pytest.raises(UserError, match=r"1 setting\(s\) differ: seed: 0 -> 1\); choose another run="):
        tasks.fit(run=run, seed=1, alignment=CLOSED, progress=False, **given)
    assert sorted(path for path in run.rglob("*")) == before


def test_a_frame_says_itself_who_its_rows_are(people, tmp_path):
    """``ids=`` beside a frame names the rows of the array; both in one order or not."""
    ids, order = people["ids"], np.random.default_rng(4).permutation(160)
    frame, given = pd.DataFrame(people["genes"], index=ids), {"alignment": CLOSED, "progress": False}
    plain = genebrain.fit(genes=people["genes"], brains=people["brains"], ids=ids, run=tmp_path / "a", **given)
    names = [ids[row] for row in order]
    mixed = genebrain.fit(genes=frame, brains=people["brains"][order], ids=names, run=tmp_path / "b", **given)
    one, two = (genebrain.load_run(run).vectors("all").scores for run in (plain, mixed))
    pd.testing.assert_frame_equal(one, two)
    counted = pd.DataFrame(people["genes"])  # rows are only counted: here the ids belong to it
    again = genebrain.fit(genes=counted, brains=people["brains"], ids=ids, run=tmp_path / "c", **given)
    pd.testing.assert_frame_equal(one, genebrain.load_run(again).vectors("all").scores)
    with pytest.raises(UserError, match="say themselves who is who"):
        genebrain.fit(genes=frame, brains=frame, ids=names, run=tmp_path / "d", **given)


def test_arrays_without_ids_must_have_a_row_for_each_person(people, tmp_path):
    genes, brains = np.zeros((100, 3)), np.zeros((120, 4))
    with pytest.raises(UserError, match=r"genes has 100 rows and brains 120: without ids"):
        tasks.fit(genes=genes, brains=brains, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
