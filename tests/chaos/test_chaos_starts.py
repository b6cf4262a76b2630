"""Jobs that end their process, and jobs that nobody was told of."""

from load import schedule
from processes import wait_until

#: How often a server is started again at most.
RESTARTS = 10


def test_a_hundred_jobs_succeed_beside_one_that_ends_its_process(
    make_cluster, say
):
    cluster = make_cluster("FileStorage")
    (server,) = cluster.servers
    jobs = [("count", f"good-{number}") for number in range(100)]
    # early, so that about a hundred wait when the process ends
    jobs.insert(2, ("end_process", "bad"))
    schedule(server, jobs)
    deaths = 0
    while deaths < RESTARTS:
        wait_until(
            lambda: server.has_ended() or cluster.is_drained(),
            "the process or all jobs end",
        )
        if not server.has_ended():
            break
        deaths += 1
        cluster.restart_ended()
    report = cluster.report()
    bad = report.jobs.pop("bad")
    assert (bad["state"], bad["error"]) == ("failed", "JobCrashed")
    assert bad["effects"] == 0
    say(
        "A job that ends its process",
        jobs=1 + len(report.jobs),
        deaths=deaths,
        takeovers=cluster.taken_over(),
        duplicates=len(report.duplicate),
        losses=len(report.lost),
    )
    report.require_each_once([name for kind, name in jobs if kind == "count"])
    # once when nobody knew it yet, perhaps once while other suspects ran
    # beside it, so that none was blamed, then as often as `attempts` says
    assert deaths - 4 in {1, 2}


def test_a_job_runs_whose_process_ended_right_after_the_commit(make_cluster):
    cluster = make_cluster("FileStorage")
    (server,) = cluster.servers
    jobs = [("count", "unnoticed"), ("die_after_commit", "")]
    assert not schedule(server, jobs)
    wait_until(server.has_ended, "the process ends")
    cluster.restart_ended()
    cluster.drain()
    cluster.report().require_each_once(["unnoticed"])
    assert cluster.taken_over() == 1
