"""A process that was stopped past its lease, and goes on, changes nothing."""

import signal

import pytest
from load import schedule
from processes import wait_until


@pytest.mark.parametrize("storage", ["ZEO", "plain ZEO", "PostgreSQL"])
@pytest.mark.parametrize("job", ["count_slowly", "count_and_raise_if_first"])
def test_a_process_that_was_stopped_in_a_job_does_not_end_it_again(
    storage, job, make_cluster, tmp_path
):
    cluster = make_cluster(storage)
    stopped, other = cluster.servers
    assert schedule(stopped, [(job, "slow")])
    came = tmp_path / "slow came"
    wait_until(lambda: came.exists() and came.read_text(), "the job runs")
    assert came.read_text() == str(stopped.pid)
    cluster.stop_between_commits(stopped, other)
    (tmp_path / "go").touch()
    wait_until(
        lambda: cluster.answer(other, "/show_unfinished")["all"] == 0,
        "the other process ends the job",
    )
    stopped.signal(signal.SIGCONT)
    cluster.drain()
    assert cluster.taken_over() == 1
    report = cluster.report()
    report.require_each_once(["slow"])
