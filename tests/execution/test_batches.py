"""Batches: several runs in one transaction, each as if it were alone."""

import threading

import pytest
import shop
import transaction
import undoing
from persistent.mapping import PersistentMapping
from pyramid.request import Request
from pyramid.threadlocal import get_current_request
from storages import on_lasting_storages
from transaction.interfaces import TransientError
from ZODB.Connection import Connection
from ZODB.POSException import ConflictError

from pyramid_zodb_async import JobError, JobState, current_job, job
from pyramid_zodb_async.database.application import (
    connections_of,
    databases_of,
    share_connections,
)
from pyramid_zodb_async.events import (
    JobFailed,
    JobRetried,
    JobStarted,
    JobSucceeded,
)
from pyramid_zodb_async.execution import batches, rules
from pyramid_zodb_async.scheduler.process.batch_run import BatchRun
from pyramid_zodb_async.scheduler.zodb import ZODBScheduler
from pyramid_zodb_async.testing import wait_for

pytestmark = pytest.mark.kept_in("zodb")

#: What the functions have seen, which no transaction takes back.
seen = []

#: Set when a batch takes long.
late = threading.Event()


def tm():
    return get_current_request().tm


@job(batched=True)
def leave(word):
    """Leave an effect, and give the number of the words."""
    seen.append(word)
    root = shop.root()
    done = root.setdefault("done", PersistentMapping())
    done[word] = done.get(word, 0) + 1
    return len(done)


@job(batched=True)
def stumble(word):
    """Leave an effect, and fail."""
    leave(word)
    raise JobError(word)


@job(batched=True)
def stumble_once(word):
    """Leave an effect, and meet a conflict the first time."""
    leave(word)
    if seen.count(word) == 1:
        raise ConflictError


@job(batched=True, attempts=2, retry_on=ValueError, backoff=0)
def fail_at_first(word):
    """Leave an effect, and fail at the first attempt."""
    leave(word)
    if current_job().attempt == 1:
        raise ValueError(word)


@job(batched=True)
def commit_midway(word):
    """Leave an effect, commit it, and leave another one."""
    leave(word)
    tm().commit()
    tm().begin()
    leave(f"{word}, after its commit")


@job(batched=True)
def commit_and_fail(word):
    """Leave an effect, commit it, and fail with another one."""
    leave(word)
    tm().commit()
    tm().begin()
    leave(f"{word}, after its commit")
    raise JobError(word)


@job(batched=True)
def abort_midway(word):
    """Leave an effect, take it back, and leave another one."""
    leave(f"{word}, before its abort")
    tm().abort()
    tm().begin()
    leave(word)


@job(batched=True)
def doom(word):
    """Leave an effect that must not be committed."""
    leave(word)
    tm().doom()


@job(batched=True)
def give_what_cannot_be_kept(word):
    """Leave an effect, and return a lock."""
    leave(word)
    return threading.Lock()


@job(batched=True)
def leave_what_cannot_be_stored(word):
    """Leave an effect, and what fails in the commit."""
    leave(word)
    shop.root()["lock"] = threading.Lock()


@job(batched=True)
def fail_in_the_commit_and_after(word):
    """Leave an effect, and what fails in the commit and in the abort."""
    leave_what_cannot_be_stored(word)
    tm().get().addAfterAbortHook(fail_after_the_abort)


def fail_after_the_abort():
    raise ValueError("a hook fails")


@job(batched=True)
def abort_in_the_commit(word):
    """Leave an effect, and have a hook abort the commit."""
    leave(word)
    tm().get().addBeforeCommitHook(tm().abort)


@job(batched=True)
def linger_in_the_commit(word):
    """Leave an effect, and have the commit be late."""
    leave(word)
    tm().get().addBeforeCommitHook(late.wait, (shop.PATIENCE,))


@job(batched=True, time_limit=0.05)
def take_too_long(word):
    """Leave an effect, and take longer than it may."""
    leave(word)
    while True:
        threading.Event().wait(0.01)
        current_job().check()


@job(batched=True)
def leave_at(gate, word):
    """Leave an effect, and wait until the test opens the gate."""
    leave(word)
    shop.wait_at(gate)


