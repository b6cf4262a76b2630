"""A job that ends its process each time harms no other job."""

import pytest
from load import schedule
from processes import wait_until

#: How many jobs are harmless, and run for long.
INNOCENTS = 20


@pytest.mark.timeout(900)
@pytest.mark.parametrize("storage", ["FileStorage", "ZEO"])
@pytest.mark.parametrize("poison", ["end_process", "end_process_late"])
def test_of_many_long_jobs_only_the_one_that_ends_processes_fails(
    storage, poison, make_cluster, monkeypatch, say
):
    monkeypatch.setenv("CHAOS_SECONDS", "2")
    cluster = make_cluster(storage, zodb_async__workers="8")
    innocents = [f"innocent {number}" for number in range(INNOCENTS)]
    half = INNOCENTS // 2
    jobs = [("count_for_long", name) for name in innocents]
    jobs.insert(half, (poison, "poison"))
    assert schedule(cluster.servers[0], jobs)
    ends = 0

    def is_over():
        nonlocal ends
        ends += sum(server.has_ended() for server in cluster.servers)
        cluster.restart_ended()
        return cluster.is_drained()

    wait_until(is_over, "all jobs have ended", deadline=600)
    report = cluster.report()
    say(f"{poison} on {storage}", ends=ends)
    failed = report.those(lambda job: job["state"] == "failed")
    assert failed == ["poison"]
    bad = report.jobs.pop("poison")
    assert (bad["error"], bad["effects"]) == ("JobCrashed", 0)
    report.require_each_once(innocents)
