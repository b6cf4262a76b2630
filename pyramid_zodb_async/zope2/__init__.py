"""The decorator, the schedulers and the context for applications of Zope."""

import contextlib
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import Zope2
from AccessControl import getSecurityManager
from AccessControl.SecurityManagement import noSecurityManager
from Acquisition import aq_base, aq_inner, aq_parent
from OFS.Uninstalled import broken_klasses
from ZODB.DB import DB
from zope.component.hooks import setSite

from ..context import PersistentContext as _PersistentContext
from ..context import store_new
from ..contracts import IRun
from ..database.connections import current_connections
from ..execution.surroundings import (
    Surroundings,
    SurroundingsFactory,
    bare_thread,
    thread_transaction,
)
from ..jobs.bulk import name_call, normalised_calls
from ..jobs.current_job import running_job
from ..jobs.option_checks import checked_spread
from ..scheduler import (
    PersistentTransactionalScheduler as _PersistentTransactionalScheduler,
)
from ..scheduler import TransactionalScheduler as _TransactionalScheduler
from ..transactional import TransactionManager as _TransactionManager
from ..transfer.broken_classes import look_for_broken
from ..transfer.callables import (
    argument_check,
    check_call,
    require_transferable,
    stored_form,
)
from .acquisition import in_context, packed, parts_of

__all__ = [
    "PersistentContext",
    "PersistentTransactionalScheduler",
    "TransactionManager",
    "TransactionalScheduler",
    "transactional",
]


class TransactionManager(_TransactionManager):
    """A transaction manager that records what Zope records for a request.

    The user of a transaction is the one who is logged in, preceded by the
    path of the user folder. In a job, where no user is logged in, it is the
    user who has scheduled the job. The description is the path of the object
    that is called, or whose method is called; for other functions it is the
    name.
    """

    def get_user_info(self) -> tuple[str] | tuple[str, str] | None:
        """Return the id of the user, and the path of the user folder.

        Returns:
            Both, or the id alone if the user is in no folder, or ``None`` if
            no user is logged in.
        """
        user = getSecurityManager().getUser()
        # there is none before Zope has started
        user_id = None if user is None else user.getId()
        if user_id is None:
            return _scheduled_by()
        user_folder = aq_parent(aq_inner(user))
        if user_folder is None:
            return (user_id,)
        return user_id, "/".join(user_folder.getPhysicalPath()[1:-1])

    def get_description(
        self, f: Callable[..., Any], args: tuple[Any, ...], kw: dict[str, Any]
    ) -> str:
        """Return the path of what is called.

        Args:
            f: the function that is called.
            args: its positional arguments.
            kw: its named arguments.
        """
        found: Any = f
        names: list[str] = []
        if isinstance(f, types.MethodType):
            found, names = f.__self__, [f.__name__]
        elif args and _is_method_of(args[0], f):
            found, names = args[0], [f.__name__]
        while not hasattr(found, "getPhysicalPath"):
            name = getattr(found, "__name__", None)
            names.insert(0, str(found) if name is None else name)
            found = aq_parent(aq_inner(found))
            if found is None or name is None:
                return "/".join(names)
        return "/".join([*found.getPhysicalPath(), *names])


def _scheduled_by() -> tuple[str, str] | None:
    """Return the user who has scheduled the running job, if any."""
    job = running_job()
    if job is None or job.owner is None:
        return None
    path, _, user_id = job.owner.rpartition(" ")
    return user_id, path


def _is_method_of(obj: Any, function: Any) -> bool:
    """Return whether *obj* has the method *function*, perhaps decorated."""
    name = getattr(function, "__name__", "")
    found = getattr(type(aq_base(obj)), name, None)
    return found is not None and inspect.unwrap(found) is function


#: The decorator with the defaults.
transactional = TransactionManager()


class PersistentContext(_PersistentContext):
    """A context whose root database is that of Zope, by default.

    Objects are returned in the acquisition context that they were in, up to
    the root of the application: there is no request.

    Args:
        objs: persistent objects. If the first is a :class:`ZODB.DB.DB`, it
            is the root database.
        named_objs: persistent objects by name.

    Raises:
        LookupError: Zope has not opened its database yet.
    """

    def __init__(self, /, *objs: Any, **named_objs: Any) -> None:
        # The name of this attribute must stay: databases contain contexts.
        self._is_told = bool(objs) and isinstance(objs[0], DB)
        super().__init__(*objs, **named_objs)

    def _get_root_database(self) -> DB:
        if self._is_told:
            return super()._get_root_database()
        if Zope2.DB is None:
            raise LookupError(
                "Zope has not opened its database yet: start Zope before, by"
                " make_wsgi_app() or Zope2.app(), or give a DB as the first"
                " argument"
            )
        return Zope2.DB

    def _reference(self, obj: Any) -> Any:
        parts = parts_of(obj)
        if parts is None:
            # the containers of the context, which the base class has not seen,
            # may be new as well
            store_new([obj])
            return super()._reference(obj)
        return tuple(self._reference(part) for part in parts)

    def _resolve(self, reference: Any) -> Any:
        if isinstance(reference[0], str):
            return super()._resolve(reference)
        obj, container = reference
        return in_context(self._resolve(obj), self._resolve(container))


