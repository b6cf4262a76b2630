"""The ids of jobs in the database, which tell where their records are."""

import base64
import functools

__all__ = ["make_sid", "split_sid"]


def make_sid(number: int, key: bytes) -> str:
    """Give the sid of a job of the slice *number*."""
    text = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
    return f"{number:x}-{text}"


def split_sid(sid: str) -> tuple[int, bytes]:
    """Give the number of the slice, and the key.

    Raises:
        ValueError: *sid* is none of ours, or no string at all.
    """
    if not isinstance(sid, str):
        raise ValueError(repr(sid))  # noqa: TRY004 - as one that is unknown
    return _split(sid)


@functools.lru_cache(maxsize=1024)
def _split(sid: str) -> tuple[int, bytes]:
    first, _, text = sid.partition("-")
    number = int(first, 16)
    key = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    if make_sid(number, key) != sid or len(key) != 16:  # noqa: PLR2004
        raise ValueError(sid)
    return number, key
