"""What no value may contain, and what to pass instead."""

import functools
import io
import socket
import types
from multiprocessing.connection import Connection as PipeEnd
from typing import Any

from pyramid.interfaces import IRequest, ISession
from webob.compat import cgi_FieldStorage
from webob.request import BaseRequest
from ZODB.Connection import Connection, RootConvenience

from ..exceptions import NotTransferable

__all__ = ["refuse_helper"]

_REQUEST = (
    "a request ends before the job begins; pass the values that the job needs"
    " of it"
)
_GENERATOR = (
    "a generator belongs to who has called it, and gives its items once; pass"
    " a list of them"
)

#: Classes of objects that only their own thread can use, and what to pass
#: instead. Pickling would refuse only some of these, and an uploaded file only
#: if it is large: a small one is in memory.
_CLASSES: dict[type, str] = {
    RootConvenience: "connection.root is a helper for sessions; pass"
    " connection.root(), which is the persistent object",
    Connection: "a connection belongs to its thread; pass a persistent"
    " object, or let the job use pyramid_zodbconn.get_connection()",
    BaseRequest: _REQUEST,
    cgi_FieldStorage: "an uploaded file ends with its request; pass its"
    " bytes, as .file.read() gives them, or a persistent object that has them",
    io.IOBase: "an open file belongs to who has opened it; pass its bytes, as"
    " .read() gives them, or a persistent object that has them",
    socket.socket: "a socket belongs to who has opened it; pass what another"
    " one can be opened with",
    # a copy would have the number of the pipe, and close whatever has it then
    PipeEnd: "the end of a pipe belongs to the process that has opened it;"
    " pass what it has received",
    types.GeneratorType: _GENERATOR,
    types.AsyncGeneratorType: _GENERATOR,
    types.CoroutineType: "a coroutine belongs to its event loop; pass what it"
    " returns",
}

#: The same by the interfaces that classes implement.
_INTERFACES = (
    (IRequest, _REQUEST),
    (
        ISession,
        (
            "a session belongs to its request; pass the values that the job"
            " needs of it"
        ),
    ),
)


def refuse_helper(value: object) -> None:
    """Refuse an object that only its own thread can use.

    Args:
        value: any object.

    Raises:
        NotTransferable: it is a request, a session, a connection or its
            ``root``, an uploaded or open file, a socket, the end of a pipe,
            or a generator; the text says what to pass instead.
    """
    kind: Any = type(value)
    if advice := _advice_on(kind):
        raise NotTransferable(advice)


# cached: for classes such as io.IOBase the question takes long, and a value
# may have many parts
@functools.lru_cache(maxsize=512)
def _advice_on(kind: type) -> str:
    """Return what to pass instead of objects of a class, or nothing."""
    for refused, advice in _CLASSES.items():
        if issubclass(kind, refused):
            return advice
    # only of classes that say so: to ask others would leave attributes there
    if getattr(kind, "__implemented__", None) is not None:
        for interface, advice in _INTERFACES:
            if interface.implementedBy(kind):
                return advice
    return ""
