"""The Dask engine on a cluster inside this process; with worker processes in ``test_dask_processes.py``."""

from __future__ import annotations

import pytest

from genebrain.common.files import StorageError
from genebrain.common.types import UserError
from genebrain.engines import cluster as cluster_module
from genebrain.engines.run import run_shares, using
from genebrain.engines.settings import EngineSettings, SlurmJobs
from genebrain.engines.share import FailedSharesError, WorkerError
from tests.engines import works

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def address():
    """A scheduler and one worker in threads of this process."""
    with cluster_module.local_cluster(1, threads_per_worker=2, processes=False, host=None) as own:
        yield own.scheduler_address


def run(work, wanted, place, address, **more):
    with using(EngineSettings("dask", address=address, patience_s=5)):
        results = run_shares(work, works.shares(wanted), place, progress=False, **more)
        return {share.arguments[0]: result for share, result in results}


def test_dask_gives_the_results_of_this_machine(tmp_path, address):
    assert run(works.square, range(20), tmp_path, address, shared=1) == {n: n * n + 1 for n in range(20)}
    assert list(tmp_path.iterdir()) == []  # nothing of the engine is left


def test_shares_that_fail_are_named_and_a_full_disk_ends_all(tmp_path, address):
    with pytest.raises(FailedSharesError, match=r"1 of 9 shares failed 3 times: .*seven is no good"):
        run(works.square_but_not_seven, range(9), tmp_path, address)
    assert run(works.counts_tries, range(2), tmp_path, address, shared=str(tmp_path)) == {0: 0, 1: 1}
    with pytest.raises(StorageError, match="No space left"):
        run(works.never_room, range(9), tmp_path, address)


def test_workers_of_another_version_or_without_the_folder_are_told(tmp_path, address, monkeypatch):
    told = cluster_module.worker_problem
    (tmp_path / cluster_module.PROBE).write_text("abc")
    assert told(str(tmp_path), "abc", cluster_module.__version__) == ""
    assert "it runs genebrain" in told(str(tmp_path), "abc", "0.0.1")
    assert "another folder" in told(str(tmp_path), "other", cluster_module.__version__)
    assert "under the same path" in told(str(tmp_path / "absent"), "abc", cluster_module.__version__)
    monkeypatch.setattr(cluster_module, "__version__", "9.9")
    with pytest.raises(WorkerError, match=r"1 of 1 worker cannot do this work: .*it runs genebrain .* this is 9\.9"):
        run(works.square, range(2), tmp_path, address, shared=0)


def test_two_clusters_of_one_machine_do_not_meet():
    """Under errors for warnings: Dask warns of a port that is taken."""
    with (
        cluster_module.local_cluster(1, processes=False, host=None) as one,
        cluster_module.local_cluster(1, processes=False, host=None) as other,
    ):
        assert one.scheduler_address != other.scheduler_address
        assert len(one.workers) == len(other.workers) == 1  # and not one for each core


def test_nobody_answers(tmp_path):
    settings = EngineSettings("dask", address="tcp://127.0.0.1:1", patience_s=1)
    with (
        pytest.raises(UserError, match=r"no Dask scheduler answers at engine\.address=tcp://127\.0\.0\.1:1"),
        using(settings),
    ):
        list(run_shares(works.square, works.shares([1]), tmp_path, shared=0, progress=False))


def test_an_address_of_tls_without_certificates_is_told(tmp_path):
    settings = EngineSettings("dask", address="tls://127.0.0.1:1", patience_s=1)
    with pytest.raises(UserError, match="tls:// needs certificates in Dask's own configuration"), using(settings):
        list(run_shares(works.square, works.shares(range(2)), tmp_path, shared=0, progress=False))


def test_a_job_of_slurm_asks_for_what_was_said(monkeypatch):
    jobqueue = pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr(jobqueue.SLURMCluster, "scale", lambda self, jobs: None)  # no sbatch here
    jobs = SlurmJobs(partition="long", cores=4, memory="16GB", walltime="12:00:00", directives=("--gpus=1",))
    with cluster_module._slurm(jobs) as own:
        script = own.job_script()
    assert "#SBATCH -p long" in script
    assert "#SBATCH -t 12:00:00" in script
    assert "#SBATCH --gpus=1" in script
    assert "#SBATCH --cpus-per-task=4" in script
