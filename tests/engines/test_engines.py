"""Engines: the same results from this machine, from Dask and from jobs of an array; what fails is named."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tqdm import tqdm

from genebrain.common.files import StorageError
from genebrain.common.types import UserError
from genebrain.engines import claims as claims_module
from genebrain.engines.array import ArrayJob
from genebrain.engines.claims import Claims
from genebrain.engines.run import run_shares, using
from genebrain.engines.settings import EngineSettings, SlurmJobs
from genebrain.engines.shard import Shard
from genebrain.engines.share import FailedSharesError, Waiting
from tests.engines import works


def numbers(results):
    return {share.arguments[0]: result for share, result in results}


def run(work, wanted, place, settings=None, shard=None, **more):
    with using(settings, shard):
        return numbers(run_shares(work, works.shares(wanted), place, progress=False, **more))


@pytest.mark.parametrize("workers", [1, 2])
def test_local_gives_every_result_and_the_object_that_all_share(tmp_path, workers):
    found = run(works.square, range(5), tmp_path, EngineSettings(workers=workers), shared=100)
    assert found == {0: 100, 1: 101, 2: 104, 3: 109, 4: 116}


def test_a_share_that_fails_three_times_is_named_and_all_others_are_done(tmp_path):
    done = {}

    def collect():
        for share, result in run_shares(works.square_but_not_seven, works.shares(range(10)), tmp_path, progress=False):
            done[share.arguments[0]] = result

    with pytest.raises(FailedSharesError) as error:
        collect()
    assert done == {n: n * n for n in range(10) if n != 7}
    name = works.shares([7])[0].key
    assert "1 of 10 shares failed 3 times" in str(error.value)
    assert name in str(error.value)
    assert "seven is no good" in str(error.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_share_that_fails_once_is_tried_again(tmp_path, workers):
    found = run(works.counts_tries, range(3), tmp_path, EngineSettings(workers=workers), shared=str(tmp_path))
    assert found == {0: 0, 1: 1, 2: 2}


def test_a_full_disk_ends_everything_at_once(tmp_path):
    with pytest.raises(StorageError, match="No space left"):
        run(works.never_room, range(4), tmp_path)


def test_a_killed_process_of_this_machine_costs_only_its_share(tmp_path):
    found = run(works.dies_once, range(6), tmp_path, EngineSettings(workers=2), shared=str(tmp_path))
    assert found == {n: n for n in range(6)}
    assert (tmp_path / "killed").exists()


def test_what_is_known_is_not_done_again(tmp_path):
    shares = works.shares([1, 2])
    with using():
        found = numbers(run_shares(works.square, shares, tmp_path, shared=0, known={shares[0].key: -1}, progress=False))
    assert found == {1: -1, 2: 4}


def test_jobs_of_an_array_take_their_shares_and_the_last_gets_all_results(tmp_path):
    with pytest.raises(Waiting, match="2 of 5 shares of other jobs"):
        run(works.square, range(5), tmp_path, shard=Shard(1, 2), shared=0)
    assert run(works.square, range(5), tmp_path, shard=Shard(2, 2), shared=0) == {n: n * n for n in range(5)}
    # A job that comes again works nothing out anew.
    assert run(works.never_room, range(5), tmp_path, shard=Shard(1, 2)) == {n: n * n for n in range(5)}


def test_jobs_that_claim_do_every_share_once(tmp_path):
    made = []
    lock = threading.Lock()

    def work(shared, number):
        with lock:
            made.append(number)
        return number

    def job(_):
        with tqdm(disable=True) as bar:
            one = ArrayJob(
                work, works.shares(range(12)), Shard(claims=True), tmp_path, None, "numbers", 3, bar, {},
                pause=lambda s: threading.Event().wait(0.01),
            )  # fmt: skip
            return numbers(one.results())

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(job, range(3)))
    assert sorted(made) == list(range(12))
    assert results == [{n: n for n in range(12)}] * 3


def test_a_share_that_fails_in_one_job_is_not_begun_by_the_next_pass(tmp_path):
    with pytest.raises(FailedSharesError, match="seven is no good"):
        run(works.square_but_not_seven, range(8), tmp_path, shard=Shard(claims=True))
    assert run(works.square, range(8), tmp_path, shard=Shard(claims=True), shared=0)[7] == 49  # mended


def test_a_claim_is_held_by_one_and_a_stale_one_is_taken(tmp_path, monkeypatch):
    with Claims(tmp_path) as one, Claims(tmp_path) as other:
        assert one.take("a")
        assert not other.take("a")
        claim = tmp_path / "a.claim"
        old = claim.stat().st_mtime - claims_module.STALE_S - 5
        os.utime(claim, (old, old))  # of a machine that stopped
        assert other.take("a")
        other.finish("a", [1])
        assert not one.take("a")
        assert one.result("a") == [1]


def test_a_claim_of_a_dead_process_of_this_machine_is_taken_at_once(tmp_path):
    child = os.fork()
    if not child:
        Claims(tmp_path).take("a")
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "a.claim").exists()
    with Claims(tmp_path) as claims:
        assert claims.take("a")


@pytest.mark.parametrize("text", ["0/4", "5/4", "x", "1/0"])
def test_shares_that_are_none_are_refused(text):
    with pytest.raises(UserError, match="shard=next"):
        Shard.parse(text)


def test_words_of_shares():
    assert Shard.parse("next") == Shard(claims=True)
    assert Shard.parse("next").partial
    assert Shard.parse("3/64") == Shard(3, 64)
    assert not Shard.parse(None).partial


def test_settings_say_what_is_wrong():
    with pytest.raises(UserError, match="did you mean 'partition'"):
        EngineSettings("dask", slurm={"partitio": "long"})
    with pytest.raises(UserError, match="belong to engine=dask"):
        EngineSettings("local", address="tcp://here:1")
    with pytest.raises(UserError, match="whole numbers from 1"):
        SlurmJobs(cores=0)
    with (
        pytest.raises(UserError, match="engine=dask shares the work out itself"),
        using(EngineSettings("dask"), Shard(1, 2)),
    ):
        pass


@pytest.mark.parametrize(
    ("slurm", "words"),
    [
        ("long", r"^engine\.slurm=long: write \{partition: long, cores: 8, memory: 32GB\}$"),
        ({"memory": "lots"}, "^engine.slurm.memory=lots: write it as 16GB$"),
        ({"memory": 32}, "^engine.slurm.memory=32: write it as 16GB$"),  # bytes
        ({"walltime": 43200}, "^engine.slurm.walltime=43200: write it as '12:00:00', "),  # of YAML, without quotes
        ({"walltime": "long"}, "^engine.slurm.walltime=long: "),
    ],
)
def test_jobs_of_slurm_that_would_ask_for_something_else_are_refused(slurm, words):
    for good in ({"memory": "4GB"}, {"memory": "3.5 GiB"}, {"walltime": "1-00:00:00"}, {"walltime": "90:00"}):
        EngineSettings("dask", slurm=good)
    with pytest.raises(UserError, match=words):
        EngineSettings("dask", slurm=slurm)


def test_dask_that_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install 'genebrain\[cluster\]'"):
        run(works.square, range(2), tmp_path, EngineSettings("dask"), shared=0)