class _InZope(Surroundings):
    """Surroundings whose jobs return objects in their acquisition context."""

    def __init__(self, inner: Surroundings) -> None:
        super().__init__(inner.connections)
        self._inner = inner

    def call(self, function: Callable[[], Any]) -> Any:
        # Zope replaces the classes of objects whose code is missing, so the
        # load of the call has not failed.
        if broken_klasses:
            look_for_broken(function)
        return packed(self._inner.call(function))

    def ensure_transaction(self) -> None:
        self._inner.ensure_transaction()

    def may_repeat(self, error: BaseException) -> bool:
        return self._inner.may_repeat(error)


def _in_zope(environment: SurroundingsFactory) -> SurroundingsFactory:
    """Return a factory that also removes Zope's state from the thread.

    The function may set a site and a security manager. The next run on the
    same thread must not have them.
    """

    @contextlib.contextmanager
    def surround(run: IRun) -> Iterator[Surroundings]:
        with contextlib.ExitStack() as cleaning:
            cleaning.callback(setSite)
            cleaning.callback(noSecurityManager)
            yield _InZope(cleaning.enter_context(environment(run)))

    return surround


def _user() -> str | None:
    """Return the user as ``path id``, in the form that transactions record."""
    info = transactional.get_user_info()
    if info is None:
        return None
    user_id, path = (*info, "/")[:2]
    return f"{path} {user_id}"


_Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def _packed_call(
    f: Callable[..., Any], args: tuple[Any, ...], kw: dict[str, Any]
) -> _Call:
    """Check a call, and return it in a form that keeps objects in context."""
    check_call(f, args, kw)
    # functions and classes are passed on by their names
    travelling = None if isinstance(f, types.FunctionType | type) else f
    found, args, kw = require_transferable(packed, f, travelling, args, kw)
    return f if travelling is None else found, args, kw


def _packed_calls(
    f: Callable[..., Any], calls: Iterable[tuple[Any, ...]], most: int
) -> tuple[Callable[..., Any], Iterator[_Arguments]]:
    """Check and pack what ``many()`` is given; the calls when asked for."""
    check = argument_check(f)
    travelling = None if isinstance(f, types.FunctionType | type) else f
    found, _, _ = require_transferable(packed, f, travelling, (), {})

    def arguments() -> Iterator[_Arguments]:
        for index, call in enumerate(normalised_calls(calls, most)):
            try:
                check(*call)
                _, args, kw = require_transferable(packed, f, None, *call)
            except TypeError as error:
                name_call(index, error)
                raise
            yield args, kw

    return f if travelling is None else found, arguments()


class TransactionalScheduler(_TransactionalScheduler):
    """A scheduler in memory, for Zope.

    Its jobs get objects, and return them, in the acquisition context that
    they were in, up to the root of the application: there is no request. No
    user is logged in during a job. The user who has scheduled it is its
    owner, and :data:`transactional` records that user.
    """

    _environment = staticmethod(_in_zope(bare_thread))

    def schedule(self, f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = current_connections()
        call = _packed_call(f, args, kw)
        return self.schedule_call(*call, connections, owner=_user())

    def many(
        self,
        f: Callable[..., Any],
        /,
        calls: Iterable[tuple[Any, ...]],
        *,
        spread: float | timedelta | None = None,
    ) -> Sequence[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.schedule_calls(
            *_packed_calls(f, calls, self.max_bulk),
            current_connections(),
            owner=_user(),
            spread=checked_spread(spread),
        )


class PersistentTransactionalScheduler(_PersistentTransactionalScheduler):
    """A scheduler that an application stores as an object in Zope's database.

    As with :class:`TransactionalScheduler`, its jobs get objects and return
    them in context, and no user is logged in. The transaction of a job
    records the user who has scheduled it.
    """

    #: How often an attempt is repeated after conflicts. The default is how
    #: often Zope repeats a request.
    max_conflicts = 3
    _environment = staticmethod(_in_zope(thread_transaction))

    def schedule(self, f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """Have ``f(*args, **kw)`` called after the transaction has committed.

        Args:
            f: what the job calls.
            args: its positional arguments.
            kw: its named arguments.

        Returns:
            The sid of the job.

        Raises:
            Exception: what the method of the base class raises.
        """
        # before the call is packed, which replaces a method in context by
        # another object: another process has to find the method by its name
        stored_form(f)
        return self._schedule(*_packed_call(f, args, kw), _user())

    def many(
        self,
        f: Callable[..., Any],
        /,
        calls: Iterable[tuple[Any, ...]],
        *,
        spread: float | timedelta | None = None,
    ) -> Sequence[str]:
        """Have *f* called many times once the transaction has committed.

        Args:
            f: what the jobs call.
            calls: the calls, as for the method of the base class.
            spread: the time over which the beginnings are spread, in seconds
                or as a ``timedelta``.

        Returns:
            The sids of the jobs, in the order of the calls.

        Raises:
            Exception: what the method of the base class raises.
        """
        stored_form(f)  # as in schedule()
        function, packed_calls = _packed_calls(f, calls, self.max_bulk)
        return self._many(
            function, packed_calls, checked_spread(spread), _user()
        )
