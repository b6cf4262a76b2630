"""Give a function a transaction of its own, and repeat it on transient errors.

Code that nothing else gives a transaction, a background script for instance,
decorates its functions with :data:`transactional`.
"""

import contextlib
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from random import uniform
from time import sleep
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar

import transaction
from transaction.interfaces import (
    AlreadyInTransaction,
    ITransaction,
    NoTransaction,
    TransientError,
)
from transaction.interfaces import ITransactionManager as Manager
from ZODB.POSException import ConflictError

__all__ = ["TransactionManager", "transactional", "use_manager"]

P = ParamSpec("P")
R = TypeVar("R")
Args = tuple[Any, ...]
Kw = dict[str, Any]
Debug = Callable[[], object] | Literal[False]

log = logging.getLogger(__name__)

# a transaction knows our mark on it by the id() of this object
_MARK = object()

# with the thread that set it, for contexts are copied into other threads
_job_manager: ContextVar[Any] = ContextVar("job_manager", default=(None, None))


@contextlib.contextmanager
def use_manager(manager: Manager) -> Iterator[None]:
    """Make *manager* the default one of this thread for the block.

    :data:`transactional` uses it there in the place of
    ``transaction.manager``. A job runs in such a block, so that transactional
    functions join its transaction whatever manager the application has.
    """
    token = _job_manager.set((threading.current_thread(), manager))
    try:
        yield
    finally:
        _job_manager.reset(token)


class _EitherMethod(Generic[P, R]):
    """A method bound to the instance, or to the class where there is none."""

    def __init__(self, function: Callable[Concatenate[Any, P], R]) -> None:
        self._function: Any = function

    def __get__(self, instance: object, owner: type) -> Callable[P, R]:
        target = owner if instance is None else instance
        bound: Callable[P, R] = self._function.__get__(target)
        return bound


