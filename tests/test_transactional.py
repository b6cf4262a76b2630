"""Functions in transactions of their own, on real databases."""

import contextvars
import functools
import inspect
import logging
import pickle
import random
import threading
import time

import pytest
import transaction
from transaction.interfaces import (
    AlreadyInTransaction,
    DoomedTransaction,
    TransientError,
)
from ZODB.POSException import ConflictError

from pyramid_zodb_async import CommitInDoubt
from pyramid_zodb_async.transactional import (
    TransactionManager,
    transactional,
    use_manager,
)
from pyramid_zodb_async.web.request_schedule import has_transaction

LOGGER = "pyramid_zodb_async.transactional"


@pytest.fixture(params=["implicit", "explicit"])
def manager(request):
    """Give a transaction manager of each mode."""
    return transaction.TransactionManager(explicit=request.param == "explicit")


@pytest.fixture
def implicit():
    return transaction.TransactionManager()


@pytest.fixture
def explicit():
    return transaction.TransactionManager(explicit=True)


@pytest.fixture
def open_root(db):
    """Give a function that opens the root for a manager."""
    opened = []

    def open_root(manager):
        opened.append((manager, db.open(transaction_manager=manager)))
        return opened[-1][1].root

    yield open_root
    for manager, connection in opened:
        if has_transaction(manager):
            manager.abort()
        connection.close()


@pytest.fixture
def root(open_root, manager):
    """Give a function that gives the root in the manager's transaction."""
    return open_root(manager)


def eager(manager, **settings):
    """Make a decorator that does not wait before it repeats."""
    settings.setdefault("retry_initial_delay", 0)
    return TransactionManager(manager=manager, **settings)


def put(db, **values):
    """Store in the root, from a connection and transaction of its own."""
    with db.transaction() as connection:
        connection.root().update(values)


def stored(db):
    """Give what a new transaction finds in the root."""
    with db.transaction() as connection:
        return dict(connection.root())


