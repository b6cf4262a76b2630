"""The kinds of functions that do not work when they are called, but later."""

import inspect

__all__ = ["LAZY"]

#: Whether a function is of such a kind, and what a call of it returns. Neither
#: a job nor a transaction of its own would last until the work is done.
LAZY = (
    (inspect.iscoroutinefunction, "a coroutine"),
    (inspect.isgeneratorfunction, "a generator"),
    (inspect.isasyncgenfunction, "an asynchronous generator"),
)
