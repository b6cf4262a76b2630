"""The sids of jobs in the database, which contain where the record is."""

import binascii
import functools
import hashlib
import hmac
from typing import NamedTuple

from ..jobs.model import may_be_sid

__all__ = [
    "SIGNATURE",
    "PageKey",
    "Place",
    "is_signed",
    "make_sid",
    "new_sid",
    "path_of",
    "place_of",
    "sid_of",
    "signature",
    "split_own",
    "split_path",
    "split_sid",
]

#: The key of a page, or of a record of format 1: in the trees of its slice it
#: is 16 random bytes; in a shard, the numbers of that and of the page.
PageKey = bytes | tuple[int, int]

#: How many bytes sign the path in a sid.
SIGNATURE = 16

#: How many characters stand for 16 bytes.
_WIDTH = 22

#: The characters of Base64 that have others in URLs, and the other way round.
_STANDARD = str.maketrans("-_", "+/")
_IN_URLS = bytes.maketrans(b"+/", b"-_")

#: How many new sids are remembered at most.
MOST_NEW = 1024


class Place(NamedTuple):
    """Where the record of a job is, as its sid tells."""

    #: The number of the slice.
    number: int
    page: PageKey
    #: The index of the job in its block; ``None`` if the page is the job.
    cell: int | None = None
    #: What proves that the sid was not guessed. Without one, the key of the
    #: page does.
    signature: bytes = b""


def path_of(page: PageKey, index: int | None) -> str:
    """Return the part of a sid that tells where in the slice a record is.

    Args:
        page: the key of the page.
        index: the index of the job in its block; ``None`` if it is in none.
    """
    if isinstance(page, bytes):
        path = _text(page)
        return path if index is None else f"{path}.{index:x}"
    shard, number = page
    if index is None:
        return f"{shard:x}.{number:x}"
    return f"{shard:x}.{number:x}.{index:x}"


def make_sid(place: Place) -> str:
    """Return the sid of a job.

    Args:
        place: where its record is.
    """
    number, page, index, signature = place
    path = path_of(page, index)
    if not signature:
        return f"{number:x}-{path}"
    return f"{number:x}-{path}-{_text(signature)}"


def sid_of(
    number: int, page: PageKey, secret: bytes, index: int | None = None
) -> str:
    """Return the sid of a job, signed by the secret of its page.

    A page that was given back is written by another transaction later. So its
    secret is made anew each time, and nobody knows the next one.

    Args:
        number: the number of the slice.
        page: the key of the page in it.
        secret: 16 random bytes that the page has since it was written.
        index: the index of the job in its block, if it is in one.
    """
    return make_sid(place_of(number, page, secret, index))


def place_of(
    number: int, page: PageKey, secret: bytes, index: int | None
) -> Place:
    """Return what the sid that :func:`sid_of` returns tells.

    Args:
        number: the number of the slice.
        page: the key of the page in it.
        secret: that of the page.
        index: the index of the job in its block; ``None`` if it is in none.
    """
    if index is None and isinstance(page, bytes):
        return Place(number, page)
    return Place(number, page, index, signature(secret, index))


#: The places that new sids tell. The process that has made a sid nearly always
#: is the next one that splits it.
_new: dict[str, Place] = {}


def new_sid(place: Place) -> str:
    """Return the sid of a new job, which is split soon.

    Args:
        place: where its record is.
    """
    sid = make_sid(place)
    if len(_new) >= MOST_NEW:
        _new.clear()  # in one step, whatever other threads do
    _new[sid] = place
    return sid


def signature(secret: bytes, index: int | None) -> bytes:
    """Return what signs the sid of a job on a page.

    Args:
        secret: that of the page.
        index: the index of the job in its block, if it is in one; that of one
            job does not tell that of another.
    """
    if index is None:
        return secret
    return hashlib.blake2b(
        b"%d" % index, digest_size=SIGNATURE, key=secret
    ).digest()


def is_signed(place: Place, secret: bytes) -> bool:
    """Return whether :func:`sid_of` has made the sid of a place.

    Args:
        place: what a sid says.
        secret: that of the page that is there; a record of format 1 has none.
    """
    if place.cell is None and isinstance(place.page, bytes):
        return True  # its key is as random
    return bool(secret) and hmac.compare_digest(
        signature(secret, place.cell), place.signature
    )


def split_sid(sid: str) -> Place:
    """Return where the record of a job is.

    Args:
        sid: the sid of the job; it may come from a client.

    Raises:
        ValueError: :func:`make_sid` does not make such a sid.
    """
    # first, since what is known of the others is remembered
    if not (isinstance(sid, str) and may_be_sid(sid)):
        raise ValueError("no sid of a job in the database")
    return _split(sid)


def split_own(sid: str) -> Place:
    """Do what :func:`split_sid` does, for the sid of a job of this process.

    Those of clients are not for this: it is not checked, which takes a third
    of the work.

    Args:
        sid: the sid of the job.
    """
    return _new.get(sid) or _parse(sid)


@functools.lru_cache(maxsize=1024)
def _split(sid: str) -> Place:
    """Do what :func:`split_sid` does, for what is short enough."""
    place = _parse(sid)
    is_key = place.cell is None and isinstance(place.page, bytes)
    # int() and a2b_base64() accept more than make_sid() makes. A job must
    # have one sid only: jobs in memory are found by it.
    if make_sid(place) != sid or is_key == bool(place.signature):
        raise ValueError(sid)
    return place


def _parse(sid: str) -> Place:
    """Return what a sid tells, without a check whether it is one."""
    first, _, rest = sid.partition("-")
    return Place(int(first, 16), *_page_and_signature(rest))


def _page_and_signature(rest: str) -> tuple[PageKey, int | None, bytes]:
    """Split what follows the number of the slice in a sid."""
    # the key of a page in a tree may have a hyphen
    width = _WIDTH if rest[_WIDTH : _WIDTH + 1] in {"", "."} else 0
    end = rest.find("-", width)
    if end < 0:
        return *split_path(rest), b""
    return *split_path(rest[:end]), _bytes(rest[end + 1 :])


def split_path(path: str) -> tuple[PageKey, int | None]:
    """Return the page and the index that :func:`path_of` was called with.

    Args:
        path: what that has returned.

    Raises:
        ValueError: it does not return such a path.
    """
    page: PageKey
    if len(path) >= _WIDTH:
        page, index = _bytes(path[:_WIDTH]), path[_WIDTH + 1 :]
    else:
        shard, number, *last = path.split(".", 2)
        page, index = (int(shard, 16), int(number, 16)), "".join(last)
    return page, int(index, 16) if index else None


def _text(data: bytes) -> str:
    # by hand, which takes half of the work of base64.urlsafe_b64encode()
    standard = binascii.b2a_base64(data, newline=False)
    return standard.translate(_IN_URLS, b"=").decode()


def _bytes(text: str) -> bytes:
    # by hand, which takes a third of the work of base64.b64decode()
    standard = text.translate(_STANDARD) + "=="
    data = binascii.a2b_base64(standard, strict_mode=True)
    if len(data) != SIGNATURE:
        raise ValueError(text)
    return data
