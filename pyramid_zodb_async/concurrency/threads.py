"""The start of a thread, which says so when there can be no more."""

import threading
from collections.abc import Callable
from typing import Any

from .loggers import get_logger

__all__ = ["start_thread"]

log = get_logger(__name__)


def start_thread(
    name: str,
    target: Callable[..., object],
    args: tuple[Any, ...] = (),
    *,
    action: str,
    missing: str,
) -> threading.Thread | None:
    """Start a daemon thread, or log what is missing without it.

    A system has room for so many threads, and an interpreter that ends starts
    none. The caller has to go on without the thread, and to try again later.

    Args:
        name: what the thread is for; its name is ``zodb_async-`` and this.
        target: what it calls.
        args: the arguments of *target*.
        action: the ``action`` of the log's record if it cannot be started.
        missing: the message of that record: what is not done now, and when
            it is tried again.

    Returns:
        The thread, or ``None`` if it cannot be started.
    """
    thread = threading.Thread(
        target=target, args=args, name=f"zodb_async-{name}", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:
        log.exception(missing, extra={"action": action})
        return None
    return thread
