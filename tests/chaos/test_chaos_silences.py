"""A process that was silent for its lease, and lives, does no harm."""

import signal

import pytest
from load import schedule
from processes import wait_until


def pid_in(came):
    """Give the pid of the process whose run was the last to come here."""
    return came.exists() and came.read_text()


@pytest.mark.parametrize("storage", ["ZEO", "plain ZEO", "PostgreSQL"])
def test_a_process_takes_a_job_back_while_its_own_old_run_hangs(
    storage, make_cluster, tmp_path
):
    cluster = make_cluster(storage)
    stopped, other = cluster.servers
    assert schedule(stopped, [("count_slowly", "slow")])
    came = tmp_path / "slow came"
    wait_until(lambda: pid_in(came) == str(stopped.pid), "the job runs")
    cluster.stop_between_commits(stopped, other)
    wait_until(
        lambda: pid_in(came) == str(other.pid), "the other process runs it"
    )
    stopped.signal(signal.SIGCONT)
    other.kill()
    wait_until(
        lambda: pid_in(came) == str(stopped.pid), "the first runs it again"
    )
    (tmp_path / "go").touch()
    wait_until(
        lambda: cluster.answer(stopped, "/show_unfinished")["all"] == 0,
        "the job has ended",
    )
    other.start()
    cluster.wait_until_ready()
    cluster.report().require_each_once(["slow"])


@pytest.mark.parametrize("storage", ["ZEO", "PostgreSQL"])
def test_a_process_is_judged_by_its_own_lease(storage, make_cluster, tmp_path):
    """While settings are changed, processes with old and new ones run."""
    cluster = make_cluster(storage)
    dying, _ = cluster.servers
    patient = cluster.start_beside(
        tmp_path / "patient.log", zodb_async__lease="300"
    )
    assert schedule(patient, [("count_slowly", "first")])
    first, second = tmp_path / "first came", tmp_path / "second came"
    wait_until(lambda: pid_in(first) == str(patient.pid), "the first job runs")
    assert schedule(dying, [("count_slowly", "second")])
    wait_until(lambda: pid_in(second), "the second job runs")
    dying.kill()
    wait_until(lambda: cluster.taken_over() == 1, "the second is taken over")
    (tmp_path / "go").touch()
    dying.start()
    cluster.wait_until_ready()
    cluster.drain()
    assert cluster.taken_over() == 1
    cluster.report().require_each_once(["first", "second"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("storage", ["ZEO", "PostgreSQL"])
def test_a_job_that_keeps_the_gil_for_some_leases_succeeds_at_last(
    storage, make_cluster, tmp_path, monkeypatch
):
    monkeypatch.setenv("CHAOS_SECONDS", "5")
    cluster = make_cluster(storage)
    cluster.start_beside(tmp_path / "third.log")
    assert schedule(cluster.servers[0], [("keep_gil", "hog")])
    cluster.drain(deadline=300)
    cluster.report().require_each_once(["hog"])
