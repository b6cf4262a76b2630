"""A commit that raises after the vote may have succeeded nevertheless."""

from collections import Counter

import pytest
import shop
import undoing
from pyramid.threadlocal import get_current_request
from shop import scheduler_of, sid_of, wait_until
from transaction.interfaces import TransientError
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import CommitInDoubt, job
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.events import JobFailed, JobRetried, JobSucceeded
from pyramid_zodb_async.execution import rules
from pyramid_zodb_async.scheduler.in_memory import table
from pyramid_zodb_async.scheduler.in_memory.run import MemoryRun
from pyramid_zodb_async.scheduler.process.run import StoredRun
from pyramid_zodb_async.testing import (
    crash_next,
    drain,
    restart,
    run_next,
    wait_for,
)

pytestmark = pytest.mark.kept_in("memory", "zodb")

in_the_database = pytest.mark.kept_in("zodb")


class ConnectionLost(TransientError):
    """What a client of a storage raises when its server does not answer."""


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch):
    monkeypatch.setattr(rules, "GREATEST_DELAY", 0.01)


@pytest.fixture
def lose_answers(monkeypatch):
    """Let the storage raise this when it has, or has not, committed."""
    finish = FileStorage.tpc_finish
    to_raise = []

    def tpc_finish(self, transaction, f=None):
        if b", attempt " not in transaction.description or not to_raise:
            return finish(self, transaction, f)
        error, has_committed = to_raise.pop()
        if has_committed:
            finish(self, transaction, f)
        raise error

    monkeypatch.setattr(FileStorage, "tpc_finish", tpc_finish)
    return lambda error, *, has_committed=True: to_raise.append(
        (error, has_committed)
    )


@pytest.fixture
def heard():
    """List the events of runs that are told."""
    return []


@pytest.fixture
def listen(heard):
    """Configure an application so that it tells of events."""

    def configure(config):
        for kind in (JobSucceeded, JobFailed, JobRetried):
            config.add_subscriber(
                lambda event: heard.append(type(event)), kind
            )

    return configure


each_error = pytest.mark.parametrize(
    "error", [ConnectionLost(), OSError("reset by peer"), SystemExit(1)]
)


@each_error
def test_a_job_whose_commit_raises_when_it_is_done_is_not_repeated(
    run, lose_answers, error, listen, heard, kept_in
):
    lose_answers(error)
    view = run(shop.add, "word", configure=listen)

    assert shop.effects(run.app) == ["word"]
    if kept_in == "memory":
        assert view.failure.type == "CommitInDoubt"
        assert type(error).__name__ in view.failure.message
        assert view.failure.public
        assert heard == [JobFailed]
    else:
        assert view.result == 1
        assert heard == [JobSucceeded]
    assert view.attempt == 1


@each_error
def test_a_job_whose_commit_raises_and_is_not_done_has_no_effects_of_that_run(
    run, lose_answers, error, listen, heard, kept_in
):
    lose_answers(error, has_committed=False)
    view = run(shop.add, "word", configure=listen)

    is_repeated = kept_in == "zodb"
    assert shop.effects(run.app) == ["word"] * is_repeated
    assert heard == [JobSucceeded if is_repeated else JobFailed]
    assert view.attempt == 1


@pytest.mark.kept_in("memory")
def test_people_decide_whether_a_job_in_doubt_is_done_again(run, lose_answers):
    lose_answers(ConnectionLost(), has_committed=False)
    view = run(shop.add, "word")
    scheduler, sid = scheduler_of(run.app), view.sid

    assert view.failure.type == "CommitInDoubt"
    assert "look before you retry it" in view.failure.message
    assert shop.effects(run.app) == []
    assert shop.in_thread(lambda: scheduler.retry(sid))
    drain(run.app)
    assert wait_for(run.app, sid).result == 1
    assert shop.effects(run.app) == ["word"]


@pytest.mark.kept_in("memory")
def test_its_outcome_tells_of_the_doubt(run, lose_answers):
    lose_answers(ConnectionLost())
    sid = run(shop.add, "word").sid
    scheduler = scheduler_of(run.app)
    value, error = shop.in_thread(lambda: scheduler.get_result(sid))

    assert value is None
    assert isinstance(error, CommitInDoubt)


