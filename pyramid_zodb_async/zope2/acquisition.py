"""The transfer of acquisition wrappers, which the database does not store."""

import functools
import io
import pickle
import types
from typing import Any

from Acquisition import (
    ExplicitAcquisitionWrapper,
    ImplicitAcquisitionWrapper,
    aq_base,
    aq_parent,
    aq_self,
)
from persistent import Persistent
from persistent.wref import WeakRef
from transaction.interfaces import TransientError
from ZODB.broken import Broken
from ZODB.Connection import RootConvenience
from ZPublisher.BaseRequest import BaseRequest

from ..exceptions import NotTransferable
from ..jobs.class_paths import stored_at
from ..scheduler.store.stored_values import is_small_and_plain
from ..transfer.callables import callable_of
from ..transfer.references import SharedDatabase

__all__ = ["MethodInContext", "in_context", "packed", "parts_of"]

_WRAPPERS = (ExplicitAcquisitionWrapper, ImplicitAcquisitionWrapper)

#: What is not pickled here: the schedulers transfer it in their own ways.
_LEFT_ALONE = (Persistent, WeakRef, RootConvenience, SharedDatabase)


# Stored pickles name in_context() and MethodInContext. Loading them must not
# raise, because the ZODB would hide the reason.


@stored_at("pyramid_zodb_async.acquisition")
def in_context(obj: Any, container: Any) -> Any:
    """Return *obj* in the acquisition context of *container*.

    Args:
        obj: the object, which may be a wrapper itself.
        container: what it is acquired from, which may be a wrapper.

    Returns:
        The wrapper. If the class of *obj* or *container* is missing, that
        object itself, so that the scheduler finds it and refuses the call.
    """
    for part in (container, obj):
        if isinstance(aq_base(part), Broken):
            return part
    return obj.__of__(container)


@stored_at("pyramid_zodb_async.acquisition")
class MethodInContext:
    """A method of a wrapped object, which is found when it is called.

    Args:
        owner: the wrapped object.
        name: the name of the method.

    Raises:
        JobNotLoadable: at the call, if the object's class no longer has this
            method, even if something can be acquired by that name.
    """

    def __init__(self, owner: Any, name: str) -> None:
        self._owner = owner
        self._name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return MethodInContext, (self._owner, self._name)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        """Call the method.

        Args:
            args: its positional arguments.
            kw: its named arguments.
        """
        # without the wrapper: getattr() on it could acquire another object's
        # method
        callable_of((aq_base(self._owner), self._name))
        return getattr(self._owner, self._name)(*args, **kw)


class _InContext:
    """Stands for a wrapper; loading its pickle calls :func:`in_context`."""

    def __init__(self, obj: Any, container: Any) -> None:
        self._parts = obj, container

    def __reduce__(self) -> tuple[Any, ...]:
        return in_context, self._parts


def parts_of(wrapper: Any) -> tuple[Any, Any] | None:
    """Return the object and the container of an acquisition wrapper.

    Each may be a wrapper again. Containers that are not persistent, such as
    the request at the end of the chain, are skipped.

    Args:
        wrapper: any value.

    Returns:
        The pair, or ``None`` if there is no persistent container, or if
        *wrapper* is no wrapper of a persistent object.
    """
    if not _is_wrapper(wrapper) or not isinstance(wrapper, Persistent):
        return None
    container = aq_parent(wrapper)
    while container is not None and not isinstance(container, Persistent):
        container = aq_parent(container)
    return None if container is None else (aq_self(wrapper), container)


def packed(value: Any) -> Any:
    """Return a copy of *value* that keeps its wrappers when it is stored.

    Wrappers, and methods of wrappers, are replaced at any depth by objects
    whose pickles make them again.

    Args:
        value: what is to be stored or passed on.

    Returns:
        The copy. If there is no wrapper in it, *value* itself.

    Raises:
        NotTransferable: *value* is or contains a request.
    """
    if is_small_and_plain(value):
        return value
    stream = io.BytesIO()
    packer = _Packer(stream)
    try:
        packer.dump(value)
    except (NotTransferable, TransientError):
        raise
    except Exception:  # noqa: BLE001 - the scheduler raises a better one
        return value
    if not packer.has_found:
        return value
    return _Unpacker(stream.getvalue(), packer.not_pickled).load()


class _Packer(pickle.Pickler):
    """Pickles a value, except for wrappers and what must not be copied.

    For these it pickles an index into a list.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        #: What the indexes refer to: the objects themselves, or what stands
        #: for a wrapper.
        self.not_pickled: list[Any] = []
        #: Whether there was a wrapper.
        self.has_found = False

    def persistent_id(self, value: Any) -> int | None:
        """Return the index of *value*, or ``None`` to pickle it."""
        if isinstance(value, type):
            return None
        if isinstance(value, BaseRequest):
            # a request can be pickled, but the pickle cannot be loaded
            raise NotTransferable(
                "a request ends before the job begins; pass the values that"
                " the job needs of it"
            )
        # first: a wrapper is an instance of the class of its object as well
        stand_in = _stand_in(value)
        if stand_in is not None:
            self.has_found = True
        elif isinstance(value, _LEFT_ALONE):
            stand_in = value
        else:
            return None
        self.not_pickled.append(stand_in)
        return len(self.not_pickled) - 1


class _Unpacker(pickle.Unpickler):
    """Loads what a :class:`_Packer` has pickled, with the stand-ins in it."""

    def __init__(self, data: bytes, not_pickled: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._not_pickled = not_pickled

    def persistent_load(self, pid: int) -> Any:
        """Return the object with the index *pid*."""
        return self._not_pickled[pid]


def _stand_in(value: Any) -> Any:
    """Return what stands for a wrapper, or for a method of one, else ``None``.

    Its pickle makes the wrapper or the method again.
    """
    if isinstance(value, types.MethodType):
        owner = _stand_in(value.__self__)
        if owner is None:
            return None
        method = MethodInContext(owner, value.__name__)
        # so that it has the signature, the name and the job options of the
        # method
        return functools.update_wrapper(method, value)
    if not _is_wrapper(value) or not isinstance(value, Persistent):
        return None
    parts = parts_of(value)
    if parts is None:
        return aq_base(value)
    return _InContext(*map(_stand_in_or_itself, parts))


def _stand_in_or_itself(value: Any) -> Any:
    stand_in = _stand_in(value)
    return value if stand_in is None else stand_in


def _is_wrapper(value: Any) -> bool:
    # by type(): the class attribute of a wrapper is that of its object
    return type(value) in _WRAPPERS
