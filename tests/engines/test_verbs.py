"""Verbs under every engine fill the store with the same numbers, and jobs of an array meet in it."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from genebrain import tasks
from genebrain.brain.store import spread
from genebrain.brain.store.store import ScanStore
from genebrain.cli import main
from genebrain.common.types import UserError
from genebrain.engines.cluster import local_cluster
from genebrain.engines.settings import EngineSettings
from genebrain.genetics.chunks import spread as chunk_spread
from tests.engines import cohorts

pytest.importorskip("distributed")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return cohorts.small_cohort(tmp_path_factory.mktemp("cohort"), 24)


@pytest.fixture(scope="module")
def alone(cohort, tmp_path_factory):
    """What one process makes of it."""
    store = tmp_path_factory.mktemp("alone")
    tasks.embed(cohort, store=store)
    return cohorts.contents(store)


@pytest.fixture
def cuts_windows_anywhere(monkeypatch):
    monkeypatch.setattr(chunk_spread, "WORTH", 0)
    monkeypatch.setattr(spread, "MANY", 0)
    monkeypatch.setattr(spread, "TOGETHER", {"tables": 8, "images": 8})


def test_embed_on_dask_gives_the_same_store(cohort, alone, tmp_path, cuts_windows_anywhere):
    with local_cluster(1, processes=False, host=None) as cluster:
        tasks.embed(cohort, store=tmp_path, engine=EngineSettings("dask", address=cluster.scheduler_address))
    assert cohorts.contents(tmp_path) == alone
    assert not list(tmp_path.rglob("shares"))
    assert not list(tmp_path.rglob("*.windows"))


def test_two_schedulers_on_one_store_give_it_once(cohort, alone, tmp_path, cuts_windows_anywhere):
    def embed(cluster):
        engine = EngineSettings("dask", address=cluster.scheduler_address)
        return tasks.embed(cohort, store=tmp_path, engine=engine)["chunks"]["encoded"]

    with (
        local_cluster(1, processes=False, host=None) as one,
        local_cluster(1, processes=False, host=None) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        encoded = list(pool.map(embed, (one, other)))
    assert min(encoded) == 0 < max(encoded)
    assert cohorts.contents(tmp_path) == alone


def test_a_window_that_fails_three_times_is_named_and_the_rest_is_kept(
    cohort, alone, tmp_path, cuts_windows_anywhere, monkeypatch, capsys
):
    cut, tried = chunk_spread.cut_records, []

    def broken(inputs, number, *given):
        tried.append(number)
        if number == 2:
            raise ValueError("two is no good")
        return cut(inputs, number, *given)

    monkeypatch.setattr(chunk_spread, "cut_records", broken)
    words = ["embed", f"cohort.path={cohort}", f"store={tmp_path}", "engine.workers=1"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "windows: 1 of 12 shares failed 3 times: window-00002" in told
    assert "ValueError: two is no good" in told
    assert tried.count(2) == 3
    assert len(list(tmp_path.rglob("window-*.safetensors"))) == 2 * 11
    monkeypatch.setattr(chunk_spread, "cut_records", cut)
    assert main(words) == 0
    assert cohorts.contents(tmp_path) == alone


def test_embed_in_shares_waits_for_what_others_must_do_first(cohort, alone, tmp_path, cuts_windows_anywhere, capsys):
    first = tasks.embed(cohort, store=tmp_path, shard="1/2")
    assert first["waits_for"].startswith("scans: this job's shares are stored")
    assert "chunks" not in first
    assert re.search(r"^waits_for +scans: this job's shares", capsys.readouterr().out, re.MULTILINE)
    assert tasks.embed(cohort, store=tmp_path, shard="2/2")["waits_for"].startswith("windows:")
    assert "chunks" in tasks.embed(cohort, store=tmp_path, shard="1/2")
    assert "chunks" in tasks.embed(cohort, store=tmp_path, shard="2/2")
    merged = tasks.embed(cohort, store=tmp_path)
    assert (merged["chunks"]["encoded"], merged["chunks"]["merged_parts"]) == (0, 2)
    told = capsys.readouterr().out.splitlines()[-2:]
    assert re.fullmatch(r"scans +(\d+) of \1 in the store, \1 of them from before; 0 left out .*", told[0])
    assert re.fullmatch(r"chunks of DNA +\d+ distinct of [\d,]+; 0 encoded now .*, \d+ from before", told[1])
    assert cohorts.contents(tmp_path) == alone


def test_embed_takes_free_shares_until_none_is_left(cohort, alone, tmp_path, cuts_windows_anywhere):
    done = tasks.embed(cohort, store=tmp_path, shard="next")
    assert done["chunks"]["encoded"] == done["chunks"]["requested"]
    merged = tasks.embed(cohort, store=tmp_path)
    assert merged["chunks"]["encoded"] == 0
    assert merged["chunks"]["merged_parts"] > 1
    assert cohorts.contents(tmp_path) == alone
    assert not list(tmp_path.rglob("shares"))


@pytest.mark.parametrize("shard", ["next", None])
def test_a_kill_before_windows_were_deleted_leaves_none_behind(
    cohort, alone, tmp_path, cuts_windows_anywhere, monkeypatch, shard
):
    """They hold letters and dosages of everybody, and the next run finds all that they were for."""
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        tasks.embed(cohort, store=tmp_path, shard=shard)
    assert len(list(tmp_path.rglob("*.windows"))) == 3  # under two masks, and the alleles
    tasks.embed(cohort, store=tmp_path)
    assert not list(tmp_path.rglob("*.windows"))
    assert cohorts.contents(tmp_path) == alone


@pytest.mark.parametrize("shards", [("1/3", "2/3", "3/3"), ("next",)])
def test_images_in_shares_give_the_vectors_of_one_process(tmp_path, shards):
    table = cohorts.write_images(tmp_path / "in", 10)
    atlas = tmp_path / "in" / "atlas.nii.gz"
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    tasks.embed_scans(table, whole, atlas=atlas, progress=False)
    told = [tasks.embed_scans(table, shared, atlas=atlas, shard=shard, progress=False) for shard in shards]
    assert ["waits_for" in one for one in told] == [True, True, False][-len(shards) :]
    assert not (shared / "scans.npy").exists()
    counts = tasks.embed_scans(table, shared, atlas=atlas, progress=False)
    assert counts["embedded"]["scans"] == 10
    np.testing.assert_array_equal(np.load(shared / "scans.npy"), np.load(whole / "scans.npy"))
    (store,) = shared.glob("parcels-*")
    assert len(ScanStore(store)) == 10


def test_a_share_of_images_is_not_read_twice(tmp_path, monkeypatch):
    table = cohorts.write_images(tmp_path / "in", 6)
    out, read = tmp_path / "out", []
    real = spread.process
    monkeypatch.setattr(spread, "process", lambda job, options: read.append(job.key) or real(job, options))
    for _ in range(2):
        tasks.embed_scans(table, out, atlas=tmp_path / "in" / "atlas.nii.gz", shard="next", progress=False)
    tasks.embed_scans(table, out, atlas=tmp_path / "in" / "atlas.nii.gz", progress=False)
    assert len(read) == len(set(read)) == 6


def test_shares_of_verbs_that_have_numbered_ones_only(tmp_path):
    with pytest.raises(UserError, match="numbered shares only"):
        tasks.generate(tmp_path / "out.fa", prompt="ACGTAC", shard="next")


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """A reference of 3,000 bases and 23 substitutions."""
    folder, random = tmp_path_factory.mktemp("variants"), np.random.default_rng(0)
    letters = random.choice(list("ACGT"), 3000)
    (folder / "genome.fa").write_text(">chr1\n" + "".join(letters) + "\n")
    lines = ["chrom\tpos\tref\talt"]
    for place in sorted(random.choice(np.arange(200, 2800), 23, replace=False).tolist()):
        other = next(base for base in "ACGT" if base != letters[place])
        lines.append(f"chr1\t{place + 1}\t{letters[place]}\t{other}")
    (folder / "variants.tsv").write_text("\n".join(lines) + "\n")
    return folder


def score(variants, out, **more):
    return tasks.score_variants(
        variants / "variants.tsv", variants / "genome.fa", out, context_bp=120, block_size=4, progress=False, **more
    )


def test_variants_have_the_same_scores_under_every_engine(variants, tmp_path):
    alone = score(variants, tmp_path / "alone.tsv")
    claimed = score(variants, tmp_path / "claimed.tsv", shard="next")
    with local_cluster(1, processes=False, host=None) as cluster:
        engine = EngineSettings("dask", address=cluster.scheduler_address)
        spread_out = score(variants, tmp_path / "dask.tsv", engine=engine)
    assert alone["work"] == claimed["work"] == spread_out["work"]
    texts = [(tmp_path / f"{name}.tsv").read_text() for name in ("alone", "claimed", "dask")]
    assert len(texts[0].splitlines()) == 24
    assert texts[1:] == texts[:1] * 2
    assert not list(tmp_path.glob("*.parts"))
