"""Envelopes: pickles of values, with the persistent objects beside them."""

import functools
import io
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from persistent import Persistent
from persistent.wref import WeakRef
from transaction.interfaces import TransientError
from ZODB.Connection import Connection
from ZODB.DB import DB
from ZODB.POSException import POSKeyError
from ZODB.utils import oid_repr

from ..exceptions import JobNotLoadable, NotTransferable
from ..interfaces import Connections
from ..jobs.class_paths import stored_at
from .broken_classes import refuse_broken_class
from .references import (
    Reference,
    SharedDatabase,
    reference_to,
    require_own,
)
from .refusals import refuse_helper

__all__ = [
    "Dumped",
    "Envelope",
    "dump",
    "dump_by",
    "load",
    "part",
    "resolved",
]

#: The protocol of the pickles: every Python that the package runs on knows
#: it, so that processes of several can share a database.
PROTOCOL = 5

#: What is not pickled, but stays beside the pickle. An isinstance() of it
#: holds for acquisition wrappers of persistent objects as well.
_BESIDE = (Persistent, WeakRef, SharedDatabase)


class Envelope(NamedTuple):
    """A value as it was, except for its persistent objects.

    These stay what they are, so a database stores them as references, also
    those that are new. Stored is the plain tuple.
    """

    #: The pickle.
    data: bytes
    #: What the pickle refers to by index: persistent objects, weak references
    #: to such, and instances of :class:`SharedDatabase`.
    objects: tuple[Any, ...]


@stored_at("pyramid_zodb_async.references")
def part(index: int) -> Any:
    """Stand in pickles for what an envelope has at an index.

    Args:
        index: the index.

    Raises:
        LookupError: always; who opens an envelope does not call this.
    """
    raise LookupError(f"Without its envelope a pickle has no part {index}")


def dump(
    value: object,
    connections: Connections,
    require: Callable[[Any], object] | None = None,
) -> Envelope:
    """Put a value as it is now into an envelope.

    Args:
        value: plain values and persistent objects, nested to any depth.
        connections: those of the thread that *value* belongs to.
        require: called with each persistent object, raises
            ``NotTransferable`` for what is refused. By default an object has
            to be new, or of one of *connections*.

    Raises:
        NotTransferable: *value*, or something in it, cannot be pickled, or
            belongs to another thread.
    """
    if require is None:
        require = functools.partial(_require_usable, connections=connections)
    stream = io.BytesIO()
    dumper = _Dumper(stream, require)
    dump_by(dumper, value)
    envelope = Envelope(stream.getvalue(), tuple(dumper.objects))
    if dumper.has_exceptions:
        _try(envelope)
    return envelope


def dump_by(pickler: Any, value: object) -> None:
    """Have a pickler pickle a value, and refuse what it cannot.

    Args:
        pickler: one of any library.
        value: the value.

    Raises:
        NotTransferable: it cannot be pickled.
    """
    try:
        pickler.dump(value)
    # a transient error, of an object that was loaded to be pickled, has to
    # pass: it has the transaction repeated
    except (NotTransferable, TransientError):
        raise
    except Exception as error:
        raise NotTransferable(
            f"it cannot be pickled ({type(error).__qualname__})",
            f": {error}",
        ) from error


def _require_usable(value: Any, connections: Connections) -> None:
    if value._p_jar is not None:
        require_own(value, connections)


def _try(envelope: Envelope) -> None:
    """Refuse what was pickled, but cannot be loaded.

    Args:
        envelope: one with an exception. Many classes of exceptions take other
            arguments than those that the pickle of an exception has.

    Raises:
        NotTransferable: it cannot be loaded.
    """
    try:
        load(*envelope)
    except Exception as error:
        raise NotTransferable(
            f"its pickle cannot be loaded ({type(error).__qualname__})",
            f": {error}",
        ) from error


