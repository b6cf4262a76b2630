"""Pickles of values, with references in place of persistent objects."""

import functools
import io
import pickle
import socket
from multiprocessing.connection import Connection as PipeEnd
from typing import Any, NamedTuple

from persistent import Persistent
from transaction.interfaces import TransientError
from webob.compat import cgi_FieldStorage
from webob.request import BaseRequest
from ZODB.Connection import RootConvenience
from ZODB.DB import DB
from ZODB.POSException import POSKeyError
from ZODB.utils import oid_repr

from ..exceptions import JobNotLoadable, NotTransferable
from ..interfaces import Connections
from ..jobs.class_paths import stored_at

__all__ = [
    "Dumped",
    "SharedDatabase",
    "dump",
    "name_of",
    "refuse_helper",
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


class Dumped(NamedTuple):
    """A pickled value, which any thread can load."""

    #: The pickle.
    data: bytes
    #: What the pickle refers to by index: databases of persistent objects,
    #: and instances of :class:`SharedDatabase`.
    shared: tuple[Any, ...]

    def load(self, connections: Connections) -> Any:
        """Return a new copy of the value.

        Args:
            connections: where its persistent objects are loaded from.

        Raises:
            JobNotLoadable: a persistent object or a class in it no longer
                exists.
        """
        try:
            return _Loader(self, connections).load()
        except POSKeyError as error:
            oid = oid_repr(error.args[0]) if error.args else "?"
            raise JobNotLoadable(
                f"The object with oid {oid} was deleted from the database"
            ) from error


def dump(
    value: object, connections: Connections, *, final: bool = True
) -> Dumped:
    """Pickle a value so that another thread can load it.

    Args:
        value: plain values and persistent objects, nested to any depth.
        connections: those of the thread that *value* belongs to.
        final: whether all persistent objects in it must have an oid already.
            If not, they may be new; the return value then only shows that
            the value can be pickled, and must not be loaded.

    Raises:
        NotTransferable: *value*, or something in it, cannot be pickled, or
            belongs to another thread.
    """
    stream = io.BytesIO()
    dumper = _Dumper(stream, connections, final=final)
    try:
        dumper.dump(value)
    # a transient error, of an object that was loaded to be pickled, has to
    # pass: it has the transaction repeated
    except (NotTransferable, TransientError):
        raise
    except Exception as error:
        raise NotTransferable(
            f"it cannot be pickled ({type(error).__qualname__})",
            f": {error}",
        ) from error
    return Dumped(stream.getvalue(), tuple(dumper.shared))


class _Dumper(pickle.Pickler):
    def __init__(
        self, stream: io.BytesIO, connections: Connections, *, final: bool
    ) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._connections = connections
        self._final = final
        self.shared: list[Any] = []

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        if isinstance(value, type):
            return None  # pickled by its name
        if isinstance(value, Persistent):
            return self._reference(value)
        if isinstance(value, SharedDatabase):
            return (self._share(value),)
        refuse_helper(value)
        return None

    def _reference(self, value: Any) -> tuple[Any, ...]:
        jar, oid = value._p_jar, value._p_oid
        if jar is None or oid is None:
            if self._final:
                raise NotTransferable(
                    f"{name_of(value)} is new, and was not stored in a"
                    " database before the commit; store it, or pass a plain"
                    " value"
                )
            return ()
        require_own(value, self._connections)
        db = jar.db()
        return (self._share(db), oid)

    def _share(self, value: Any) -> int:
        for index, known in enumerate(self.shared):
            if known is value:
                return index
        self.shared.append(value)
        return len(self.shared) - 1


class _Loader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (AttributeError, ImportError) as error:
            raise JobNotLoadable(
                f"Code that the job refers to is gone: {module}:{name}"
            ) from error

    def __init__(self, dumped: Dumped, connections: Connections) -> None:
        super().__init__(io.BytesIO(dumped.data))
        self._shared = dumped.shared
        self._connections = connections

    def persistent_load(self, pid: tuple[Any, ...]) -> Any:
        shared = self._shared[pid[0]]
        if len(pid) == 1:
            return shared
        return self._connections.to(shared).get(pid[1])


#: Classes of objects that only their own thread can use, and what to pass
#: instead.
_HELPERS = {
    RootConvenience: "connection.root is a helper for sessions; pass"
    " connection.root(), which is the persistent object",
    BaseRequest: "a request belongs to its thread; pass the values that are"
    " needed of it",
    cgi_FieldStorage: "an uploaded file ends with its request; pass its"
    " bytes, as .file.read() gives them, or a persistent object that has them",
}

#: The same for what is open. Pickling would refuse only some of these, and
#: an uploaded file only if it is large: a small one is in memory.
_STREAMS = {
    io.IOBase: "an open file belongs to who has opened it; pass its bytes, as"
    " .read() gives them, or a persistent object that has them",
    socket.socket: "a socket belongs to who has opened it; pass what another"
    " one can be opened with",
    # a copy would have the number of the pipe, and close whatever has it then
    PipeEnd: "the end of a pipe belongs to the process that has opened it;"
    " pass what it has received",
}


def refuse_helper(value: object) -> None:
    """Refuse an object that only its own thread can use.

    Args:
        value: any object.

    Raises:
        NotTransferable: it is a request, an uploaded or open file, a socket,
            the end of a pipe, or the ``root`` of a connection; the text says
            what to pass instead.
    """
    for kind, advice in _HELPERS.items():
        if isinstance(value, kind):
            raise NotTransferable(advice)
    own: Any = type(value)
    if advice := _advice_on_streams(own):
        raise NotTransferable(advice)


# cached: for classes such as io.IOBase the question takes long, and a value
# may have many parts
@functools.lru_cache(maxsize=512)
def _advice_on_streams(kind: type) -> str:
    """Return what to pass instead of objects of a class, or nothing."""
    for stream, advice in _STREAMS.items():
        if issubclass(kind, stream):
            return advice
    return ""


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