def in_a_thread(function):
    """Give what *function* returns in a new thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


class DummyDataManager:
    """Takes part in a transaction, and says what is transient."""

    def __init__(self, should_retry=None, abort=None):
        self._should_retry = should_retry
        self._abort = abort

    def should_retry(self, error):
        """See transaction.TransactionManager."""
        return self._should_retry(error) if self._should_retry else False

    def abort(self, txn):
        """See IDataManager."""
        if self._abort:
            self._abort()


class DummySynchronizer:
    """Fails as often as told when a transaction begins."""

    def __init__(self, *errors):
        self.errors = list(errors)

    def newTransaction(self, txn):
        """See ISynchronizer."""
        if self.errors:
            raise self.errors.pop(0)

    def beforeCompletion(self, txn):
        """See ISynchronizer."""

    def afterCompletion(self, txn):
        """See ISynchronizer."""


def fail(error):
    raise error


class ShopClosedError(Exception):
    """What only a data manager knows to be transient."""


# one call, one transaction


def test_a_call_commits_and_returns_what_the_function_returns(
    db, manager, root
):
    @eager(manager)
    def add(key, *, value):
        root()[key] = value
        return value + 1

    assert add("n", value=1) == 2
    assert stored(db) == {"n": 1}
    assert not has_transaction(manager)


def test_a_pending_transaction_of_an_implicit_manager_is_aborted(
    db, implicit, open_root
):
    root = open_root(implicit)

    @eager(implicit)
    def add():
        root()["n"] = 1

    root()["pending"] = 1
    add()

    assert stored(db) == {"n": 1}


def test_a_transaction_under_way_of_an_explicit_manager_is_left_alone(
    db, explicit, open_root
):
    root = open_root(explicit)
    called = []
    under_way = explicit.begin()
    root()["pending"] = 1

    with pytest.raises(AlreadyInTransaction):
        eager(explicit, debug=lambda: called.append("debug"))(
            lambda: called.append("f")
        )()

    assert called == []
    assert explicit.get() is under_way
    explicit.commit()
    assert stored(db) == {"pending": 1}


def test_the_history_tells_the_function_that_changed_an_object(
    db, manager, root
):
    @eager(manager)
    def add():
        root()["n"] = 1

    add()

    (entry, *_) = db.undoInfo()
    assert entry["description"] == str(add.__wrapped__)
    assert entry["user_name"] == ""


@pytest.mark.parametrize(
    ("user_info", "recorded"),
    [(("ann", "/users"), "/users ann"), (("ann",), "/ ann")],
)
def test_a_subclass_chooses_user_and_description(
    db, manager, root, user_info, recorded
):
    class Describing(TransactionManager):
        def get_user_info(self):
            return user_info

        def get_description(self, f, args, kw):
            return f"{f.__name__} {args} {kw}"

    @Describing(manager=manager)
    def add(*args, **kw):
        root()["n"] = 1

    add(1, b=2)

    (entry, *_) = db.undoInfo()
    assert entry["user_name"] == recorded
    assert entry["description"] == "add (1,) {'b': 2}"


def test_a_description_that_fails_leaves_no_transaction(manager):
    class Failing(TransactionManager):
        def get_description(self, f, args, kw):
            raise LookupError("no name")

    with pytest.raises(LookupError, match="no name"):
        Failing(manager=manager)(print)()

    assert not has_transaction(manager)


# exceptions


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)]
)
def test_an_exception_aborts_and_passes(db, manager, root, error):
    calls = []

    @eager(manager)
    def add():
        calls.append(1)
        root()["n"] = 1
        raise error

    with pytest.raises(type(error)) as caught:
        add()

    assert caught.value is error
    assert calls == [1]
    assert stored(db) == {}
    assert not has_transaction(manager)


def test_an_interrupt_is_not_repeated_even_if_a_subclass_says_so(manager):
    class Stubborn(TransactionManager):
        retry_exceptions = (KeyboardInterrupt,)

    calls = []

    @Stubborn(retry_initial_delay=0, manager=manager)
    def interrupted():
        calls.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert calls == [1]


def test_a_commit_that_fails_is_aborted_and_the_manager_usable(
    db, manager, root
):
    debugged = []

    @eager(manager, debug=lambda: debugged.append(has_transaction(manager)))
    def add(value):
        root()["n"] = value

    with pytest.raises(TypeError, match="lock"):
        add(threading.Lock())

    assert debugged == [True]
    assert not has_transaction(manager)
    add(1)
    assert stored(db) == {"n": 1}


def test_a_doomed_transaction_is_aborted_and_told(db, manager, root):
    @eager(manager)
    def add():
        root()["n"] = 1
        manager.doom()

    with pytest.raises(DoomedTransaction):
        add()

    assert stored(db) == {}
    assert not has_transaction(manager)


# repeating


def test_a_conflict_at_commit_is_repeated_on_fresh_data(
    db, manager, root, caplog
):
    put(db, n=1)
    seen = []

    @eager(manager)
    def double():
        seen.append(root()["n"])
        root()["n"] *= 2
        if seen == [1]:
            put(db, n=10)

    double()

    assert seen == [1, 10]
    assert stored(db) == {"n": 20}
    assert not has_transaction(manager)
    (record,) = caplog.records
    assert record.name == LOGGER
    assert record.levelno == logging.WARNING
    assert record.action == "transaction_retried"
    assert record.exc_info[0] is ConflictError
    assert double.__qualname__ in record.getMessage()


def test_a_conflict_that_the_function_meets_is_repeated(db, manager, root):
    put(db, n=1)
    seen = []

    @eager(manager)
    def double():
        seen.append(root()["n"])
        root()["n"] *= 2
        if seen == [1]:
            put(db, n=10)
            manager.commit()

    double()

    assert seen == [1, 10]
    assert stored(db) == {"n": 20}


def test_a_conflict_that_stays_passes_after_the_last_repetition(
    db, manager, root
):
    put(db, n=0)
    debugged = []
    calls = []

    @eager(manager, retry_number=2, debug=lambda: debugged.append(1))
    def add():
        calls.append(1)
        put(db, n=root()["n"] + 1)
        root()["n"] = -1

    with pytest.raises(ConflictError):
        add()

    assert len(calls) == 3
    assert stored(db) == {"n": 3}
    assert debugged == []
    assert not has_transaction(manager)


def test_with_a_retry_number_of_0_nothing_is_repeated(manager):
    calls = []

    @eager(manager, retry_number=0)
    def meet_conflict():
        calls.append(1)
        raise ConflictError

    with pytest.raises(ConflictError):
        meet_conflict()

    assert calls == [1]


def is_repeated(decorate, error, *, before=lambda: None):
    """Tell whether a function is repeated that raises *error* at first."""
    calls = []

    @decorate
    def f():
        calls.append(1)
        if len(calls) == 1:
            before()
            raise error

    try:
        f()
    except type(error):
        return False
    assert len(calls) == 2
    return True


def test_any_transient_error_is_repeated(manager):
    class BusyError(TransientError):
        pass

    assert is_repeated(eager(manager), BusyError())
    assert not is_repeated(eager(manager), OSError())


def test_a_subclass_chooses_what_is_transient(manager):
    class Patient(TransactionManager):
        retry_initial_delay = 0
        retry_exceptions = (OSError,)

    patient = Patient(manager=manager)
    assert is_repeated(patient, ConnectionError())
    assert not is_repeated(patient, ValueError())


def test_a_data_manager_of_the_transaction_says_what_is_transient(manager):
    def join():
        manager.get().join(
            DummyDataManager(lambda error: isinstance(error, ShopClosedError))
        )

    decorate = eager(manager)
    assert is_repeated(decorate, ShopClosedError(), before=join)
    assert not is_repeated(decorate, ValueError(), before=join)
    assert not is_repeated(decorate, ShopClosedError())


def test_a_data_manager_that_fails_to_answer_hides_no_error(manager, caplog):
    @eager(manager)
    def f():
        manager.get().join(DummyDataManager(lambda error: 1 / 0))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        f()

    assert "ZeroDivisionError" in caught.value.__notes__[0]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.action == "transaction_cleanup_failed"
    assert not has_transaction(manager)


def test_where_the_function_left_no_transaction_its_type_decides(explicit):
    decorate = eager(explicit)

    assert not is_repeated(decorate, ValueError(), before=explicit.abort)
    assert is_repeated(decorate, ConflictError(), before=explicit.abort)


@pytest.mark.parametrize("error", [ConflictError(), ValueError("no")])
def test_a_begin_that_fails_leaves_no_transaction(db, manager, root, error):
    synchronizer = DummySynchronizer(error)
    manager.registerSynch(synchronizer)

    with pytest.raises(type(error)):
        TransactionManager.begin(manager)

    assert not has_transaction(manager)


def test_a_begin_that_meets_a_transient_error_is_repeated(db, manager, root):
    debugged = []
    synchronizer = DummySynchronizer(ConflictError(), ConflictError())
    manager.registerSynch(synchronizer)

    @eager(manager, debug=lambda: debugged.append(1))
    def add():
        root()["n"] = 1

    add()

    assert synchronizer.errors == []
    assert stored(db) == {"n": 1}
    synchronizer.errors.append(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        add()
    assert debugged == []
    assert not has_transaction(manager)


# waiting


def test_the_waits_are_random_and_grow():
    decorator = TransactionManager(
        retry_number=4, retry_initial_delay=2, retry_delay_factor=3
    )
    random.seed(1)

    columns = list(
        zip(*(decorator._delays() for _ in range(300)), strict=True)
    )

    assert len(columns) == 4
    for waits, longest in zip(columns, [2, 6, 18, 54], strict=True):
        assert 0 <= min(waits) < 0.1 * longest
        assert 0.9 * longest < max(waits) <= longest


def test_a_call_waits_before_each_repetition(manager):
    class Waiting(TransactionManager):
        def _delays(self):
            return iter([0.02, 0.03])

    @Waiting(manager=manager)
    def meet_conflict():
        raise ConflictError

    start = time.monotonic()
    with pytest.raises(ConflictError):
        meet_conflict()

    assert time.monotonic() - start >= 0.05


def test_no_transaction_is_held_while_waiting(manager):
    held = []

    class Looking(TransactionManager):
        def _delays(self):
            for _ in range(2):
                held.append(has_transaction(manager))
                yield 0

    with pytest.raises(ConflictError):
        Looking(manager=manager)(fail)(ConflictError())

    assert held == [False, False]


# debug


def test_debug_sees_the_changes_before_the_abort(db, manager, root):
    seen = []

    @eager(manager, debug=lambda: seen.append(root()["n"]))
    def add():
        root()["n"] = 1
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it says nothing
        add()

    assert seen == [1]
    assert stored(db) == {}


def test_debug_is_for_the_top_level_and_for_errors_only(manager):
    called = []
    decorate = eager(manager, debug=lambda: called.append("debug"))
    inner = decorate(fail)

    @decorate
    def outer():
        with pytest.raises(LookupError):
            inner(LookupError())
        called.append("outer")

    outer()

    assert called == ["outer"]


@pytest.mark.parametrize(
    ("failure", "raised"), [(RuntimeError, ValueError), (SystemExit,) * 2]
)
def test_a_debug_that_fails_does_not_prevent_the_abort(
    db, manager, root, failure, raised
):
    @eager(manager, debug=lambda: fail(failure()))
    def add():
        root()["n"] = 1
        raise ValueError("no")

    with pytest.raises(raised):
        add()

    assert not has_transaction(manager)
    assert stored(db) == {}


def test_a_subclass_has_its_debug_as_a_static_method_or_none(manager):
    called = []

    class Debugging(TransactionManager):
        debug = staticmethod(lambda: called.append("debug"))

    for decorate in [
        Debugging(manager=manager),
        Debugging(manager=manager, debug=False),
    ]:
        with pytest.raises(LookupError):
            decorate(fail)(LookupError())

    assert called == ["debug"]


# aborts that fail


@pytest.mark.parametrize("error", [ValueError("no"), ConflictError()])
def test_an_abort_that_fails_hides_no_error_and_ends_the_tries(
    manager, caplog, error
):
    calls = []

    @eager(manager)
    def f():
        calls.append(1)
        manager.get().join(DummyDataManager(abort=lambda: 1 / 0))
        raise error

    with pytest.raises(type(error)) as caught:
        f()

    assert caught.value is error
    assert "Aborting" in error.__notes__[0]
    assert "ZeroDivisionError" in error.__notes__[0]
    assert calls == [1]
    (record,) = (r for r in caplog.records if "pyramid_zodb_async." in r.name)
    assert record.levelno == logging.ERROR
    assert record.exc_info[1].__context__ is error
    assert not has_transaction(manager)


# commits that raise and may have succeeded


@pytest.fixture
def lose_answers(db, monkeypatch):
    """Have commits raise these after they have succeeded."""
    finish = type(db.storage).tpc_finish
    errors = []

    def tpc_finish(self, txn, f=None):
        done = finish(self, txn, f)
        if errors:
            raise errors.pop()
        return done

    monkeypatch.setattr(type(db.storage), "tpc_finish", tpc_finish)
    return errors


@pytest.mark.parametrize("error", [ConflictError(), OSError("reset by peer")])
def test_what_may_be_committed_is_not_done_again(
    db, manager, root, lose_answers, error
):
    calls = []

    @eager(manager)
    def add():
        calls.append(1)
        root()["n"] = len(calls)
        lose_answers.append(error)

    with pytest.raises(CommitInDoubt, match="add raised") as caught:
        add()

    assert caught.value.__cause__ is error
    assert stored(db) == {"n": 1}
    assert not has_transaction(manager)


def test_nor_if_the_function_has_committed_by_itself(
    db, manager, root, lose_answers
):
    calls = []

    @eager(manager)
    def add():
        calls.append(1)
        root()["n"] = len(calls)
        lose_answers.append(ConflictError())
        manager.commit()

    with pytest.raises(CommitInDoubt):
        add()

    assert stored(db) == {"n": 1}
    assert not has_transaction(manager)


def test_an_exit_in_a_commit_is_raised_as_it_is(manager, root, lose_answers):
    @eager(manager)
    def add():
        root()["n"] = 1
        lose_answers.append(SystemExit())

    with pytest.raises(SystemExit):
        add()

    assert not has_transaction(manager)


def test_a_description_that_is_too_long_for_storages_is_cut(db, manager, root):
    class Telling(TransactionManager):
        def get_description(self, f, args, kw):
            return "d" * 70_000

    @Telling(manager=manager)
    def add():
        root()["n"] = 1

    add()

    assert stored(db) == {"n": 1}


# functions that commit and abort by themselves


def test_what_the_function_committed_stays_when_it_raises_later(
    db, manager, root
):
    @eager(manager)
    def add():
        root()["n"] = 1
        manager.commit()
        manager.begin()
        root()["m"] = 2
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        add()

    assert stored(db) == {"n": 1}
    assert not has_transaction(manager)


def test_a_transaction_that_the_function_began_is_committed(db, manager, root):
    @eager(manager)
    def add():
        root()["n"] = 1
        manager.abort()
        manager.begin()
        root()["m"] = 2

    add()

    assert stored(db) == {"m": 2}
    assert not has_transaction(manager)


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_function_may_leave_no_transaction(db, manager, root, end):
    @eager(manager)
    def add():
        root()["n"] = 1
        getattr(manager, end)()
        return "done"

    assert add() == "done"
    assert stored(db) == ({"n": 1} if end == "commit" else {})
    assert not has_transaction(manager)


def test_after_its_commit_the_functions_that_it_calls_do_not_join(
    db, manager, root
):
    @eager(manager)
    def inner():
        root()["inner"] = 1

    @eager(manager)
    def outer():
        manager.commit()
        inner()
        assert stored(db) == {"inner": 1}
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        outer()

    assert stored(db) == {"inner": 1}


@pytest.mark.parametrize("on_instance", [True, False])
def test_after_its_commit_begin_makes_them_join_again(
    db, manager, root, on_instance
):
    decorate = eager(manager)

    @decorate
    def inner():
        root()["inner"] = 1

    @decorate
    def outer():
        manager.commit()
        if on_instance:
            decorate.begin()
        else:
            TransactionManager.begin(manager)
        inner()
        assert stored(db) == {}
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        outer()

    assert stored(db) == {}
    assert not has_transaction(manager)


# nested calls


def test_functions_that_a_function_calls_join_its_transaction(
    db, manager, root
):
    class Another(TransactionManager):
        """Marks are shared by all classes."""

    transactions = []

    @Another(manager=manager)
    def inner():
        transactions.append(manager.get())
        root()["inner"] = 1

    @eager(manager)
    def outer():
        transactions.append(manager.get())
        inner()
        assert stored(db) == {}
        root()["outer"] = 1
        assert manager.get() is transactions[0]

    outer()

    assert transactions[0] is transactions[1]
    assert stored(db) == {"inner": 1, "outer": 1}


def test_a_conflict_in_a_joined_function_repeats_the_outer_one(manager):
    calls = []
    decorate = eager(manager)

    @decorate
    def inner():
        calls.append("inner")
        if len(calls) == 2:
            raise ConflictError

    @decorate
    def outer():
        calls.append("outer")
        inner()

    outer()

    assert calls == ["outer", "inner"] * 2


# which manager


def test_without_a_manager_the_threads_is_used(db):
    @transactional
    def add():
        connection = db.open()
        connection.root()["n"] = 1
        transaction.get().addAfterCommitHook(lambda ok: connection.close())
        return transaction.get()

    assert add() is not add()
    assert stored(db) == {"n": 1}


def test_in_a_job_functions_join_the_jobs_transaction(db, manager, root):
    thread_transaction = transaction.begin()

    @transactional
    def add():
        root()["n"] = 1
        return manager.get()

    with use_manager(manager):
        begun = TransactionManager.begin()
        assert add() is begun
        assert stored(db) == {}
        manager.commit()

    assert stored(db) == {"n": 1}
    assert transaction.get() is thread_transaction


def test_a_job_in_a_job_and_an_error_give_the_default_back(implicit, explicit):
    def run_in(manager):
        with use_manager(manager):
            assert TransactionManager.begin() is manager.get()
            raise LookupError

    with use_manager(implicit):
        with pytest.raises(LookupError):
            run_in(explicit)
        assert TransactionManager.begin() is implicit.get()
    assert TransactionManager.begin() is transaction.get()


def test_a_manager_of_its_own_goes_before_the_jobs(implicit, explicit):
    with use_manager(implicit):
        own = TransactionManager(manager=explicit)
        assert own.begin() is explicit.get()
        assert TransactionManager.begin() is implicit.get()


def test_a_subclass_may_have_a_manager(explicit):
    class Own(TransactionManager):
        manager = explicit

    assert Own.begin() is explicit.get()
    assert Own()(explicit.get)() is explicit.get()


def test_other_threads_do_not_see_a_jobs_manager(implicit):
    @transactional
    def is_in_the_job():
        return has_transaction(implicit)

    with use_manager(implicit):
        context = contextvars.copy_context()

        assert is_in_the_job()
        assert not in_a_thread(is_in_the_job)
        assert not in_a_thread(lambda: context.run(is_in_the_job))


# decorating


@transactional
def documented(a: int, *, b: str = "") -> tuple[int, str]:
    """Give back."""
    return a, b


documented.color = "red"


def test_a_decorated_function_looks_like_the_function():
    decorated = transactional(documented)

    assert decorated is not documented
    assert decorated.__name__ == "documented"
    assert decorated.__doc__ == "Give back."
    assert decorated.color == "red"
    assert str(inspect.signature(decorated)) == (
        "(a: int, *, b: str = '') -> tuple[int, str]"
    )


def test_a_decorated_function_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(documented)) is documented


def test_methods_of_all_kinds_can_be_decorated(manager):
    decorate = eager(manager)

    class Base:
        @decorate
        def method(self, a):
            return self, a, manager.get()

        @decorate
        @classmethod
        def class_outside(cls, a):
            return cls, a, manager.get()

        @classmethod
        @decorate
        def class_inside(cls, a):
            return cls, a, manager.get()

        @decorate
        @staticmethod
        def static_outside(a):
            return None, a, manager.get()

        @staticmethod
        @decorate
        def static_inside(a):
            return None, a, manager.get()

        @decorate
        def __call__(self, a):
            return self, a, manager.get()

    class Sub(Base):
        pass

    sub = Sub()
    for method, first in [
        (sub.method, sub),
        (Sub.class_outside, Sub),
        (sub.class_inside, Sub),
        (Sub.static_outside, None),
        (sub.static_inside, None),
        (sub, sub),
    ]:
        got, a, txn = method(1)
        assert (got, a) == (first, 1)
        assert method(1)[2] is not txn
        txn = decorate.begin()
        assert method(1)[2] is txn
        manager.abort()


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_decorating_gives_the_same_kind_of_method(kind):
    class Kind(kind):
        """Ours is kept as well."""

    assert type(transactional(Kind(documented))) is Kind


def test_other_callables_can_be_decorated(manager):
    class Adder:
        def __init__(self, a):
            self.a = a

        def __call__(self, b):
            return self.a + b, has_transaction(manager)

    decorate = eager(manager)
    assert decorate(Adder(1))(2) == (3, True)
    assert decorate(functools.partial(Adder(1), 2))() == (3, True)
    assert decorate(Adder(1).__call__)(2) == (3, True)
    assert decorate(Adder)(1).a == 1


def generate():
    yield


async def generate_async():
    yield


async def await_nothing():
    pass


class Generating:
    """What it does when called, it does later."""

    def __call__(self):
        """Yield once."""
        yield

    async def method(self):
        """Do nothing."""


@pytest.mark.parametrize(
    "f",
    [
        generate,
        generate_async,
        await_nothing,
        functools.partial(functools.partial(await_nothing)),
        Generating(),
        functools.partial(Generating()),
        Generating().method,
        staticmethod(generate),
        classmethod(await_nothing),
    ],
)
def test_what_runs_after_the_call_is_refused(f):
    with pytest.raises(TypeError, match="plain function") as caught:
        transactional(f)

    inner = f.__func__ if isinstance(f, classmethod | staticmethod) else f
    assert repr(inner) in str(caught.value)


@pytest.mark.parametrize("f", [None, 3, property(documented)])
def test_what_cannot_be_called_is_refused(f):
    with pytest.raises(TypeError, match="decorate a function") as caught:
        transactional(f)

    assert repr(f) in str(caught.value)


# settings


def test_the_defaults_are_the_documented_ones():
    assert transactional.retry_number == 3
    assert transactional.retry_initial_delay == 1
    assert transactional.retry_delay_factor == 2
    assert transactional.retry_exceptions == (ConflictError, TransientError)
    assert not transactional.debug
    assert transactional.manager is None


def test_a_subclass_and_the_constructor_override_the_defaults():
    class Stubborn(TransactionManager):
        retry_number = 7
        retry_delay_factor = 1.5

    stubborn = Stubborn(8, 0.5, None, print)

    assert stubborn.retry_number == 8
    assert stubborn.retry_initial_delay == 0.5
    assert stubborn.retry_delay_factor == 1.5
    assert stubborn.debug is print
    assert Stubborn().retry_number == 7
    assert Stubborn(0).retry_number == 0


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (TypeError, "retry_number", "3"),
        (TypeError, "retry_number", 1.5),
        (TypeError, "retry_number", True),
        (ValueError, "retry_number", -1),
        (TypeError, "retry_initial_delay", "1"),
        (TypeError, "retry_initial_delay", True),
        (ValueError, "retry_initial_delay", -0.1),
        (ValueError, "retry_initial_delay", float("inf")),
        (ValueError, "retry_initial_delay", float("nan")),
        (TypeError, "retry_delay_factor", [2]),
        (ValueError, "retry_delay_factor", -2),
        (TypeError, "debug", True),
        (TypeError, "debug", "pdb"),
        (TypeError, "manager", object()),
        (TypeError, "manager", type("NoGet", (), {"begin": print})()),
        (TypeError, "manager", type("NoBegin", (), {"get": print})()),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused(error, name, value):
    with pytest.raises(error, match=name) as caught:
        TransactionManager(**{name: value})

    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "errors",
    [
        [ConflictError(), ValueError()],
        [ExceptionGroup("inner", [ConflictError()])],
    ],
)
def test_a_conflict_in_a_group_repeats_the_call(errors):
    calls = []

    @TransactionManager(retry_initial_delay=0)
    def work():
        calls.append(transaction.get())
        if len(calls) == 1:
            raise ExceptionGroup("tasks", errors)
        return "done"

    assert work() == "done"
    assert len(calls) == 2


@pytest.mark.parametrize(
    "error",
    [
        ExceptionGroup("tasks", [ValueError()]),
        BaseExceptionGroup("tasks", [ConflictError(), KeyboardInterrupt()]),
    ],
)
def test_any_other_group_is_raised(error):
    calls = []

    @TransactionManager(retry_initial_delay=0)
    def work():
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        work()
    assert calls == [1]
