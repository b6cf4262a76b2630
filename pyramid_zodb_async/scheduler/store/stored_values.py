"""What the database keeps of calls and results: checked, and loaded whole."""

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

from ...exceptions import JobNotLoadable, NotTransferable
from ...interfaces import Connections
from ...transfer.callables import require_transferable, stored_form
from ...transfer.references import name_of, refuse_helper, require_own
from ..records import Outcome, PlainCall, StoredCall

__all__ = [
    "is_small_and_plain",
    "look_for_broken",
    "refuse_broken",
    "require_storable",
    "storable_call",
    "storable_result",
]

#: That of ZODB's own pickles.
PROTOCOL = 3

#: For how many bytes of plain values an object of their own is not worth it.
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
    """Give what the database keeps of a call, or refuse it.

    Raises:
        TypeError: another process could not find the function.
        ArgumentNotTransferable: something in it cannot be stored.
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
    """Give what keeps a result apart, or ``None`` if the record keeps it.

    Raises:
        NotTransferable: something in it cannot be stored.
    """
    if is_small_and_plain(value):
        return None
    require_storable(value, connections, db)
    return Outcome(value)


def is_small_and_plain(value: object) -> bool:
    """Tell whether *value* is a builtin that never changes, and small.

    It is the same when it is committed, whoever has it has it for himself,
    and nothing of the application's is needed to load it.
    """
    room = ROOM
    parts: list[Any] = [value]
    for part in parts:  # which grows
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
    """Tell in how many bytes a plain value is kept, if these are many."""
    if isinstance(part, str | bytes):
        return len(part) if part.isascii() else 4 * len(part)
    if isinstance(part, int):
        return part.bit_length() // 8
    return len(part) if isinstance(part, tuple) else 0


def require_storable(value: object, connections: Connections, db: DB) -> None:
    """Refuse a value that *db* could not store.

    New persistent objects are accepted, and looked into: the commit stores
    them.

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
    for part in new:  # which grows
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
    if jar._implicitlyAdding(value._p_oid):  # noqa: SLF001 - as ZODB asks
        raise NotTransferable(
            f"{name_of(value)} is new in the database"
            f" {other.database_name!r}; add() it to its connection before"
        )
    return "stored by the database"


def refuse_broken(value: object) -> None:
    """Refuse a value in which something has lost its class.

    ZODB loads such objects all the same, and what they are asked for seems
    to work: calling a broken class gives an object that does nothing.

    Raises:
        JobNotLoadable: there is something; names it.
    """
    if broken_cache:  # else nothing is, in the whole process
        look_for_broken(value)


def look_for_broken(value: object) -> None:
    """Do what :func:`refuse_broken` does, however classes are replaced.

    A database with a class factory of its own, as Zope's, has its own way.

    Raises:
        JobNotLoadable: something has lost its class; names it.
    """
    pickler = Pickler(io.BytesIO(), PROTOCOL)
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