def test_the_log_tells_of_a_doubt_and_of_its_end(
    run, lose_answers, caplog, kept_in
):
    caplog.set_level("INFO", "pyramid_zodb_async")
    lose_answers(ConnectionLost("to the server"))
    run(shop.add, "word")

    doubt, end = (
        record for record in caplog.records if ".execution." in record.name
    )
    assert doubt.action == "job_in_doubt"
    assert doubt.levelname == "WARNING"
    assert "ConnectionLost: to the server" in caplog.text
    if kept_in == "memory":
        assert (end.action, end.levelname) == ("job_failed", "ERROR")
    else:
        assert (end.action, end.levelname) == ("job_succeeded", "INFO")


@in_the_database
@pytest.mark.parametrize("has_committed", [False, True])
def test_a_doubt_is_kept_until_the_storage_is_back(
    run, lose_answers, monkeypatch, has_committed, listen, heard
):
    looks = []
    find_out = StoredRun.find_out

    def look(self):
        looks.append(self)
        if len(looks) < 3:
            raise ConnectionLost
        return find_out(self)

    monkeypatch.setattr(StoredRun, "find_out", look)
    lose_answers(ConnectionLost(), has_committed=has_committed)
    view = run(shop.add, "word", configure=listen)

    # the record may say that it has succeeded before this process knows
    wait_until(lambda: heard)
    assert len(looks) == 3
    assert wait_for(run.app, view.sid).result == 1
    assert shop.effects(run.app) == ["word"]
    assert heard == [JobSucceeded]


@pytest.fixture
def on_look(monkeypatch):
    """Do something before it is looked what became of a commit."""

    def on_look(do):
        for kind in (MemoryRun, StoredRun):
            find_out = kind.find_out

            def look(self, find_out=find_out):
                do(self)
                return find_out(self)

            monkeypatch.setattr(kind, "find_out", look)

    return on_look


def test_a_job_in_doubt_that_was_removed_meanwhile_is_forgotten(
    make_app, engine, lose_answers, on_look, listen, heard, kept_in
):
    app = make_app({"/start": shop.start}, configure=listen, **engine)
    scheduler = scheduler_of(app)
    on_look(lambda run: shop.in_thread(lambda: scheduler.remove(run.sid)))
    lose_answers(ConnectionLost())
    path = shop.begin(app, "add", "word")
    drain(app)

    app.get(path, status=404)
    assert shop.effects(app) == ["word"]
    # in the database the record is there, and tells that it has succeeded
    told = [JobSucceeded] if kept_in == "zodb" else []
    shop.wait_until(lambda: heard == told)


def test_a_job_in_doubt_cannot_be_cancelled(
    make_app, engine, lose_answers, on_look, monkeypatch, kept_in
):
    monkeypatch.setattr(table, "COMMIT_TIME", 0)
    app = make_app({"/start": shop.start}, **engine)
    scheduler = scheduler_of(app)
    cancelled = []
    on_look(
        lambda run: cancelled.append(
            shop.in_thread(lambda: scheduler.cancel(run.sid))
        )
    )
    lose_answers(ConnectionLost())
    path = shop.begin(app, "add", "word")
    drain(app)

    assert cancelled == [False]
    state = "failed" if kept_in == "memory" else "succeeded"
    assert app.get(path).json["state"] == state


@in_the_database
@pytest.mark.parametrize("has_committed", [False, True])
def test_a_job_in_doubt_that_was_undone_meanwhile_is_not_repeated(
    run, lose_answers, on_look, has_committed
):
    """While a client has lost its server, that may go on, and be asked."""
    undone = []

    def undo_if_done(doubtful):
        db = databases_of(run.app.app.registry)[""]
        if has_committed and not undone:
            undone.append(doubtful.sid)
            undoing.undo(db, f"job {doubtful.sid}, ")

    on_look(undo_if_done)
    lose_answers(ConnectionLost(), has_committed=has_committed)
    view = run(shop.add, "word", zodb_async__lease=1)

    assert undone == [view.sid] * has_committed
    assert view.state == ("cancelled" if has_committed else "succeeded")
    assert shop.effects(run.app) == ["word"] * (not has_committed)


