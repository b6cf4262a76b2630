"""The sids of jobs in the database, which contain where the record is."""

import base64
import functools

__all__ = ["make_sid", "split_sid"]


def make_sid(number: int, key: bytes) -> str:
    """Return the sid of a job.

    Args:
        number: the number of the slice that contains the record.
        key: the key of the record in the slice, 16 random bytes.
    """
    text = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
    return f"{number:x}-{text}"


@functools.lru_cache(maxsize=1024)
def split_sid(sid: str) -> tuple[int, bytes]:
    """Return where the record of a job is.

    Args:
        sid: the sid of the job; it may come from a client.

    Returns:
        The number of the slice, and the key of the record in it.

    Raises:
        ValueError: :func:`make_sid` does not make such a sid.
        TypeError: *sid* cannot be hashed.
    """
    if not isinstance(sid, str):
        raise ValueError(repr(sid))  # noqa: TRY004 - as for an unknown sid
    first, _, text = sid.partition("-")
    number = int(first, 16)
    key = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    # int() and b64decode() accept more than make_sid() makes. A job must
    # have one sid only: jobs in memory are found by it.
    if make_sid(number, key) != sid or len(key) != 16:  # noqa: PLR2004
        raise ValueError(sid)
    return number, key
