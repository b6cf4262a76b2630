"""References to persistent objects, by which other threads find them."""

from typing import Any, NamedTuple

from persistent.wref import WeakRef
from ZODB.DB import DB

from ..exceptions import NotTransferable
from ..interfaces import Connections
from ..jobs.class_paths import stored_at

__all__ = [
    "Reference",
    "SharedDatabase",
    "name_of",
    "reference_to",
    "require_own",
]


@stored_at("pyramid_zodb_async.references")
class SharedDatabase:
    """A database that an object refers to, for example a context.

    In a pickle of this module it is the same database for all threads. Any
    other pickle leaves it out.

    Args:
        db: the database, or ``None``.
    """

    __slots__ = ("db",)

    def __init__(self, db: DB | None) -> None:
        self.db = db

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedDatabase, (None,)


class Reference(NamedTuple):
    """What a persistent object, or a weak reference to one, is found by."""

    #: The database; or a :class:`SharedDatabase`, if that is beside a pickle.
    db: Any
    #: The oid of the object; ``None`` if there is none.
    oid: bytes | None = None
    is_weak: bool = False

    def load(self, connections: Connections) -> Any:
        """Return what it refers to.

        Args:
            connections: where a persistent object is loaded from.

        Raises:
            POSKeyError: the object was deleted.
        """
        if self.oid is None:
            return self.db
        jar = connections.to(self.db)
        if not self.is_weak:
            return jar.get(self.oid)
        # as the ZODB makes one: its object may be gone
        weak = WeakRef.__new__(WeakRef)
        weak.oid, weak.dm = self.oid, jar
        weak.database_name = self.db.database_name
        return weak


def reference_to(value: Any) -> Reference:
    """Return the reference to what is beside a pickle.

    Args:
        value: a persistent object, a weak reference to one, or a
            :class:`SharedDatabase`.

    Raises:
        NotTransferable: the object has no oid.
    """
    if isinstance(value, SharedDatabase):
        return Reference(value)
    is_weak = isinstance(value, WeakRef)
    if is_weak:
        if value.oid is not None:
            return Reference(value.dm.db(), value.oid, is_weak)
        value = value()  # it was new when the weak reference was made
    if value._p_jar is None or value._p_oid is None:
        raise NotTransferable(
            f"{name_of(value)} is new, and was not stored in a"
            " database before the commit; store it, or pass a plain"
            " value"
        )
    return Reference(value._p_jar.db(), value._p_oid, is_weak)


def require_own(value: Any, connections: Connections) -> None:
    """Refuse a persistent object that is not of one of *connections*.

    Args:
        value: a persistent object that is stored in a database.
        connections: those of the calling thread.

    Raises:
        NotTransferable: its connection is closed, or is another one.
    """
    jar = value._p_jar
    if jar.opened is None:
        raise NotTransferable(
            f"{name_of(value)} was loaded by a connection that is closed by"
            " now; load it again through this request's connection"
        )
    if not connections.own(jar):
        raise NotTransferable(
            f"{name_of(value)} was loaded by a connection that belongs to"
            " another thread, request or transaction manager; load it"
            " again through this request's connection"
        )


def name_of(value: object) -> str:
    """Return a description of an object by its class, for errors.

    Args:
        value: the object, of which no attribute is loaded.
    """
    kind = type(value)
    return f"the {kind.__module__}.{kind.__qualname__} object"
