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
    stopped.signal(signal.SIGSTOP)
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
