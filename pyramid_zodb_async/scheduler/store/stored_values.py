"""Checks of calls and results before they are stored and after their load."""

import io
import types
from collections.abc import Callable
from typing import Any

from persistent import Persistent
from persistent.wref import WeakRef
from transaction.interfaces import TransientError
from ZODB.broken import Broken, broken_cache
from ZODB.DB import DB
from zodbpickle.pickle import Pickler

from ...database.internals import is_implicitly_added
from ...exceptions import JobNotLoadable, NotTransferable
from ...interfaces import Connections
from ...transfer.callables import require_transferable, stored_form
from ...transfer.references import name_of, refuse_helper, require_own
from ..contents import Outcome, PlainCall, StoredCall

__all__ = [
    "is_small_and_plain",
    "look_for_broken",
    "refuse_broken",
    "require_storable",
    "storable_call",
    "storable_result",
]

#: The protocol of the pickles that ZODB makes.
PROTOCOL = 3

#: The greatest size of plain values in a record, in about bytes. Larger ones
#: get a persistent object of their own.
ROOM = 1000

#: Stands for a reference to an object that is not in a database yet.
NEW = "new"


def storable_call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    named_args: dict[str, Any],
    connections: Connections,
    db: DB,
) -> PlainCall | StoredCall:
    """Return a call in the form in which a record refers to it.

    Args:
        function: what the job calls.
        args: its positional arguments.
        named_args: its named arguments.
        connections: those of the code that schedules the job.
        db: the database of the store.

    Returns:
        A plain tuple if the call is small and plain, else a new persistent
        object.

    Raises:
        TypeError: another process could not find the function.
        ArgumentNotTransferable: something in the call cannot be stored.
    """
    form = stored_form(function)
    plain = form, args, tuple(named_args.items())
    if is_small_and_plain(plain):
        return plain

    def check(value: object) -> None:
        require_storable(value, connections, db)

    require_transferable(check, function, form, args, named_args)
    return StoredCall(form, args, named_args)


def storable_result(
    value: object, connections: Connections, db: DB
) -> Outcome | None:
    """Return the persistent object for a result that needs one.

    Args:
        value: what the job returned.
        connections: those of the job.
        db: the database of the store.

    Returns:
        A new object; ``None`` if the result is small and plain, and is to be
        stored in the record.

    Raises:
        NotTransferable: something in the result cannot be stored.
    """
    if is_small_and_plain(value):
        return None
    require_storable(value, connections, db)
    return Outcome(value)


def is_small_and_plain(value: object) -> bool:
    """Return whether a value can be stored in a record.

    It can if it consists of builtin values that cannot change, and is small.
    Then it is the same at the commit as now, needs no copy for each run, and
    is loaded without code of the application.

    Args:
        value: any object.
    """
    room = ROOM
    parts: list[Any] = [value]
    for part in parts:  # the loop appends to the list
        kind = type(part)
        if kind not in _PLAIN:
            return False
        room -= 8 + _size(part)
        if room < 0:
            return False
        if kind is tuple:
            parts += part
    return True


_PLAIN = frozenset((types.NoneType, bool, int, float, str, bytes, tuple))


def _size(part: object) -> int:
    """Return the stored size of a plain value in bytes, 0 if it is small."""
    if isinstance(part, str | bytes):
        return len(part) if part.isascii() else 4 * len(part)
    if isinstance(part, int):
        return part.bit_length() // 8
    return len(part) if isinstance(part, tuple) else 0


def require_storable(value: object, connections: Connections, db: DB) -> None:
    """Refuse a value that the database could not store.

    New persistent objects are accepted if their own state can be stored,
    since the commit stores them as well.

    Args:
        value: the value.
        connections: those of the code that has the value.
        db: the database of the store.

    Raises:
        NotTransferable: *value*, or something in it, cannot be stored.
    """
    new: list[Any] = []
    seen: set[int] = set()

    def refer(part: Any) -> str | None:
        reference = _require_reference(part, connections, db)
        if reference == NEW and id(part) not in seen:
            seen.add(id(part))
            new.append(part)
        return reference

    _dump(value, refer)
    for part in new:  # refer() appends to the list
        _dump(part.__getstate__(), refer)


def _dump(value: object, refer: Callable[[Any], str | None]) -> None:
    pickler = Pickler(io.BytesIO(), PROTOCOL)
    pickler.persistent_id = refer
    try:
        pickler.dump(value)
    except (NotTransferable, TransientError):
        raise
    except Exception as error:
        raise NotTransferable(
            f"it cannot be pickled ({type(error).__qualname__})",
            f": {error}",
        ) from error


def _require_reference(
    value: Any, connections: Connections, db: DB
) -> str | None:
    if isinstance(value, WeakRef):
        return "stored by the database"
    if isinstance(value, type) or not isinstance(value, Persistent):
        refuse_helper(value)
        return None
    jar = value._p_jar
    if jar is None:
        if len(db.databases) > 1:
            raise NotTransferable(
                f"{name_of(value)} is new, and there are several databases"
                " where it could belong; add() it to the connection of its"
                " own before"
            )
        return NEW
    require_own(value, connections)
    other = jar.db()
    if connections.to(other) is not jar:
        raise NotTransferable(
            f"{name_of(value)} was loaded by {jar!r}, and another connection"
            " to the same database is in use in this transaction already;"
            " tell of yours before, by PersistentContext.set_root_connection()"
        )
    if other is db:
        return "stored by the database"
    if not db.xrefs or db.databases.get(other.database_name) is not other:
        raise NotTransferable(
            f"{name_of(value)} is in the database {other.database_name!r}, to"
            f" which {db.database_name!r}, where jobs are kept, may not refer"
        )
    if is_implicitly_added(jar, value._p_oid):
        raise NotTransferable(
            f"{name_of(value)} is new in the database"
            f" {other.database_name!r}; add() it to its connection before"
        )
    return "stored by the database"


def refuse_broken(value: object) -> None:
    """Refuse a loaded value if the class of something in it is gone.

    ZODB loads an object whose class cannot be imported as a broken object,
    without an error. Calling a broken class returns an object that does
    nothing, so a job would succeed without having run.

    Args:
        value: what was loaded.

    Raises:
        JobNotLoadable: something is broken; the text names its class.
    """
    # ZODB puts each broken class into this cache. While it is empty, the
    # whole process has none, and the value need not be searched.
    if broken_cache:
        look_for_broken(value)


def look_for_broken(value: object) -> None:
    """Do what :func:`refuse_broken` does, for any class factory.

    A database with a class factory of its own, as Zope's, may make broken
    classes that are not in the cache of ZODB.

    Args:
        value: what was loaded.

    Raises:
        JobNotLoadable: something is broken; the text names its class.
    """
    pickler = Pickler(io.BytesIO(), PROTOCOL)
    # Only this hook is wanted, which gets every part of the value; the
    # pickle itself is dropped.
    pickler.persistent_id = _refuse_if_broken
    pickler.dump(value)


def _refuse_if_broken(value: object) -> str | None:
    if isinstance(value, WeakRef):
        return "not looked into"
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, Broken):
        raise JobNotLoadable(
            "Code that the job refers to is gone:"
            f" {kind.__module__}:{kind.__name__}"
        )
    return "not looked into" if isinstance(value, Persistent) else None
