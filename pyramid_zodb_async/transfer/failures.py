"""Exceptions of jobs, as plain data and as pickles for other threads."""

import contextlib
import pickle

from pyramid.i18n import TranslationString

from ..exceptions import JobError
from ..interfaces import Connections
from ..jobs.model import Failure
from ..jobs.translations import as_text
from .references import dump

__all__ = ["as_bytes", "describe", "loaded_exception", "pickled_exception"]


#: How many characters of an exception's text are stored: it is loaded with
#: the record of the job, and is sent to clients.
LONGEST_TEXT = 10_000

#: The greatest size of the pickle of an exception that is stored, in bytes.
LARGEST_PICKLE = 64 * 1024


def describe(
    error: BaseException,
    public: tuple[type[BaseException], ...] = (),
) -> Failure:
    """Return the description of an exception as plain data.

    Its text is marked as public if it is a ``JobError`` whose ``public`` is
    true, or an instance of one of *public*.

    Args:
        error: the exception.
        public: classes of other exceptions whose text users may see.
    """
    return Failure(
        type=type(error).__qualname__,
        message=_translatable(error, _text(error)),
        public=isinstance(error, public)
        or (isinstance(error, JobError) and bool(error.public)),
    )


def _translatable(error: BaseException, text: str) -> str:
    """Return the text of an exception, with what it is translated by."""
    # its attributes, and what a translation string mentions, may raise
    with contextlib.suppress(BaseException):
        (said,) = error.args
        if isinstance(said, TranslationString) and any(
            told.startswith(text.removesuffix("…"))
            for told in (said, said.interpolate())
        ):
            return as_text(said, LONGEST_TEXT + 1)
    return text


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - it may raise whatever it likes
        return f"(the text of this {type(error).__qualname__} raises)"
    if isinstance(error, SystemExit):
        return f"The job called sys.exit({text})"
    text = str.__str__(text)  # __str__ may have returned a subclass of str
    if len(text) > LONGEST_TEXT:
        text = text[:LONGEST_TEXT] + "…"
    return text


def pickled_exception(error: BaseException, connections: Connections) -> bytes:
    """Return a pickle of an exception, without its traceback.

    Args:
        error: the exception.
        connections: those of the thread that has caught it.

    Returns:
        The pickle. If the exception cannot be pickled and loaded again, if
        ``str()`` of the copy raises, if it refers to persistent objects, or
        if the pickle is larger than 64 kB, this is the pickle of a
        ``JobError`` with its type and the start of its text.
    """
    # its methods may raise any exception
    with contextlib.suppress(BaseException):
        dumped = dump(error, connections)
        if not dumped.shared and len(dumped.data) <= LARGEST_PICKLE:
            # try it now: who loads the pickle later could do nothing about
            # a copy that cannot be made or shown
            str(dumped.load(connections))
            return dumped.data
    return as_bytes(JobError(f"{type(error).__qualname__}: {_text(error)}"))


def as_bytes(error: JobError) -> bytes:
    """Return the pickle of an error of this package.

    Args:
        error: an exception that can be pickled.
    """
    return pickle.dumps(error)


def loaded_exception(data: bytes) -> BaseException:
    """Return the exception of a pickle that this package has made.

    Args:
        data: the pickle.

    Returns:
        The exception. If it cannot be loaded, because its class no longer
        exists for instance, it is a ``JobError`` that says so.
    """
    try:
        error: BaseException = pickle.loads(data)  # noqa: S301 - we made it
    except Exception as problem:  # noqa: BLE001 - classes raise what they like
        return JobError(
            "The exception of the job cannot be loaded any more"
            f" ({type(problem).__qualname__}: {problem})"
        )
    return error