@job(batched=True)
def wait_at(gate):
    """Wait until the test opens the gate."""
    seen.append(gate)
    shop.wait_at(gate)


@job(batched=True)
def report(word):
    """Tell of progress, and what this request knows."""
    request = get_current_request()
    current_job().progress(1, 1, word)
    leave(word)
    return request.path, request.tm is tm(), current_job().sid


def plain(word):
    """Leave an effect, in a transaction of its own."""
    leave(word)


FUNCTIONS = dict(globals())


def start(request):
    """Schedule several jobs, in the order of the parameters."""
    sids = []
    for name, word in request.params.items():
        if name == "gate":
            sids.append(request.schedule(shop.wait_at, word))
        elif name == "singly":
            schedule = request.schedule.with_options(batched=False)
            sids.append(schedule(leave, word))
        elif name == "leave_at":
            sids.append(request.schedule(leave_at, word, word))
        else:
            sids.append(request.schedule(FUNCTIONS[name], word))
    return sids


class Site:
    """An application whose one worker is busy until the jobs wait."""

    def __init__(self, make_app, manager, told, root=None, **settings):
        def configure(config):
            config.add_route("start", "/start")
            config.add_view(start, route_name="start", renderer="json")
            for kind in told:
                config.add_subscriber(told[kind].append, kind)

        self.app = make_app(
            configure=configure,
            root=root,
            **manager,
            **{"zodb_async.workers": "1", **settings},
        )
        self.db = databases_of(self.app.app.registry)[""]

    def begin_with(self, flaky, finishes, *jobs):
        """Have their commits raise, when the first one is over."""
        flaky.error, flaky.finishes = OSError("the answer was lost"), finishes
        shop.gates["first"] = gate = shop.Gate()
        shop.gates["then"] = then = shop.Gate()
        self.app.post("/start", [("gate", "first")])
        gate.wait_for_job()
        (last,) = self.app.post("/start", [("gate", "then")]).json
        gate.open()
        then.wait_for_job()
        sids = self.app.post("/start", list(jobs)).json
        flaky.times = 1
        then.open()
        self.end(last)
        return sids

    def begin(self, *jobs):
        """Have jobs wait that the worker begins with together."""
        shop.gates["first"] = gate = shop.Gate()
        (first,) = self.app.post("/start", [("gate", "first")]).json
        gate.wait_for_job()
        sids = self.app.post("/start", list(jobs)).json
        gate.open()
        self.end(first)
        return sids

    def end(self, sid):
        """Give a job when it has ended."""
        return wait_for(self.app, sid)

    def run(self, *jobs):
        """Have jobs run together, and give how each has ended."""
        return [self.end(sid) for sid in self.begin(*jobs)]

    def effects(self):
        """Give how often each word was left."""
        manager = transaction.TransactionManager()
        connection = self.db.open(manager)
        effects = dict(connection.root().get("done", {}))
        manager.abort()
        connection.close()
        return effects

    def notes(self, *sids):
        """Give the transactions that tell of jobs."""
        return {
            note
            for note, _ in undoing.log_of(self.db)
            if any(f"job {sid}, " in note for sid in sids)
        }


@pytest.fixture
def told():
    """The events of jobs, by their class."""
    kinds = (JobStarted, JobSucceeded, JobFailed, JobRetried)
    return {kind: [] for kind in kinds}


@pytest.fixture(autouse=True)
def _machine_is_fast(monkeypatch):
    """A slow machine would have a batch be committed early."""
    monkeypatch.setattr(batches, "LONGEST", 60)


@pytest.fixture
def make_site(make_app, manager, told):
    seen.clear()
    return lambda **settings: Site(make_app, manager, told, **settings)


@pytest.fixture
def site(make_site):
    return make_site()


def words(number):
    return [("leave", str(n)) for n in range(number)]


def states(views):
    return [str(view.state) for view in views]


def once(number):
    return {str(n): 1 for n in range(number)}


# what is one commit


