"""Checks of calls and results, and the forms in which they are stored."""

import functools
import io
import types
from collections.abc import Callable
from typing import Any

from persistent import Persistent
from persistent.wref import WeakRef
from ZODB.DB import DB
from zodbpickle.pickle import Pickler

from ...database.internals import is_implicitly_added
from ...exceptions import NotTransferable
from ...interfaces import Connections
from ...transfer.callables import require_transferable, stored_form
from ...transfer.envelopes import Envelope, dump, dump_by
from ...transfer.references import SharedDatabase, name_of, require_own
from ...transfer.refusals import refuse_helper
from ..contents import Contents, PlainArguments, PlainCall, StoredEnvelope

__all__ = [
    "is_small_and_plain",
    "storable_arguments",
    "storable_call",
    "storable_function",
    "storable_result",
]

#: The protocol of the pickles that ZODB makes.
PROTOCOL = 3

#: The greatest size of values in a record, in about bytes. Larger ones get a
#: persistent object of their own.
ROOM = 1000

#: To how many persistent objects a record refers at most.
MOST_OBJECTS = 20

#: Stands for a reference to an object that is not in a database yet.
NEW = "new"


def storable_call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    named_args: dict[str, Any],
    connections: Connections,
    db: DB,
) -> PlainCall | Contents:
    """Return a call in the form in which a record has it.

    Plain values in it are taken as they are now, and persistent objects as
    the transaction commits them.

    Args:
        function: what the job calls.
        args: its positional arguments.
        named_args: its named arguments.
        connections: those of the code that schedules the job.
        db: the database of the store.

    Returns:
        A plain tuple if the call is small and plain; else an envelope, which
        is a new persistent object if it is large.

    Raises:
        TypeError: another process could not find the function.
        ArgumentNotTransferable: something in the call cannot be stored.
    """
    form = stored_form(function)
    # a name is as plain, and its length is bounded by that of modules
    if isinstance(form, str) and is_small_and_plain(
        (*args, *named_args.items()) if named_args else args
    ):
        return form, args, tuple(named_args.items())
    return _storable(function, form, args, named_args, connections, db)


def storable_arguments(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    named_args: dict[str, Any],
    connections: Connections,
    db: DB,
) -> PlainArguments | Contents:
    """Do what :func:`storable_call` does, for the arguments alone.

    Args:
        function: what the job calls, for errors.
        args: its positional arguments.
        named_args: its named arguments.
        connections: those of the code that schedules the job.
        db: the database of the store.

    Returns:
        A plain tuple if they are small and plain; else an envelope, which is
        a new persistent object if it is large.

    Raises:
        ArgumentNotTransferable: something in them cannot be stored.
    """
    if is_small_and_plain((*args, *named_args.items())):
        return args, tuple(named_args.items())
    return _storable(function, None, args, named_args, connections, db)


def storable_function(
    function: Callable[..., Any], connections: Connections, db: DB
) -> str | Contents:
    """Do what :func:`storable_call` does, for the function alone.

    Args:
        function: what jobs call.
        connections: those of the code that schedules the jobs.
        db: the database of the store.

    Returns:
        The name of a function; an envelope for any other callable.

    Raises:
        TypeError: another process could not find the function.
        ArgumentNotTransferable: something in it cannot be stored.
    """
    form = stored_form(function)
    if isinstance(form, str):
        return form
    return _storable(function, form, (), {}, connections, db)


def _storable(  # noqa: PLR0913, PLR0917 - a call, and where it goes
    function: Callable[..., Any],
    form: Any,
    args: tuple[Any, ...],
    named_args: dict[str, Any],
    connections: Connections,
    db: DB,
) -> Contents:
    """Return the envelope of the form of a function, and of its arguments."""
    enclose = functools.partial(_enclosed, connections=connections, db=db)
    return _contents(
        require_transferable(enclose, function, form, args, named_args), db
    )


def storable_result(
    value: object, connections: Connections, db: DB
) -> Contents | None:
    """Return the form in which a record has a result that is not plain.

    Args:
        value: what the job returned.
        connections: those of the job.
        db: the database of the store.

    Returns:
        An envelope, which is a new persistent object if it is large; ``None``
        if the result is small and plain, and can be stored as it is.

    Raises:
        NotTransferable: something in the result cannot be stored.
    """
    if is_small_and_plain(value):
        return None
    return _contents(_enclosed(value, connections, db), db)


def _contents(envelope: Envelope, db: DB) -> Contents:
    """Return an envelope as the record has it: in itself, or apart."""
    data, objects = envelope
    if (
        len(data) <= ROOM
        and len(objects) <= MOST_OBJECTS
        and all(_is_harmless(value, db) for value in objects)
    ):
        return data, objects
    return StoredEnvelope(data, objects)


def _is_harmless(value: Any, db: DB) -> bool:
    """Return whether a record that refers to an object can always be loaded.

    A reference within the database always gives a ghost. One to another
    database needs that, and where the class has arguments for ``__new__`` the
    object is loaded at once.
    """
    if isinstance(value, SharedDatabase):
        return False
    jar = value.dm if isinstance(value, WeakRef) else value._p_jar
    return (jar is None or jar.db() is db) and not hasattr(
        type(value), "__getnewargs__"
    )


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
        room -= 8
        if kind is str or kind is bytes:
            room -= len(part) if part.isascii() else 4 * len(part)
        elif kind is int:
            room -= part.bit_length() // 8
        elif kind is tuple:
            room -= len(part)
            if room >= 0:
                parts += part
        elif kind not in _CONSTANTS:
            return False
        if room < 0:
            return False
    return True


_CONSTANTS = frozenset((types.NoneType, bool, float))


def _enclosed(value: object, connections: Connections, db: DB) -> Envelope:
    """Return the envelope of a value that the database can store.

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

    envelope = dump(value, connections, refer)
    for part in new:  # refer() appends to the list
        _dump(part.__getstate__(), refer)
    return envelope


def _dump(value: object, refer: Callable[[Any], str | None]) -> None:
    pickler = Pickler(io.BytesIO(), PROTOCOL)
    pickler.persistent_id = refer
    dump_by(pickler, value)


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