@in_the_database
def test_a_doubt_that_cannot_be_recorded_is_looked_at_again(
    run, lose_answers, monkeypatch, outbox
):
    failing = [ConnectionLost()]
    fail = StoredRun.fail

    def fail_later(self, *args, **kw):
        if failing:
            raise failing.pop()
        return fail(self, *args, **kw)

    monkeypatch.setattr(StoredRun, "fail", fail_later)
    lose_answers(ConnectionLost(), has_committed=False)
    view = run(add_and_send, "word", outbox(FIRST))

    assert view.failure.type == "CommitInDoubt"
    assert shop.effects(run.app) == []
    assert outbox.sent == ["word"]


@in_the_database
def test_a_suspect_is_not_run_again_to_look_what_became_of_it(
    make_app, lose_answers, monkeypatch
):
    looks = []
    find_out = StoredRun.find_out

    def look(self):
        looks.append(self)
        if len(looks) < 2:
            raise ConnectionLost
        return find_out(self)

    app = make_app({"/start": shop.start}, zodb_async__engine="manual")
    path = shop.begin(app, "add", "word")
    crash_next(app, "start")
    run_next(app)
    restart(app)
    monkeypatch.setattr(StoredRun, "find_out", look)
    lose_answers(ConnectionLost())
    run_next(app)
    run_next(app, early=True)

    assert app.get(path).json["state"] == "succeeded"
    assert len(looks) == 2
    assert shop.effects(app) == ["word"]


# -- Others that take part ----------------------------------------------------


class Outbox:
    """A participant that sends when it finishes, and may raise then."""

    transaction_manager = None

    def __init__(self, key, sent, error=None):
        self._key, self._sent, self._error = key, sent, error
        self._words = []

    def send(self, word):
        get_current_request().tm.get().join(self)
        self._words.append(word)

    def sortKey(self):
        return self._key

    def tpc_begin(self, transaction):
        """Have nothing to do."""

    commit = tpc_vote = tpc_abort = abort = tpc_begin

    def tpc_finish(self, transaction):
        self._sent.extend(self._words)
        if self._error is not None:
            raise self._error


BOXES = {}


def add_and_send(word, key):
    """Add a word, and send it with the commit."""
    sent, error = BOXES[key]
    Outbox(key, sent, error).send(word)
    return shop.add(word)


@pytest.fixture
def outbox():
    """Make a box, which is named by its key for sorting; list what it sent."""

    def make(key, error=None):
        BOXES[key] = (make.sent, error)
        return key

    make.sent = []
    yield make
    BOXES.clear()


FIRST, LAST = "\0", "~"


@in_the_database
def test_the_record_does_not_tell_what_became_of_others(
    run, lose_answers, outbox
):
    lose_answers(ConnectionLost(), has_committed=False)
    view = run(add_and_send, "word", outbox(FIRST))

    assert view.failure.type == "CommitInDoubt"
    assert shop.effects(run.app) == []
    assert outbox.sent == ["word"]


@pytest.mark.parametrize("key", [FIRST, LAST])
def test_what_raises_when_it_has_sent_something_does_not_send_it_twice(
    run, outbox, key, kept_in
):
    view = run(add_and_send, "word", outbox(key, ConnectionLost()))

    assert outbox.sent == ["word"]
    if kept_in == "zodb" and key is LAST:
        assert view.result == 1
    else:
        assert view.failure.type == "CommitInDoubt"
    assert shop.effects(run.app) == ["word"] * (key is LAST)


# -- Commits of the package's own ---------------------------------------------


@job(attempts=2, retry_on=ValueError, backoff=0)
def fail_twice():
    raise ValueError


@in_the_database
@pytest.mark.parametrize("error", [ConnectionLost(), OSError("reset by peer")])
@pytest.mark.parametrize("note", [b" failed", b" will be tried again"])
def test_what_is_recorded_in_doubt_is_told_once(
    run, monkeypatch, listen, heard, note, error
):
    finish = FileStorage.tpc_finish
    lost = []

    def tpc_finish(self, transaction, f=None):
        done = finish(self, transaction, f)
        if transaction.description.endswith(note) and not lost:
            lost.append(note)
            raise error
        return done

    monkeypatch.setattr(FileStorage, "tpc_finish", tpc_finish)
    view = run(fail_twice, configure=listen)

    assert lost == [note]
    assert view.failure.type == "ValueError"
    assert view.attempt == 2
    # each by the thread that recorded it, and so in any order
    wait_until(lambda: {JobRetried, JobFailed} <= set(heard))
    assert Counter(heard) == {JobRetried: 1, JobFailed: 1}


