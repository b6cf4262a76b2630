"""What remains of an exception when it leaves its thread."""

import contextlib
import pickle

from .connections import Connections
from .exceptions import JobError
from .job import Failure
from .references import dump

__all__ = ["describe", "pickled_exception"]


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
        or (isinstance(error, JobError) and error.public),
    )


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - it may raise whatever it likes
        return f"(the text of this {type(error).__qualname__} raises)"
    if isinstance(error, SystemExit):
        return f"The job called sys.exit({text})"
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
    return pickle.dumps(
        JobError(f"{type(error).__qualname__}: {_text(error)}")
    )