class _Dumper(pickle.Pickler):
    def __init__(
        self, stream: io.BytesIO, require: Callable[[Any], object]
    ) -> None:
        super().__init__(stream, PROTOCOL)
        self._require = require
        #: The indexes of the objects, by what id() returns.
        self._indexes: dict[int, int] = {}
        self.objects: list[Any] = []
        self.has_exceptions = False

    # Not persistent_id(), which is called also for each number and each text
    # in a value; to pickle 2000 entries of a dict took eight times as long.
    def reducer_override(self, value: Any) -> Any:
        if value is part or isinstance(value, type):
            return NotImplemented  # pickled by its name
        if isinstance(value, _BESIDE):
            return part, (self._index(value),)
        refuse_helper(value)
        if isinstance(value, BaseException):
            self.has_exceptions = True
        return NotImplemented

    def _index(self, value: Any) -> int:
        if not issubclass(type(value), _BESIDE):
            # a wrapper, of which there is a new one for each access
            value = getattr(value, "aq_base", value)
        index = self._indexes.get(id(value))
        if index is None:
            if isinstance(value, Persistent):
                self._require(value)
            index = self._indexes[id(value)] = len(self.objects)
            self.objects.append(value)
        return index


class _Loader(pickle.Unpickler):
    def __init__(
        self,
        data: bytes,
        objects: tuple[Any, ...],
        factory: Callable[[str, str], Any] | None,
    ) -> None:
        super().__init__(io.BytesIO(data))
        self._objects = objects
        self._factory = factory

    def find_class(self, module: str, name: str) -> Any:
        if name == part.__name__ and module == part.__module__:
            return self._objects.__getitem__
        try:
            if self._factory is None:
                return super().find_class(module, name)
            return self._made(self._factory, module, name)
        except (AttributeError, ImportError) as error:
            raise JobNotLoadable(
                f"Code that the job refers to is gone: {module}:{name}"
            ) from error

    @staticmethod
    def _made(
        factory: Callable[[str, str], Any], module: str, name: str
    ) -> Any:
        """Return what a class factory makes of a name, which may have dots.

        The ZODB stores no name with dots, so no factory expects one.
        """
        outer, *inner = name.split(".")
        found = factory(module, outer)
        for attribute in inner:
            found = getattr(found, attribute)
        if isinstance(found, type):
            refuse_broken_class(found)
        return found


def load(
    data: bytes, objects: tuple[Any, ...], jar: Connection | None = None
) -> Any:
    """Return a new copy of the value in an envelope.

    Args:
        data: the pickle.
        objects: what it refers to, as the connection of the caller has it.
        jar: the connection that has loaded them from the database where the
            envelope is stored, if it is. Classes are found as that database
            finds them.

    Raises:
        JobNotLoadable: a class or function in it no longer exists.
    """
    for value in objects:
        refuse_broken_class(type(value))
    factory = None
    if jar is not None:
        objects = tuple(_as_loaded(value, jar) for value in objects)
        factory = _class_factory_of(jar)
    return _Loader(data, objects, factory).load()


def _as_loaded(value: Any, jar: Connection) -> Any:
    """Return an object of a stored envelope as those who load it need it."""
    if isinstance(value, SharedDatabase):
        # a context is of this database, or of one that belongs to it
        return SharedDatabase(jar.db())
    return value


def _class_factory_of(jar: Connection) -> Callable[[str, str], Any] | None:
    """Return how a database finds classes; ``None`` if by their names."""
    factory = jar.db().classFactory
    if getattr(factory, "__func__", None) is DB.classFactory:
        return None
    return functools.partial(factory, jar)


class Dumped(NamedTuple):
    """A pickled value, which any thread can load."""

    #: The pickle.
    data: bytes
    #: What the pickle refers to by index.
    references: tuple[Reference, ...]

    def load(
        self, connections: Connections, jar: Connection | None = None
    ) -> Any:
        """Return a new copy of the value.

        Args:
            connections: where its persistent objects are loaded from.
            jar: one to the database where the value is stored, if it is.

        Raises:
            JobNotLoadable: a persistent object or a class in it no longer
                exists.
        """
        try:
            objects = tuple(
                reference.load(connections) for reference in self.references
            )
        except POSKeyError as error:
            oid = oid_repr(error.args[0]) if error.args else "?"
            raise JobNotLoadable(
                f"The object with oid {oid} was deleted from the database"
            ) from error
        return load(self.data, objects, jar)


def resolved(envelope: Envelope) -> Dumped:
    """Return the content of an envelope as any thread can load it.

    Call this when all persistent objects in it were stored: new ones have no
    oid before that.

    Args:
        envelope: the envelope.

    Raises:
        NotTransferable: an object was not stored.
    """
    return Dumped(envelope.data, tuple(map(reference_to, envelope.objects)))