@on_lasting_storages
def test_jobs_that_wait_are_run_by_one_commit(site):
    views = site.run(*words(20))

    assert states(views) == ["succeeded"] * 20
    assert site.effects() == once(20)
    assert [view.result for view in views] == list(range(1, 21))
    (note,) = site.notes(*(view.sid for view in views))
    assert all(f"job {view.sid}, attempt 1: " in note for view in views)


def test_no_more_than_fifty_are_one_commit(site):
    views = site.run(*words(120))

    assert states(views) == ["succeeded"] * 120
    assert len(site.notes(*(view.sid for view in views))) == 3


def test_functions_that_did_not_declare_it_are_not(site):
    views = site.run(*[("plain", str(n)) for n in range(5)])

    assert states(views) == ["succeeded"] * 5
    assert len(site.notes(*(view.sid for view in views))) == 5


def test_a_job_that_did_not_declare_it_comes_between(site):
    jobs = [*words(3), ("plain", "3"), ("leave", "4"), ("leave", "5")]
    views = site.run(*jobs)

    assert seen == list("012345")
    assert len(site.notes(*(view.sid for view in views))) == 3


def test_a_call_may_say_otherwise(site):
    views = site.run(*[("singly", str(n)) for n in range(3)])

    assert states(views) == ["succeeded"] * 3
    assert len(site.notes(*(view.sid for view in views))) == 3


def test_a_long_batch_is_committed_early(site, monkeypatch):
    monkeypatch.setattr(batches, "LONGEST", 0)
    views = site.run(*words(4))

    assert states(views) == ["succeeded"] * 4
    assert len(site.notes(*(view.sid for view in views))) == 4
    assert seen == list("0123")


def test_each_has_a_request_of_its_own(site):
    views = site.run(("report", "one"), ("report", "two"))

    assert [view.result for view in views] == [
        (f"/jobs/{view.sid}", True, view.sid) for view in views
    ]


def test_each_has_its_events_its_history_and_its_progress(site, told):
    views = site.run(("report", "one"), ("report", "two"), ("report", "3"))
    sids = [view.sid for view in views]

    shop.wait_until(lambda: len(told[JobSucceeded]) == 4)
    for kind in (JobStarted, JobSucceeded):
        assert [event.job.sid for event in told[kind]][1:] == sids
    assert [view.progress.message for view in views] == ["one", "two", "3"]
    assert [view.attempt for view in views] == [1, 1, 1]
    times = [time for view in views for time in times_of(view)]
    assert times == sorted(times)


def times_of(view):
    return view.started_at, view.finished_at


# what sends them to run alone


@pytest.mark.parametrize("place", range(4))
@on_lasting_storages
def test_one_that_fails_does_not_harm_the_others(site, place):
    jobs = words(4)
    jobs[place] = ("stumble", "bad")
    views = site.run(*jobs)

    expected = ["succeeded"] * 4
    expected[place] = "failed"
    assert states(views) == expected
    assert site.effects() == {str(n): 1 for n in range(4) if n != place}


def test_its_attempts_count_once(site, told):
    views = site.run(*words(2), ("fail_at_first", "third"), ("leave", "3"))

    assert states(views) == ["succeeded"] * 4
    assert views[2].attempt == 2
    assert len(told[JobRetried]) == 1
    assert site.effects() == once(2) | {"third": 1, "3": 1}


@pytest.mark.parametrize("place", range(3))
def test_one_that_meets_a_conflict_is_repeated(site, place):
    jobs = words(3)
    jobs[place] = ("stumble_once", str(place))
    views = site.run(*jobs)

    assert states(views) == ["succeeded"] * 3
    assert site.effects() == once(3)


@pytest.mark.parametrize(
    "function",
    [
        "doom",
        "give_what_cannot_be_kept",
        "leave_what_cannot_be_stored",
        "fail_in_the_commit_and_after",
        "abort_in_the_commit",
        "take_too_long",
    ],
)
@pytest.mark.parametrize("place", range(3))
def test_one_that_cannot_commit_fails_by_itself(site, function, place):
    jobs = words(3)
    jobs[place] = (function, "bad")
    views = site.run(*jobs)

    expected = ["succeeded"] * 3
    expected[place] = "failed"
    assert states(views) == expected
    assert site.effects() == {str(n): 1 for n in range(3) if n != place}


