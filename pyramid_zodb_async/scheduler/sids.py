"""The sids of jobs in the database, which contain where the record is."""

import base64
import functools

from ..jobs.model import may_be_sid

__all__ = ["make_sid", "split_sid"]


def make_sid(number: int, key: bytes) -> str:
    """Return the sid of a job.

    Args:
        number: the number of the slice that contains the record.
        key: the key of the record in the slice, 16 random bytes.
    """
    text = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
    return f"{number:x}-{text}"


def split_sid(sid: str) -> tuple[int, bytes]:
    """Return where the record of a job is.

    Args:
        sid: the sid of the job; it may come from a client.

    Returns:
        The number of the slice, and the key of the record in it.

    Raises:
        ValueError: :func:`make_sid` does not make such a sid.
    """
    # first, since what is known of the others is remembered
    if not (isinstance(sid, str) and may_be_sid(sid)):
        raise ValueError("no sid of a job in the database")
    return _split(sid)


@functools.lru_cache(maxsize=1024)
def _split(sid: str) -> tuple[int, bytes]:
    """Do what :func:`split_sid` does, for what is short enough."""
    first, _, text = sid.partition("-")
    number = int(first, 16)
    key = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    # int() and b64decode() accept more than make_sid() makes. A job must
    # have one sid only: jobs in memory are found by it.
    if make_sid(number, key) != sid or len(key) != 16:  # noqa: PLR2004
        raise ValueError(sid)
    return number, key
