"""Servers hang past their lease under load, and much else goes wrong."""

import contextlib
import itertools
import random
import signal
import threading

import pytest
from load import Load, schedule
from processes import UNREACHABLE, wait_until

#: How often a commit raises that was made.
DOUBT = 0.01

#: What jobs of other kinds there are now and then, and how many rounds are
#: between two of them.
SEASONING = ("end_process", "keep_gil", "end_process_late", "count_for_long")
PAUSE = 5

#: How many attempts a job has that ends its process; and all others, whose
#: processes are killed as well.
FEW, MANY = "4", "30"


def season(cluster, number):
    """Schedule a job that is hard on its process, and give its kind."""
    kind = SEASONING[number % len(SEASONING)]
    attempts = FEW if kind.startswith("end_process") else MANY
    with contextlib.suppress(*UNREACHABLE):
        schedule(
            random.choice(cluster.servers),
            [(kind, f"{kind} {number}")],
            attempts=attempts,
        )


def has_all_ready(cluster):
    """Start what has ended, and tell whether all servers are ready."""
    cluster.restart_ended()
    with contextlib.suppress(AssertionError):  # one ended just now
        return all(server.is_ready() for server in cluster.servers)
    return False


def hang_at_random(cluster, rounds):
    """Stop servers for a while; sometimes kill another one in that time."""
    pause = threading.Event()
    kills, numbers = 0, itertools.count()
    for number in range(rounds):
        wait_until(lambda: has_all_ready(cluster), "all are ready", 60)
        if number % PAUSE == 0:
            season(cluster, next(numbers))
        pause.wait(random.uniform(0, 1))
        stopped, *others = random.sample(cluster.servers, len(cluster.servers))
        with contextlib.suppress(ProcessLookupError):
            stopped.signal(signal.SIGSTOP)
        pause.wait(random.uniform(0, 3))
        if others and random.random() < 0.3:
            others[0].kill()
            kills += 1
            pause.wait(random.uniform(0, 2))
        with contextlib.suppress(ProcessLookupError):
            stopped.signal(signal.SIGCONT)
    return kills


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "storage", ["FileStorage", "ZEO", "plain ZEO", "PostgreSQL with history"]
)
def test_each_job_takes_effect_once_although_servers_hang(
    storage, make_cluster, rounds, say, tmp_path, monkeypatch
):
    """And commits are in doubt, jobs are undone, and some end processes."""
    monkeypatch.setenv("CHAOS_SECONDS", "2")
    cluster = make_cluster(
        storage, chaos__doubt=str(DOUBT), zodb_async__attempts=MANY
    )
    if len(cluster.servers) > 1:
        cluster.start_beside(tmp_path / "patient.log", zodb_async__lease="3")
    with Load(cluster.servers, pause=0.1, undoes=True) as load:
        kills = hang_at_random(cluster, rounds)
        wait_until(lambda: has_all_ready(cluster), "all are ready", 60)

    def is_drained():
        cluster.restart_ended()
        return cluster.is_drained()

    wait_until(is_drained, "all jobs have ended", 240)
    report = cluster.report(load.cancels, load.undos)
    poison = [name for name in report.jobs if name.startswith("end_")]
    for name in poison:
        job = report.jobs.pop(name)
        assert (job["error"], job["effects"]) == ("JobCrashed", 0), name
    say(
        f"Hangs on {storage}",
        rounds=rounds,
        **report.figures(),
        poison=len(poison),
        kills=kills,
        takeovers=cluster.taken_over(),
        refused=load.refused,
    )
    report.require_each_once(load.answered)
    assert load.answered
