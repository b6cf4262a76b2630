"""Loggers whose calls never raise, whatever an application's logging does."""

import contextlib
import logging
import sys
import threading
import traceback
from typing import Any

__all__ = ["get_logger"]


class _NeverRaising(logging.LoggerAdapter[logging.Logger]):
    """A logger that writes to the error stream what cannot be logged.

    The module ``logging`` catches what most handlers raise, but not what
    filters, the factory of records and other handlers do. No thread may end
    and no job may be left half done because of that.
    """

    def log(self, level: int, msg: object, *args: object, **kw: Any) -> None:
        """See :meth:`logging.Logger.log`; all other methods call this one."""
        try:
            # 2, so that the record names the caller and not this line; what
            # is in the module logging itself is not counted
            self.logger.log(level, msg, *args, stacklevel=2, **kw)
        except _not_to_pass():
            _write_error(msg, args)


def _not_to_pass() -> type[BaseException]:
    """Return the class of what must not get out of a call of a logger.

    In the main thread, what is no ``Exception`` may be a signal that has come
    just now, by which the process is to end. Elsewhere it would only end a
    thread.
    """
    if threading.current_thread() is threading.main_thread():
        return Exception
    return BaseException


def _write_error(message: object, values: tuple[object, ...]) -> None:
    """Write a message, and why it cannot be logged, to the error stream.

    This is what ``logging`` does with what its own handlers raise, and
    ``logging.raiseExceptions`` turns off both.
    """
    if not logging.raiseExceptions or sys.stderr is None:
        return
    # one by one: the values, the exception or the stream may raise as well
    with contextlib.suppress(_not_to_pass()):
        sys.stderr.write(f"--- Not logged: {str(message) % values}\n")
    with contextlib.suppress(_not_to_pass()):
        traceback.print_exc()


def get_logger(name: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return a logger whose methods never raise.

    In the main thread they raise what is no ``Exception``, such as
    ``SystemExit`` and ``KeyboardInterrupt``.

    Args:
        name: the name of the logger.

    Returns:
        The logger. What it could not log is on the error stream.
    """
    return _NeverRaising(logging.getLogger(name))
