"""The storage goes away under load, and comes back."""

import random
import threading

import pytest
from load import Load


def go_away(storage, rounds):
    """Take the storage away for a random time, and give it back."""
    pause = threading.Event()
    for _ in range(rounds):
        pause.wait(random.uniform(0.2, 1.5))
        storage.server.kill()
        # sometimes longer than clients wait for it
        pause.wait(random.uniform(0, 3) if random.random() < 0.5 else 0)
        storage.server.start()
    return rounds


def cut_connections(storage, rounds):
    """End the connections of all servers at random instants.

    Not so often that it ends the session of one job three times while other
    transactions work: such a job fails, as one does whose session is ended
    for what it does itself.
    """
    pause = threading.Event()
    cut = 0
    for _ in range(rounds):
        for _ in range(4):
            pause.wait(random.uniform(0, 1))
            cut += storage.cut_connections()
    return cut


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("storage", "strike"),
    [
        ("ZEO", go_away),
        ("plain ZEO", go_away),
        ("PostgreSQL", cut_connections),
    ],
)
def test_each_job_takes_effect_once_although_the_storage_goes_away(
    storage, strike, make_cluster, rounds, say
):
    cluster = make_cluster(storage)
    with Load(cluster.servers) as load:
        strikes = strike(cluster.storage, rounds)
        cluster.wait_until_ready()
    cluster.drain()
    report = cluster.report(load.cancels)
    say(
        f"Outages of {storage}",
        rounds=rounds,
        **report.figures(),
        outages=strikes,
        takeovers=cluster.taken_over(),
        refused=load.refused,
    )
    report.require_each_once(load.answered)
    assert load.answered
