"""The Dask engine with worker processes on the loopback: nothing is lost with a worker or a scheduler."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from genebrain import tasks
from genebrain.common.types import UserError
from genebrain.engines.run import run_shares, using
from genebrain.engines.settings import EngineSettings
from genebrain.engines.share import FailedSharesError
from tests.engines import cohorts, works

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def workers_find_the_tests(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def run(work, wanted, place, settings, **more):
    with using(settings):
        results = run_shares(work, works.shares(wanted), place, progress=False, **more)
        return {share.arguments[0]: result for share, result in results}


def test_a_killed_worker_costs_only_its_share(tmp_path):
    found = run(works.dies_once, range(30), tmp_path, EngineSettings("dask", workers=2), shared=str(tmp_path))
    assert found == {n: n for n in range(30)}
    assert (tmp_path / "killed").read_text() != str(os.getpid())


def test_a_share_that_kills_its_worker_is_named_and_the_rest_goes_on(tmp_path):
    done = {}

    def collect():
        with using(EngineSettings("dask", workers=2, tries=1)):
            for share, result in run_shares(
                works.always_dies_at_three, works.shares(range(8)), tmp_path, progress=False
            ):
                done[share.arguments[0]] = result

    with pytest.raises(FailedSharesError, match=r"1 of 8 shares failed 1 times: .*its worker was lost"):
        collect()
    assert done == {n: n for n in range(8) if n != 3}


def test_two_worker_processes_fill_the_store_of_one(tmp_path):
    cohort = cohorts.small_cohort(tmp_path / "cohort")
    tasks.embed(cohort, store=tmp_path / "alone")
    tasks.embed(cohort, store=tmp_path / "dask", engine=EngineSettings("dask", workers=2))
    assert cohorts.contents(tmp_path / "dask") == cohorts.contents(tmp_path / "alone")


def test_images_and_their_encoder_on_two_worker_processes(tmp_path):
    from genebrain.sides.scans import EncoderSide
    from genebrain.simulation.cohort import simulate_cohort

    cohort = simulate_cohort(tmp_path / "cohort", tier="smoke", n_subjects=20, seed=1)
    scans = cohort.parent / "scans.tsv"
    for name, engine in (("alone", None), ("dask", EngineSettings("dask", workers=2))):
        tasks.embed_scans(scans, tmp_path / name, EncoderSide(encoder="brainlm"), engine=engine, progress=False)
    one, two = (np.load(tmp_path / name / "windows.npy") for name in ("alone", "dask"))
    np.testing.assert_array_equal(one, two)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start(what: str, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "distributed.cli." + what, *words, "--no-dashboard"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_scheduler_that_is_started_anew_gets_the_rest(tmp_path, capsys):
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"

    def scheduler():
        return start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port))

    def worker():
        return start("dask_worker", address, "--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / "w"))

    begun, found, settings = [scheduler(), worker()], {}, EngineSettings("dask", address=address, patience_s=90)
    seen = threading.Event()

    def collect():
        with using(settings):
            for share, result in run_shares(
                works.waits_for_the_restart, works.shares(range(12)), tmp_path, shared=str(tmp_path), progress=False
            ):
                found[share.arguments[0]] = result
                seen.set()

    thread = threading.Thread(target=collect)
    try:
        thread.start()
        assert seen.wait(120)
        end(begun[0])
        end(begun[1])
        (tmp_path / "restarted").write_text("")
        begun += [scheduler(), worker()]
        thread.join(150)
        assert found == {n: n for n in range(12)}
        assert "was lost" in "".join(capsys.readouterr())
    finally:
        for process in begun:
            if process.poll() is None:
                end(process)
        thread.join(30)


def test_a_scheduler_without_workers_is_told(tmp_path):
    port = free_port()
    alone = start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port))
    try:
        settings = EngineSettings("dask", address=f"tcp://127.0.0.1:{port}", patience_s=30)
        begun = time.monotonic()
        with pytest.raises(UserError, match="no worker came"):
            run(works.square, [1], tmp_path, settings, shared=0)
        assert time.monotonic() - begun < 60
    finally:
        end(alone)
