"""Servers are killed at any instant, again and again."""

import random
import threading

import pytest
from load import Load


def kill_at_random(cluster, rounds):
    """Kill servers, mostly one of them, and start them again."""
    kills = 0
    pause = threading.Event()
    for _ in range(rounds):
        ready = random.random() < 0.8
        if ready:
            cluster.wait_until_ready()
        pause.wait(random.uniform(0, 1))
        all_of_them = random.random() < 0.2
        victims = (
            cluster.servers
            if all_of_them
            else [random.choice(cluster.servers)]
        )
        for victim in victims:
            victim.kill()
            kills += 1
        for victim in victims:
            victim.start()
    return kills


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "storage", ["FileStorage", "ZEO", "plain ZEO", "PostgreSQL"]
)
def test_each_job_takes_effect_once_although_servers_are_killed(
    storage, make_cluster, rounds, say
):
    cluster = make_cluster(storage)
    with Load(cluster.servers) as load:
        kills = kill_at_random(cluster, rounds)
        cluster.wait_until_ready()
    cluster.drain()
    report = cluster.report(load.cancels)
    say(
        f"Kills on {storage}",
        rounds=rounds,
        **report.figures(),
        kills=kills,
        takeovers=cluster.taken_over(),
        refused=load.refused,
    )
    report.require_each_once(load.answered)
    assert load.answered