@pytest.mark.parametrize("place", range(3))
@on_lasting_storages
def test_one_that_commits_by_itself_takes_those_before_it_along(site, place):
    jobs = words(3)
    jobs[place] = ("commit_midway", "mid")
    views = site.run(*jobs)

    assert states(views) == ["succeeded"] * 3
    expected = {str(n): 1 for n in range(3) if n != place}
    assert site.effects() == expected | {
        "mid": 1,
        "mid, after its commit": 1,
    }
    # nothing was run twice
    assert sorted(seen) == sorted(site.effects())


@pytest.mark.parametrize("place", range(3))
def test_one_that_commits_and_fails_keeps_what_it_has_committed(site, place):
    jobs = words(3)
    jobs[place] = ("commit_and_fail", "mid")
    views = site.run(*jobs)

    expected = ["succeeded"] * 3
    expected[place] = "failed"
    assert states(views) == expected
    assert site.effects() == {str(n): 1 for n in range(3) if n != place} | {
        "mid": 1
    }
    assert seen.count("mid") == 1


@pytest.mark.parametrize("place", range(3))
def test_one_that_aborts_by_itself_takes_back_its_own_alone(site, place):
    jobs = words(3)
    jobs[place] = ("abort_midway", str(place))
    views = site.run(*jobs)

    assert states(views) == ["succeeded"] * 3
    assert site.effects() == once(3)


def test_one_that_is_cancelled_meanwhile_leaves_nothing(site):
    shop.gates["second"] = gate = shop.Gate()
    sids = site.begin(*words(2), ("leave_at", "second"), ("leave", "3"))
    gate.wait_for_job()
    site.app.delete(f"/jobs/{sids[0]}", status=202)
    gate.open()
    views = [site.end(sid) for sid in sids]

    assert states(views) == ["cancelled", *["succeeded"] * 3]
    assert site.effects() == {"1": 1, "second": 1, "3": 1}


def test_one_that_is_cancelled_before_its_turn_does_not_begin(site):
    shop.gates["second"] = gate = shop.Gate()
    sids = site.begin(("leave_at", "second"), *words(3))
    gate.wait_for_job()
    site.app.delete(f"/jobs/{sids[2]}", status=202)
    gate.open()
    views = [site.end(sid) for sid in sids]

    assert states(views) == ["succeeded"] * 2 + ["cancelled", "succeeded"]
    assert site.effects() == {"second": 1, "0": 1, "2": 1}


def test_one_that_hangs_holds_up_no_other(make_site, monkeypatch):
    monkeypatch.setattr(batches, "PATIENCE", 1)
    site = make_site(**{"zodb_async.workers": "2"})
    shop.gates["other"] = other = shop.Gate()
    site.app.post("/start", [("gate", "other")])
    other.wait_for_job()
    shop.gates["second"] = gate = shop.Gate()
    sids = site.begin(*words(2), ("leave_at", "second"), ("leave", "3"))
    gate.wait_for_job()
    other.open()
    views = [site.end(sids[number]) for number in (0, 1, 3)]
    assert states(views) == ["succeeded"] * 3
    gate.open()

    assert site.end(sids[2]).state is JobState.SUCCEEDED
    assert site.effects() == once(2) | {"3": 1, "second": 1}


def test_the_first_that_hangs_goes_on_without_the_others(
    make_site, monkeypatch
):
    monkeypatch.setattr(batches, "PATIENCE", 1)
    site = make_site(**{"zodb_async.workers": "2"})
    shop.gates["other"] = other = shop.Gate()
    site.app.post("/start", [("gate", "other")])
    other.wait_for_job()
    shop.gates["second"] = gate = shop.Gate()
    sids = site.begin(("wait_at", "second"), *words(3))
    gate.wait_for_job()
    other.open()
    assert states(map(site.end, sids[1:])) == ["succeeded"] * 3
    gate.open()

    assert site.end(sids[0]).state is JobState.SUCCEEDED
    assert seen == ["second", "0", "1", "2"]
    assert site.effects() == once(3)


