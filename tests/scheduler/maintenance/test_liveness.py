"""Other processes are watched for signs of life."""

from pyramid_zodb_async.scheduler.maintenance.liveness import LivenessMonitor


def watch(lease=30):
    """Give a watch, and a function that looks after some seconds."""
    made = LivenessMonitor(lease)
    now = [0.0]

    def look(beats, after=10):
        now[0] += after
        made.observe(beats, now[0])

    return made, look


def test_a_runner_is_dead_after_its_lease_without_a_beat():
    made, look = watch()
    look({"other": 1})
    for _ in range(2):
        look({"other": 1})
        assert not made.is_dead("other")
    look({"other": 1})

    assert made.is_dead("other")
    assert not made.is_dead("unknown")


def test_a_beat_begins_the_lease_anew():
    made, look = watch()
    for beat in (1, 1, 1, 2, 2, 2):
        look({"other": beat})
        assert not made.is_dead("other")
    look({"other": 2})

    assert made.is_dead("other")


def test_a_runner_without_due_jobs_is_not_watched():
    made, look = watch()
    look({"other": 1})
    look({"other": 1})
    look({})
    for _ in range(3):
        look({"other": 1})
        assert not made.is_dead("other")


def test_time_in_which_a_look_failed_does_not_count():
    made, look = watch()
    look({"other": 1})
    for _ in range(10):
        made.observation_failed()
        look({"other": 1}, after=100)

    assert not made.is_dead("other")


def test_a_watcher_that_was_stopped_itself_condemns_nobody():
    made, look = watch()
    look({"other": 1})
    look({"other": 1}, after=10_000)

    assert not made.is_dead("other")


def test_it_takes_three_looks_however_far_apart():
    made, look = watch()
    look({"other": 1})
    look({"other": 1}, after=1000)
    look({"other": 1}, after=1000)
    assert not made.is_dead("other")
    look({"other": 1}, after=1000)

    assert made.is_dead("other")


def test_each_runner_is_judged_by_the_lease_that_it_has_told():
    made, _ = watch(lease=3)
    leases = {"patient": 30.0, "hasty": 1.0}
    beats = {"patient": 1, "hasty": 1, "silent about it": 1}
    dead = {}
    for now in range(40):
        made.observe(beats, now, leases)
        for runner in beats:
            if made.is_dead(runner):
                dead.setdefault(runner, now)

    # it takes three looks after the first at least
    assert dead == {"hasty": 3, "silent about it": 3, "patient": 30}


def test_for_some_jobs_a_runner_must_be_silent_for_several_leases():
    made, look = watch()
    look({"other": 1})
    for _ in range(11):
        look({"other": 1})
        assert not made.is_dead("other", 4)
    assert made.is_dead("other")
    look({"other": 1})

    assert made.is_dead("other", 4)
