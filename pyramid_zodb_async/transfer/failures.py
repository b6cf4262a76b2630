"""What remains of an exception when it leaves its thread."""

import contextlib
import pickle

from ..exceptions import JobError
from ..interfaces import Connections
from ..jobs.model import Failure
from .references import dump

__all__ = ["as_bytes", "describe", "loaded_exception", "pickled_exception"]


#: A longer text is cut: whoever asks for the job loads it, and it is told.
LONGEST_TEXT = 10_000


def describe(
    error: BaseException,
    public: tuple[type[BaseException], ...] = (),
) -> Failure:
    """Tell *error* as plain data.

    Its text is public if it is a :class:`JobError` for people, or one of
    *public*.
    """
    return Failure(
        type=type(error).__qualname__,
        message=_text(error),
        public=isinstance(error, public)
        or (isinstance(error, JobError) and bool(error.public)),
    )


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - it may raise whatever it likes
        return f"(the text of this {type(error).__qualname__} raises)"
    if isinstance(error, SystemExit):
        return f"The job called sys.exit({text})"
    text = str.__str__(text)  # what it gave may be of a class of its own
    if len(text) > LONGEST_TEXT:
        text = text[:LONGEST_TEXT] + "…"
    return text


def pickled_exception(error: BaseException, connections: Connections) -> bytes:
    """Give a pickle of *error* without its traceback.

    An exception that does not survive pickling, that holds persistent
    objects or that cannot be printed is replaced by a :class:`JobError` that
    tells of it.
    """
    # its methods may raise whatever they like
    with contextlib.suppress(BaseException):
        dumped = dump(error, connections)
        if not dumped.shared:
            str(dumped.load(connections))
            return dumped.data
    return as_bytes(JobError(f"{type(error).__qualname__}: {_text(error)}"))


def as_bytes(error: JobError) -> bytes:
    """Give a pickle of an error of ours."""
    return pickle.dumps(error)


def loaded_exception(data: bytes) -> BaseException:
    """Give the exception of a pickle of ours, or a stand-in if it is gone."""
    try:
        error: BaseException = pickle.loads(data)  # noqa: S301 - we made it
    except Exception as problem:  # noqa: BLE001 - classes raise what they like
        return JobError(
            "The exception of the job cannot be loaded any more"
            f" ({type(problem).__qualname__}: {problem})"
        )
    return error
