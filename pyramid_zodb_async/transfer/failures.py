"""Exceptions of jobs, as plain data and as pickles for other threads."""

import contextlib
import pickle

from pyramid.i18n import TranslationString

from ..exceptions import JobError
from ..interfaces import Connections
from ..jobs.exception_groups import is_of, leaves_of
from ..jobs.model import Failure
from ..jobs.translations import as_text
from .envelopes import dump, load

__all__ = [
    "as_bytes",
    "describe",
    "is_for_people",
    "loaded_exception",
    "pickled_exception",
]


#: How many characters of an exception's text are stored: it is loaded with
#: the record of the job, and is sent to clients.
LONGEST_TEXT = 10_000

#: Of how many exceptions of a group, or in a row of causes, the text is told.
MOST_TOLD = 10

#: The greatest size of the pickle of an exception that is stored, in bytes.
LARGEST_PICKLE = 64 * 1024


def describe(
    error: BaseException,
    public: tuple[type[BaseException], ...] = (),
) -> Failure:
    """Return the description of an exception as plain data.

    Its text is marked as public if it is a ``JobError`` whose ``public`` is
    true, or an instance of one of *public*. If it is not, it is followed by
    those of the exceptions in a group, and an exception without a text has
    that of its cause.

    Args:
        error: the exception.
        public: classes of other exceptions whose text users may see.
    """
    is_public = issubclass(type(error), public) or _is_public(error)
    return Failure(
        type=type(error).__qualname__,
        # people are told no text but that of the exception itself
        message=_translatable(
            error, _cut(_text(error) if is_public else _words(error))
        ),
        public=is_public,
    )


def _is_public(error: BaseException) -> bool:
    return is_of(error, JobError) and bool(error.public)


def is_for_people(error: BaseException) -> bool:
    """Return whether a job has raised *error* only to tell people something.

    Args:
        error: what the job has failed with.

    Returns:
        Whether it is a ``JobError`` whose text is public, and none of those
        classes by which this package tells of a fault.
    """
    nearest = next(
        kind
        for kind in type(error).__mro__
        if kind is BaseException or kind.__module__ == JobError.__module__
    )
    return nearest is JobError and _is_public(error)


def _words(error: BaseException) -> str:
    """Return the text of an exception, or what else tells of it."""
    text = _text(error)
    if is_of(error, BaseExceptionGroup):
        leaves = leaves_of(error)
        told = "; ".join(map(_line, leaves[:MOST_TOLD]))
        more = "; …" if len(leaves) > MOST_TOLD else ""
        return f"{text}: {told}{more}"
    return text or _cause_of(error)


def _cause_of(error: BaseException) -> str:
    """Return the first cause of *error* that has a text, or nothing."""
    # not for ever: an exception may be its own cause
    for _ in range(MOST_TOLD):
        cause = error.__cause__
        if cause is None:
            break
        if _text(cause):
            return _line(cause)
        error = cause
    return ""


def _line(error: BaseException) -> str:
    text = _cut(_text(error))
    kind = type(error).__qualname__
    return f"{kind}: {text}" if text else kind


def _translatable(error: BaseException, text: str) -> str:
    """Return the text of an exception, with what it is translated by."""
    # its attributes, and what a translation string mentions, may raise
    with contextlib.suppress(BaseException):
        said = str(error)  # __str__ may return a translation string
        if not isinstance(said, TranslationString):
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
        if isinstance(text, TranslationString):
            text = text.interpolate()
    except BaseException:  # noqa: BLE001 - it may raise whatever it likes
        return f"(the text of this {type(error).__qualname__} raises)"
    if issubclass(type(error), SystemExit):
        return f"The job called sys.exit({text})"
    return str.__str__(text)  # __str__ may have returned a subclass of str


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"


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
        # the cause itself stays behind
        if not _text(error) and (cause := _cause_of(error)):
            error.add_note(f"caused by {cause}")
        envelope = dump(error, connections)
        if not envelope.objects and len(envelope.data) <= LARGEST_PICKLE:
            # try it now: who loads the pickle later could do nothing about
            # a copy that cannot be shown
            str(load(*envelope))
            return envelope.data
    told = _cut(_words(error))
    return as_bytes(JobError(f"{type(error).__qualname__}: {told}"))


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