# what else joins the transaction


class Participant:
    """A data manager that is no database, such as a session of SQL."""

    def __init__(self, manager):
        self.transaction_manager = manager
        manager.get().join(self)

    def sortKey(self):
        return "participant"

    def nothing(self, _transaction):
        """Do nothing: it is there."""

    abort = tpc_begin = commit = tpc_vote = tpc_finish = tpc_abort = nothing


@job(batched=True)
def join(word):
    """Leave an effect, and have something else take part."""
    others = [
        participant
        for participant in tm().get()._resources
        if isinstance(participant, Participant)
    ]
    assert others == []
    leave(word)
    Participant(tm())


FUNCTIONS["join"] = join


def test_no_two_sessions_of_something_else_are_in_one_transaction(site):
    views = site.run(*[("join", str(n)) for n in range(4)])

    assert states(views) == ["succeeded"] * 4
    assert len(site.notes(*(view.sid for view in views))) == 4


# undo


@on_lasting_storages
def test_a_batch_is_undone_together_and_stays_so(make_site):
    site = make_site(**{"zodb_async.lease": "1"})
    views = site.run(*words(5))
    undoing.undo(site.db, f"job {views[2].sid}, ")
    undone = [site.end(view.sid) for view in views]

    assert states(undone) == ["cancelled"] * 5
    assert {view.failure.type for view in undone} == {"JobUndone"}
    assert site.effects() == {}


# the storage


def test_when_it_cannot_begin_each_job_is_tried_by_itself(site, monkeypatch):
    times = []

    def fail(*_):
        times.append(1)
        raise TransientError

    monkeypatch.setattr(batches, "surround_batch", fail)
    views = site.run(*words(3))

    assert states(views) == ["succeeded"] * 3
    assert len(times) == 1
    assert site.effects() == once(3)


class Flaky:
    """Has the commits of the site raise when told to."""

    def __init__(self, monkeypatch):
        self.error = None
        self.times = 0
        self.finishes = False
        finish = Connection.tpc_finish

        def tpc_finish(connection, current):
            is_meant = self.is_meant(current)
            if not is_meant or self.finishes:
                finish(connection, current)
            if is_meant:
                self.times -= 1
                raise self.error

        monkeypatch.setattr(Connection, "tpc_finish", tpc_finish)

    def is_meant(self, current):
        note = current.description
        is_run = note.startswith("job ") and "wait_at" not in note
        return is_run and self.times > 0


@pytest.fixture
def flaky(monkeypatch):
    return Flaky(monkeypatch)


@pytest.mark.parametrize("finishes", [True, False])
def test_when_its_commit_is_in_doubt_each_job_finds_out(
    site, flaky, finishes, told
):
    sids = site.begin_with(flaky, finishes, *words(3))
    views = [site.end(sid) for sid in sids]

    assert states(views) == ["succeeded"] * 3
    assert site.effects() == once(3)
    # with the two that the worker was busy with
    shop.wait_until(lambda: len(told[JobSucceeded]) == 5)
    assert len(seen) == (3 if finishes else 6)


@pytest.mark.parametrize("finishes", [True, False])
def test_when_a_commit_midway_is_in_doubt_those_before_it_find_out(
    site, flaky, finishes
):
    jobs = [*words(2), ("commit_midway", "mid"), ("leave", "3")]
    sids = site.begin_with(flaky, finishes, *jobs)
    views = [site.end(sid) for sid in sids]

    # it may have committed, and nobody knows
    assert states(views) == [
        "succeeded",
        "succeeded",
        "failed",
        "succeeded",
    ]
    assert views[2].failure.type == "CommitInDoubt"
    effects = site.effects()
    assert effects.pop("mid", 1) == 1
    assert effects == once(2) | {"3": 1}