@in_the_database
def test_a_job_that_is_given_back_in_doubt_is_free(make_app, monkeypatch):
    app = make_app({"/start": shop.start}, zodb_async__engine="manual")
    sid = sid_of(shop.begin(app, "nothing"))
    scheduler = scheduler_of(app)
    finish = FileStorage.tpc_finish
    given_back, handed_over = [], []

    def tpc_finish(self, transaction, f=None):
        done = finish(self, transaction, f)
        if transaction.description.endswith(b" is free") and not given_back:
            given_back.append(sid)
            raise ConnectionLost
        return done

    monkeypatch.setattr(FileStorage, "tpc_finish", tpc_finish)
    run = scheduler.claim(sid)
    # a message is sent for it, if the engine sends any
    monkeypatch.setattr(
        scheduler.process.dispatcher, "hand_over", handed_over.extend
    )
    run.give_back()

    assert given_back == [sid]
    assert [(job.sid, job.fence.runner) for job in handed_over] == [
        (sid, None)
    ]


# -- Commits of the function's own --------------------------------------------


def commit_twice():
    """Commit before the end."""
    shop.add("word")
    get_current_request().tm.commit()
    get_current_request().tm.begin()
    shop.add("another")


def test_a_commit_of_ones_own_in_doubt_is_not_repeated_either(
    run, lose_answers
):
    lose_answers(ConnectionLost())
    view = run(commit_twice)

    assert view.failure.type == "CommitInDoubt"
    assert shop.effects(run.app) == ["word"]


@job(attempts=3, retry_on=CommitInDoubt)
def raise_in_doubt():
    """Fail as a transactional function does whose commit is in doubt."""
    shop.attempts.append(None)
    raise CommitInDoubt


def test_what_is_in_doubt_is_not_tried_again(run):
    shop.attempts.clear()
    view = run(raise_in_doubt)

    assert view.failure.type == "CommitInDoubt"
    assert len(shop.attempts) == 1


# -- What is no doubt ---------------------------------------------------------


def add_with(hook):
    """Add a word, and have a hook raise after the commit."""
    transaction = get_current_request().tm.get()
    HOOKS[hook](transaction)
    return shop.add("word")


def _fail(*_args):
    raise ConnectionLost


class _Synchronizer:
    """Raises when a transaction has ended."""

    errors = []  # noqa: RUF012 - emptied by each test

    def newTransaction(self, transaction):
        """Have nothing to do."""

    def beforeCompletion(self, transaction):
        """Have nothing to do."""

    def afterCompletion(self, transaction):
        if self.errors:
            raise self.errors.pop()


SYNCHRONIZER = _Synchronizer()


def synchronize(_transaction):
    SYNCHRONIZER.errors.append(ConnectionLost())
    get_current_request().tm.registerSynch(SYNCHRONIZER)


HOOKS = {
    "hook": lambda transaction: transaction.addAfterCommitHook(_fail),
    "synchronizer": synchronize,
}


@pytest.mark.parametrize("hook", HOOKS)
def test_what_raises_after_the_commit_changes_nothing(
    run, hook, listen, heard
):
    view = run(add_with, hook, configure=listen)

    assert view.result == 1
    assert heard == [JobSucceeded]
    assert shop.effects(run.app) == ["word"]


def test_a_vote_that_raises_is_no_doubt(run, monkeypatch):
    vote = FileStorage.tpc_vote
    refusing = [ConnectionLost()]

    def tpc_vote(self, transaction):
        voted = vote(self, transaction)
        if b", attempt " in transaction.description and refusing:
            raise refusing.pop()
        return voted

    monkeypatch.setattr(FileStorage, "tpc_vote", tpc_vote)
    view = run(shop.add, "word")

    assert view.result == 1
    assert shop.effects(run.app) == ["word"]
