"""Looks for objects of classes that are gone, which the ZODB hides."""

import io
from typing import Any

from persistent import Persistent
from persistent.wref import WeakRef
from ZODB.broken import Broken, broken_cache
from zodbpickle.pickle import Pickler

from ..exceptions import JobNotLoadable

__all__ = ["look_for_broken", "refuse_broken", "refuse_broken_class"]

#: The protocol of the pickles that ZODB makes.
PROTOCOL = 3


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


def _refuse_if_broken(value: Any) -> str | None:
    if isinstance(value, WeakRef):
        return "not looked into"
    refuse_broken_class(value if isinstance(value, type) else type(value))
    return "not looked into" if isinstance(value, Persistent) else None


def refuse_broken_class(kind: type) -> None:
    """Refuse the stand-in for a class that is gone.

    Args:
        kind: any class.

    Raises:
        JobNotLoadable: it is such a stand-in; the text names the class.
    """
    if issubclass(kind, Broken):
        raise JobNotLoadable(
            "Code that the job refers to is gone:"
            f" {kind.__module__}:{kind.__name__}"
        )