@pytest.mark.parametrize("number", [1, 4])
def test_those_that_cannot_be_begun_now_are_begun_later(
    site, monkeypatch, number
):
    claim = ZODBScheduler.claim
    claimed = []

    def refuse(scheduler, sid):
        claimed.append(sid)
        if len(claimed) in range(2, 2 + number):  # the first is busy
            raise OSError("the storage is away")
        return claim(scheduler, sid)

    monkeypatch.setattr(rules, "GREATEST_DELAY", 0.01)
    monkeypatch.setattr(ZODBScheduler, "claim", refuse)
    views = site.run(*words(4))

    assert states(views) == ["succeeded"] * 4
    assert site.effects() == once(4)


def test_one_that_is_cancelled_as_another_begins_is_not_begun(
    make_app, manager
):
    seen.clear()
    sids = []

    class Canceller(list):
        def append(self, event):
            if sids and event.job.sid == sids[0]:
                site.app.delete(f"/jobs/{sids[1]}", status=202)

    site = Site(make_app, manager, {JobStarted: Canceller()})
    shop.gates["first"] = gate = shop.Gate()
    site.app.post("/start", [("gate", "first")])
    gate.wait_for_job()
    sids += site.app.post("/start", words(3)).json
    gate.open()

    assert states(map(site.end, sids)) == [
        "succeeded",
        "cancelled",
        "succeeded",
    ]
    assert site.effects() == {"0": 1, "2": 1}


def test_one_that_waits_in_the_commit_is_waited_for(site, monkeypatch):
    break_up = batches.Batches._break_up
    late.clear()

    def note(self, batch):
        break_up(self, batch)
        late.set()

    monkeypatch.setattr(batches, "PATIENCE", 1)
    monkeypatch.setattr(batches.Batches, "_break_up", note)
    views = site.run(*words(2), ("linger_in_the_commit", "2"), ("leave", "3"))

    assert late.is_set()
    assert states(views) == ["succeeded"] * 4
    assert seen == list("0123")


def test_the_first_one_that_cannot_commit_fails_at_once(site, monkeypatch):
    monkeypatch.setattr(batches, "LONGEST", 0)
    views = site.run(("leave_what_cannot_be_stored", "bad"), *words(2))

    assert states(views) == ["failed", "succeeded", "succeeded"]
    assert seen == ["bad", "0", "1"]


@pytest.mark.kept_in("memory")
def test_in_memory_each_has_a_commit_of_its_own(site):
    views = site.run(*words(4))

    assert states(views) == ["succeeded"] * 4
    assert site.effects() == once(4)
    sids = [view.sid for view in views]
    assert len(site.notes(*sids)) == 4


def test_when_a_run_cannot_break_away_it_waits(make_site, monkeypatch, caplog):
    monkeypatch.setattr(batches, "PATIENCE", 1)
    site = make_site()

    def refuse(_):
        raise OSError("the storage is away")

    monkeypatch.setattr(BatchRun, "break_away", refuse)
    shop.gates["second"] = gate = shop.Gate()
    sids = site.begin(*words(2), ("leave_at", "second"))
    gate.wait_for_job()
    shop.wait_until(lambda: "waits for another one" in caplog.text)
    gate.open()
    views = [site.end(sid) for sid in sids]

    assert states(views) == ["succeeded"] * 3
    assert site.effects() == once(2) | {"second": 1}


def test_a_root_that_cannot_be_made_does_not_lose_a_job(
    make_app, manager, told
):
    seen.clear()
    failures = []

    def root_factory(request):
        if request.path.startswith("/jobs/") and len(failures) < 3:
            failures.append(request.path)
            if len(failures) == 3:
                raise ConflictError
        return {}

    site = Site(make_app, manager, told, root=root_factory)
    views = site.run(*words(4))

    assert states(views) == ["succeeded"] * 4
    assert site.effects() == once(4)


def test_a_retry_that_is_due_later_is_not_put_before_the_others(site):
    views = site.run(*words(2), ("fail_at_first", "2"), *words(1))

    assert states(views) == ["succeeded"] * 4


def test_an_application_without_a_database_of_its_own_has_no_connections(
    make_app,
):
    request = Request.blank("/")
    request.registry = make_app(
        includes=("pyramid_tm", "pyramid_zodb_async"),
        zodb_async__scheduler="memory",
    ).app.registry
    assert connections_of(request) == []
    share_connections(request, request)