class TransactionManager:
    """A decorator that runs functions and methods in transactions.

    A call begins a transaction, which is committed when the function returns
    and aborted when it raises. After a transient error, of the function or of
    the commit, the function is called again in another transaction.

    Decorated functions that it calls join its transaction: they are simply
    called. Transactions that this class did not begin are not recognized but
    **taken over**: a pending one is aborted, except that a manager in
    explicit mode keeps it and raises ``AlreadyInTransaction``. So do not call
    decorated functions from views where pyramid_tm is at work.

    The function may commit and abort by itself. What it committed stays, and
    is done again if the function is repeated. After that, decorated functions
    no longer join, until it calls :meth:`begin`.

    Subclasses and the constructor set the attributes. The constructor raises
    ``TypeError`` or ``ValueError`` for a value that cannot be right.
    """

    #: How often at most a call is repeated.
    retry_number: int = 3
    #: The longest wait before the first repetition, in seconds; how long it
    #: really is, chance decides.
    retry_initial_delay: float = 1
    #: By how much the longest wait grows each time.
    retry_delay_factor: float = 2
    #: What is transient, beside what the transaction itself says is.
    retry_exceptions: tuple[type, ...] = (ConflictError, TransientError)
    #: Called before the abort when an exception passes that is not transient,
    #: to look at the changes while they are there (a commit that fails takes
    #: them back first); in a subclass's body, a ``staticmethod``.
    debug: Debug | None = None
    #: What begins the transactions; by default the running job's manager, or
    #: outside jobs ``transaction.manager``.
    manager: Manager | None = None

    def __init__(
        self,
        retry_number: int | None = None,
        retry_initial_delay: float | None = None,
        retry_delay_factor: float | None = None,
        debug: Debug | None = None,
        *,
        manager: Manager | None = None,
    ) -> None:
        for name, amount, kind in (
            ("retry_number", retry_number, int),
            ("retry_initial_delay", retry_initial_delay, float),
            ("retry_delay_factor", retry_delay_factor, float),
        ):
            if amount is not None:
                _require_amount(name, amount, kind)
                setattr(self, name, amount)
        if debug is not None:
            if debug is not False and not callable(debug):
                raise TypeError(f"debug must be callable, not {debug!r}")
            self.debug = debug
        if manager is not None:
            if not (hasattr(manager, "begin") and hasattr(manager, "get")):
                raise TypeError(
                    f"manager must have begin() and get(), not be {manager!r}"
                )
            self.manager = manager

    def get_user_info(self) -> tuple[str] | tuple[str, str] | None:
        """Tell the name, and path, to record as the transaction's user."""
        return None

    def get_description(
        self, f: Callable[..., Any], args: Args, kw: Kw
    ) -> str:
        """Tell what to record as the transaction's description."""
        return str(f)

    @_EitherMethod
    def begin(
        self: "type[TransactionManager] | TransactionManager",
        manager: Manager | None = None,
    ) -> ITransaction:
        """Begin a transaction that decorated functions will join.

        It is there on the class and on instances. A pending transaction is
        aborted; a manager in explicit mode keeps it, and raises instead.
        """
        if manager is None:
            manager = _manager_of(self)
        try:
            txn = manager.begin()
        except AlreadyInTransaction:
            raise
        except BaseException as error:
            # a synchronizer failed, but the transaction has begun
            _abort(manager, error)
            raise
        txn.set_data(_MARK, True)  # noqa: FBT003 - data of our own
        return txn

    def __call__(self, f: Callable[P, R], /) -> Callable[P, R]:
        """Decorate *f*, a function or any kind of method.

        Raises:
            TypeError: *f* cannot be called, or its body runs only after the
                call, as that of a generator or a coroutine does.
        """
        if isinstance(f, classmethod | staticmethod):
            return type(f)(self(f.__func__))
        _require_plain_function(f)

        @functools.wraps(f)
        def call(*args: P.args, **kw: P.kwargs) -> R:
            manager = _manager_of(self)
            if _is_ours(_current(manager)):
                return f(*args, **kw)
            return self._run(manager, f, args, kw)

        return call

    def _run(
        self, manager: Manager, f: Callable[..., R], args: Args, kw: Kw
    ) -> R:
        """Call *f* in transactions of its own until one ends for good."""
        delays = self._delays()
        while True:
            txn = None
            try:
                txn = self.begin(manager)
                if (user_info := self.get_user_info()) is not None:
                    txn.setUser(*user_info)
                txn.note(self.get_description(f, args, kw))
                result = f(*args, **kw)
                # not txn: f may have ended it, and begun another
                if (last := _current(manager)) is not None:
                    last.commit()
            except BaseException as error:
                again = self._roll_back(manager, error, begun=txn is not None)
                delay = next(delays, None) if again else None
                if delay is None:
                    raise
                log.warning(
                    "%s met a transient error and is called again.",
                    getattr(f, "__qualname__", f),
                    exc_info=True,
                    extra={"action": "transaction_retried"},
                )
            else:
                return result
            sleep(delay)

    def _delays(self) -> Iterator[float]:
        """Choose the wait before each repetition, in seconds."""
        longest = self.retry_initial_delay
        for _ in range(self.retry_number):
            yield uniform(0, longest)  # noqa: S311 - no secret
            longest *= self.retry_delay_factor

    def _roll_back(
        self, manager: Manager, error: BaseException, *, begun: bool
    ) -> bool:
        """Abort because of *error*; tell whether another try makes sense."""
        if not begun:
            return self._is_transient(error, None)
        try:
            # before the abort: it makes the transaction forget whom to ask
            transient = self._is_transient(error, _current(manager))
            if callable(self.debug) and not transient:
                with _keeping(error, "The debug function"):
                    self.debug()
        finally:
            aborted = _abort(manager, error)
        return transient and aborted

    def _is_transient(
        self, error: BaseException, txn: ITransaction | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if isinstance(error, self.retry_exceptions):
            return True
        with _keeping(error, "Asking whether the error is transient"):
            return txn is not None and bool(txn.isRetryableError(error))
        return False


def _manager_of(
    owner: TransactionManager | type[TransactionManager],
) -> Manager:
    if owner.manager is not None:
        return owner.manager
    thread, manager = _job_manager.get()
    own = thread is threading.current_thread()
    return manager if own else transaction.manager


def _current(manager: Manager) -> ITransaction | None:
    try:
        return manager.get()
    except NoTransaction:
        return None


def _is_ours(txn: ITransaction | None) -> bool:
    try:
        return txn is not None and txn.data(_MARK) is True
    except KeyError:
        return False


def _abort(manager: Manager, error: BaseException) -> bool:
    """Abort because of *error*; tell whether that went well."""
    with _keeping(error, "Aborting the transaction"):
        if (txn := _current(manager)) is not None:
            txn.abort()
        return True
    return False


@contextlib.contextmanager
def _keeping(error: BaseException, what: str) -> Iterator[None]:
    """Let no exception of the block take the place of *error*."""
    try:
        yield
    except Exception as failure:
        error.add_note(f"{what} failed as well: {failure!r}")
        log.exception(
            "%s failed while an error was handled, which is the one raised.",
            what,
            extra={"action": "transaction_cleanup_failed"},
        )


def _require_amount(name: str, value: float, kind: type[float]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | kind):
        raise TypeError(f"{name} must be of type {kind.__name__}: {value!r}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be finite and 0 or more: {value!r}")


_RUN_LATER = (
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    inspect.iscoroutinefunction,
)


def _require_plain_function(f: Callable[..., object]) -> None:
    if not callable(f):
        raise TypeError(f"{f!r} cannot be called: decorate a function")
    inner: Any = f
    while isinstance(inner, functools.partial):
        inner = inner.func
    for code in (inner, type(inner).__call__):
        if any(runs_later(code) for runs_later in _RUN_LATER):
            raise TypeError(
                f"the body of {f!r} would run after its transaction: decorate"
                " a plain function that does all of the work, and call it"
                " from there"
            )


#: The decorator with the defaults.
transactional = TransactionManager()
