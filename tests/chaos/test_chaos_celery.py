"""Whatever has to do with workers of Celery is killed, again and again."""

import random
import threading
from collections import Counter

import brokers
import pytest
from load import Load

#: How many things are struck in a round.
STRIKES = 2


def kill_server(cluster):
    random.choice(cluster.servers).kill()


def kill_worker(cluster):
    random.choice(cluster.workers).kill()


def kill_child(cluster):
    cluster.kill_child()


def strike_storage(cluster):
    storage = cluster.storage
    if hasattr(storage, "cut_connections"):
        storage.cut_connections()
    else:
        storage.server.kill()


def kill_broker(cluster):
    cluster.broker.stop()


#: What may be struck; a child first, for it takes a worker to have one.
KINDS = {
    "children": kill_child,
    "servers": kill_server,
    "workers": kill_worker,
    "storages": strike_storage,
    "brokers": kill_broker,
}


def mend(cluster):
    """Start all that was killed, in any order.

    But the storage first: a process that is started without it ends by itself.
    """
    server = getattr(cluster.storage, "server", None)
    if server is not None and server.has_ended():
        server.kill()
        cluster.storage.start_server()
    steps = [cluster.restart_ended]
    if cluster.broker.has_ended():
        steps.append(cluster.broker.start)
    random.shuffle(steps)
    for step in steps:
        step()


def kill_at_random(cluster, rounds):
    """Kill some of each kind, and start them again; count the strikes."""
    counts = Counter()
    pause = threading.Event()
    bag = []
    for _ in range(rounds):
        cluster.watch()
        if random.random() < 0.8:
            cluster.wait_until_ready()
        pause.wait(random.uniform(0, 1))
        if len(bag) < STRIKES:
            bag += random.sample(list(KINDS), len(KINDS))
        kinds, bag = set(bag[:STRIKES]), bag[STRIKES:]
        for kind, strike in KINDS.items():
            if kind in kinds:
                strike(cluster)
                counts[f"{kind} struck"] += 1
                pause.wait(random.uniform(0, 0.3))
        # sometimes longer than anybody waits
        pause.wait(random.uniform(0, 3) if random.random() < 0.5 else 0)
        mend(cluster)
    return counts


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("storage", "broker"),
    [
        ("ZEO", brokers.PrivateRedis),
        ("PostgreSQL", brokers.PrivateRabbitMQ),
    ],
)
def test_each_job_takes_effect_once_although_anything_is_killed(
    storage, broker, make_cluster, rounds, say
):
    cluster = make_cluster(storage, broker)
    servers = cluster.servers
    with Load(servers, pause=0.2, is_enough=cluster.has_enough) as load:
        strikes = kill_at_random(cluster, rounds)
        cluster.wait_until_ready()
    cluster.drain(deadline=120)
    report = cluster.report(load.cancels)
    say(
        f"Kills with {broker.__name__} and {storage}",
        rounds=rounds,
        **report.figures(),
        **strikes,
        takeovers=cluster.taken_over(),
        refused=load.refused,
        **{"workers ended by themselves": cluster.deaths},
    )
    report.require_each_once(load.answered)
    assert load.answered
    # nothing is left in them that would keep them from ending
    assert [worker.end() for worker in cluster.workers] == [0, 0]
