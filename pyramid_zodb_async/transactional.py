"""A decorator that runs functions in transactions, and repeats failed ones.

It is for code that has no transaction otherwise, such as a background script:
decorate its functions with :data:`transactional`.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from random import uniform
from time import sleep
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar

import transaction
from transaction.interfaces import (
    ITransaction,
    TransientError,
)
from transaction.interfaces import ITransactionManager as Manager
from ZODB.POSException import ConflictError

from .concurrency.context_values import ContextValue
from .concurrency.loggers import get_logger
from .database.commits import cut_notes, may_have_committed
from .database.joinable_transactions import (
    abort_after,
    begin_joinable,
    current_transaction,
    is_joinable,
    preserving,
)
from .exceptions import CommitInDoubt
from .jobs.exception_groups import leaves_of
from .jobs.lazy_functions import LAZY

__all__ = [
    "TransactionManager",
    "transactional",
    "use_manager",
]

P = ParamSpec("P")
R = TypeVar("R")
Args = tuple[Any, ...]
Kw = dict[str, Any]
Debug = Callable[[], object] | Literal[False]

log = get_logger(__name__)

# The value names the thread that has set it, because a context can be copied
# into another thread, which must not use this manager.
_job_manager: ContextVar[Any] = ContextVar("job_manager", default=(None, None))


def use_manager(manager: Manager) -> contextlib.AbstractContextManager[Any]:
    """Make *manager* the default one of this thread in a ``with`` block.

    There :data:`transactional` uses it in place of ``transaction.manager``.
    Jobs run in such a block, so that transactional functions join the job's
    transaction, whatever transaction manager the application uses.

    Args:
        manager: the transaction manager.
    """
    return ContextValue(_job_manager, (threading.current_thread(), manager))


class _EitherMethod(Generic[P, R]):
    """A method that can be called on an instance and on the class."""

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
    the commit, the function is called again in another transaction. If the
    commit raises when all participants have voted for it, it may have
    succeeded: nothing is repeated, and :exc:`CommitInDoubt` is raised.

    Decorated functions that it calls join its transaction: they are simply
    called. A transaction that this class did not begin is **not joined**: if
    one is pending, it is aborted, except that a manager in explicit mode
    leaves it alone and raises ``AlreadyInTransaction``. So do not call
    decorated functions from views if the application uses pyramid_tm.

    The function may commit and abort by itself. What it has committed stays,
    and is done again if the function is repeated. After that, decorated
    functions no longer join, until it calls :meth:`begin`.

    Subclasses can set the attributes in their body, and the constructor sets
    them on the instance.

    Args:
        retry_number: see the attribute; ``None``, as for the others, leaves
            the value of the class.
        retry_initial_delay: see the attribute.
        retry_delay_factor: see the attribute.
        debug: see the attribute; false for none.
        manager: see the attribute.

    Raises:
        TypeError: a value is of a wrong type.
        ValueError: a number is negative or not finite.
    """

    #: How often a call is repeated at most.
    retry_number: int = 3
    #: The longest wait before the first repetition, in seconds. The actual
    #: wait is a random part of it.
    retry_initial_delay: float = 1
    #: The factor by which the longest wait grows with each repetition.
    retry_delay_factor: float = 2
    #: The exceptions that are transient, besides those that the transaction
    #: itself recognizes.
    retry_exceptions: tuple[type, ...] = (ConflictError, TransientError)
    #: Called after an exception that is not transient and before the abort,
    #: to inspect the changes while they exist (a failed commit has undone
    #: them before). In the body of a subclass it is a ``staticmethod``.
    debug: Debug | None = None
    #: The transaction manager; by default that of the running job, or outside
    #: jobs ``transaction.manager``.
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
        """Return the name and path of the transaction's user, or ``None``.

        Subclasses may override this. Without a user none is recorded.
        """
        return None

    def get_description(
        self, f: Callable[..., Any], args: Args, kw: Kw
    ) -> str:
        """Return the description to record with the transaction.

        Subclasses may override this.

        Args:
            f: the function that is called.
            args: its positional arguments.
            kw: its named arguments.
        """
        return str(f)

    @_EitherMethod
    def begin(
        self: "type[TransactionManager] | TransactionManager",
        manager: Manager | None = None,
    ) -> ITransaction:
        """Begin a transaction that decorated functions will join.

        It can be called on the class and on instances. A pending transaction
        is aborted; a manager in explicit mode leaves it alone, and raises
        ``AlreadyInTransaction`` instead.

        Args:
            manager: the transaction manager; by default that of the instance
                or class.

        Returns:
            The new transaction.
        """
        if manager is None:
            manager = _manager_of(self)
        return begin_joinable(manager)

    def __call__(self, f: Callable[P, R], /) -> Callable[P, R]:
        """Decorate a function or method.

        Args:
            f: a function, or a method of any kind.

        Returns:
            A function, or a method of the same kind, that calls it in a
            transaction.

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
            if is_joinable(current_transaction(manager)):
                return f(*args, **kw)
            return self._run(manager, f, args, kw)

        return call

    def _run(
        self, manager: Manager, f: Callable[..., R], args: Args, kw: Kw
    ) -> R:
        """Call *f* in a transaction, and repeat it after transient errors."""
        delays = self._delays()
        while True:
            txn = None
            try:
                txn = self.begin(manager)
                if (user_info := self.get_user_info()) is not None:
                    txn.setUser(*user_info)
                txn.note(self.get_description(f, args, kw))
                result = f(*args, **kw)
                # not txn: f may have ended that and begun another one
                if (last := current_transaction(manager)) is not None:
                    cut_notes(last)
                    last.commit()
            except BaseException as error:
                is_in_doubt = txn is not None and _is_in_doubt(manager)
                again = self._roll_back(manager, error, begun=txn is not None)
                if is_in_doubt and isinstance(error, Exception):
                    raise _doubt(f, error) from error
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
        """Generate the wait before each repetition, in seconds."""
        longest = self.retry_initial_delay
        for _ in range(self.retry_number):
            yield uniform(0, longest)  # noqa: S311 - no secret
            longest *= self.retry_delay_factor

    def _roll_back(
        self, manager: Manager, error: BaseException, *, begun: bool
    ) -> bool:
        """Abort because of *error*; return whether to repeat the call."""
        if not begun:
            return self._is_transient(error, None)
        try:
            # before the abort, after which the transaction no longer has its
            # manager and resources, which know what errors are transient
            transient = self._is_transient(error, current_transaction(manager))
            if callable(self.debug) and not transient:
                with preserving(error, "The debug function"):
                    self.debug()
        finally:
            aborted = abort_after(manager, error)
        return transient and aborted

    def _is_transient(
        self, error: BaseException, txn: ITransaction | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        with preserving(error, "Asking whether the error is transient"):
            # several may have been raised together: what one of them says of
            # the database concerns all
            return any(
                issubclass(type(leaf), self.retry_exceptions)
                or (txn is not None and bool(txn.isRetryableError(leaf)))
                for leaf in leaves_of(error)
            )
        return False


def _manager_of(
    owner: TransactionManager | type[TransactionManager],
) -> Manager:
    if owner.manager is not None:
        return owner.manager
    thread, manager = _job_manager.get()
    own = thread is threading.current_thread()
    return manager if own else transaction.manager


def _is_in_doubt(manager: Manager) -> bool:
    """Return whether a commit has raised that may have succeeded."""
    txn = current_transaction(manager)
    return txn is not None and may_have_committed(txn)


def _doubt(f: Callable[..., object], error: Exception) -> CommitInDoubt:
    return CommitInDoubt(
        f"The commit after {getattr(f, '__qualname__', f)} raised"
        f" {type(error).__qualname__} after all had voted for it, so it is not"
        " known whether the work is done: look before you call it again"
    )


def _require_amount(name: str, value: float, kind: type[float]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | kind):
        raise TypeError(f"{name} must be of type {kind.__name__}: {value!r}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be finite and 0 or more: {value!r}")


def _require_plain_function(f: Callable[..., object]) -> None:
    if not callable(f):
        raise TypeError(f"{f!r} cannot be called: decorate a function")
    inner: Any = f
    while isinstance(inner, functools.partial):
        inner = inner.func
    for code in (inner, type(inner).__call__):
        if any(is_lazy(code) for is_lazy, _ in LAZY):
            raise TypeError(
                f"the body of {f!r} would run after its transaction: decorate"
                " a plain function that does all of the work, and call it"
                " from there"
            )


#: The decorator with the defaults.
transactional = TransactionManager()
