"""Takes wrappers of Acquisition along, which the database would drop."""

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
from ..jobs.stored_paths import stored_at
from ..scheduler.store.stored_values import is_small_and_plain
from ..transfer.callables import callable_of
from ..transfer.references import SharedDatabase

__all__ = ["MethodInContext", "in_context", "packed", "parts_of"]

_WRAPPERS = (ExplicitAcquisitionWrapper, ImplicitAcquisitionWrapper)

#: What the schedulers treat in a way of their own.
_LEFT_ALONE = (Persistent, WeakRef, RootConvenience, SharedDatabase)


# Pickles name what follows, up to the class. It must not raise when it is
# loaded, for the database would hide the reason.


@stored_at("pyramid_zodb_async.acquisition")
def in_context(obj: Any, container: Any) -> Any:
    """Wrap *obj* as something that was acquired from *container*.

    What has lost its class is given as it is, to be found.
    """
    for part in (container, obj):
        if isinstance(aq_base(part), Broken):
            return part
    return obj.__of__(container)


@stored_at("pyramid_zodb_async.acquisition")
class MethodInContext:
    """A method of a wrapped object, found when it is called.

    Raises:
        JobNotLoadable: the class has no such method any more, whatever may
            be acquired by that name.
    """

    def __init__(self, owner: Any, name: str) -> None:
        self._owner = owner
        self._name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return MethodInContext, (self._owner, self._name)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        """Call the method."""
        callable_of((aq_base(self._owner), self._name))
        return getattr(self._owner, self._name)(*args, **kw)


class _Recipe:
    """Is pickled as a call, so that the value of the call is loaded."""

    def __init__(self, obj: Any, container: Any) -> None:
        self._parts = obj, container

    def __reduce__(self) -> tuple[Any, ...]:
        return in_context, self._parts


def parts_of(wrapper: Any) -> tuple[Any, Any] | None:
    """Take a wrapper apart, into an object and its container.

    Either may be a wrapper again. What is not persistent is left out: the
    request is, at the end of the chain. Gives ``None`` if no container is
    left, and for what is no wrapper of a persistent object.
    """
    if not _is_wrapper(wrapper) or not isinstance(wrapper, Persistent):
        return None
    container = aq_parent(wrapper)
    while container is not None and not isinstance(container, Persistent):
        container = aq_parent(container)
    return None if container is None else (aq_self(wrapper), container)


def packed(value: Any) -> Any:
    """Give *value* with what makes its wrappers anew in their places.

    They may be at any depth, and so may their methods. Everything else
    stays as it is; if there is no wrapper, that is *value* itself.

    Raises:
        NotTransferable: there is a request.
    """
    if is_small_and_plain(value):
        return value
    stream = io.BytesIO()
    packer = _Packer(stream)
    try:
        packer.dump(value)
    except (NotTransferable, TransientError):
        raise
    except Exception:  # noqa: BLE001 - a scheduler tells more of it
        return value
    if not packer.has_found:
        return value
    return _Unpacker(stream.getvalue(), packer.kept).load()


class _Packer(pickle.Pickler):
    """Finds wrappers; what must not be copied is kept beside the pickle."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.kept: list[Any] = []
        self.has_found = False

    def persistent_id(self, value: Any) -> int | None:
        if isinstance(value, type):
            return None
        if isinstance(value, BaseRequest):
            # its pickle would be accepted, but cannot be loaded
            raise NotTransferable(
                "a request ends before the job begins; pass the values that"
                " the job needs of it"
            )
        kept = _recipe(value)
        if kept is not None:
            self.has_found = True
        elif isinstance(value, _LEFT_ALONE):
            kept = value
        else:
            return None
        self.kept.append(kept)
        return len(self.kept) - 1


class _Unpacker(pickle.Unpickler):
    def __init__(self, data: bytes, kept: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._kept = kept

    def persistent_load(self, pid: int) -> Any:
        return self._kept[pid]


def _recipe(value: Any) -> Any:
    """Give what stands for a wrapper, or a method of one, else ``None``."""
    if isinstance(value, types.MethodType):
        owner = _recipe(value.__self__)
        if owner is None:
            return None
        method = MethodInContext(owner, value.__name__)
        # for who looks at how it is called, and at its options
        return functools.update_wrapper(method, value)
    if not _is_wrapper(value) or not isinstance(value, Persistent):
        return None
    parts = parts_of(value)
    if parts is None:
        return aq_base(value)
    return _Recipe(*map(_recipe_or_itself, parts))


def _recipe_or_itself(value: Any) -> Any:
    recipe = _recipe(value)
    return value if recipe is None else recipe


def _is_wrapper(value: Any) -> bool:
    return type(value) in _WRAPPERS
