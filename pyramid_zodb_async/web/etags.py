"""Entity tags of jobs, and their comparison with the headers of a request."""

import re
from typing import Any

from ..jobs.model import make_version, without_changes

__all__ = [
    "etag_of",
    "fits",
    "is_conditional",
    "known_etag",
    "knows_progress",
    "knows_runs",
]

#: What separates the versions of several jobs in a tag, and what stands for
#: an unknown job.
SEPARATOR, NONE = "_", "-"

#: How many tags of a header are read.
MOST_TAGS = 100

#: The part of a tag for one job, as this build or the former one writes it.
_VERSION = r"(?:-|(?:0|[1-9]\d{0,19})(?:\.done|\.\d{1,19}\.\d{1,19})?)"

#: What those who compress an answer on its way add to its tag. Only codings
#: are taken for that: what else follows may be somebody's hash of the answer,
#: and its beginning no version.
_CODING = r"(?:--?|[;:+.])(?:gzip|gz|br|zstd|deflate|df)"

#: A tag that :func:`etag_of` has made, with what was done to it on its way.
#: Two may add to it: Apache's mod_brotli adds to the tag of a 304 as well,
#: even if the client has sent a tag that it has added to already.
_TAG = re.compile(
    rf'(W/)?("?)({_VERSION}(?:{SEPARATOR}{_VERSION})*)'
    rf"({_CODING})?(?:{_CODING})?\2",
    re.ASCII,
)

#: The versions of the requested jobs, in the order in which the request names
#: them; ``None`` for an unknown job.
Versions = list[int | None]


def etag_of(versions: Versions) -> str:
    """Return the tag of some versions, in its quotes.

    Args:
        versions: the versions of the jobs that a response describes.
    """
    return f'"{SEPARATOR.join(map(_write, versions))}"'


def _write(version: int | None) -> str:
    """Return the part of a tag for one job."""
    return NONE if version is None else str(version)


def _read(text: str) -> int | None:
    """Return the version that a part of a tag stands for."""
    if text == NONE:
        return None
    if "." in text:
        return _read_former(text)
    return int(text)


def _read_former(text: str) -> int:
    """Return the version that a part of a tag of the former build stands for.

    Such tags come from pages that have got them from a process of that build,
    and so only while a deploy goes on and until these pages are closed. This
    can go in the version after 0.1.
    """
    run, rest = text.split(".", 1)
    if rest == "done":
        return make_version(int(run), done=True)
    progress, starts = map(int, rest.split("."))
    return make_version(int(run), changes=progress + starts)


def known_etag(request: Any, versions: Versions) -> str | None:
    """Return the tag of ``If-None-Match`` that allows *304 Not Modified*.

    It may stand for newer versions than *versions*: then the client has got
    them from a process that knows more of the jobs, and must not get older
    ones now.

    Args:
        request: the request.
        versions: the versions that this process knows.

    Returns:
        The tag as the client has sent it, so that its cache finds what it has
        by that; ``None`` if the client does not know these versions.
    """
    header = request.environ.get("HTTP_IF_NONE_MATCH")
    if header is None:
        return None
    if header.strip() == "*":
        return etag_of(versions)
    for tag, known in _tags_in(request, "If-None-Match", len(versions)):
        if all(map(_is_known, versions, known)):
            return tag
    return None


def _is_known(version: int | None, known: int | None) -> bool:
    """Return whether a client that knows *known* knows *version* as well."""
    if version is None or known is None:
        return version is known
    return known >= version


def knows_progress(request: Any, versions: Versions) -> bool:
    """Return whether a client knows the latest changes of all jobs.

    A client that sends no tag counts as one that knows everything.

    Args:
        request: the request.
        versions: the versions that this process knows.
    """
    return _knows(request, versions)


def knows_runs(request: Any, versions: Versions) -> bool:
    """Return whether a client knows everything except perhaps some progress.

    That a run has begun, or is to be repeated, counts as its progress. A
    client that sends no tag counts as one that knows everything.

    Args:
        request: the request.
        versions: the versions that this process knows.
    """
    return _knows(
        request,
        [
            None if version is None else without_changes(version)
            for version in versions
        ],
    )


def _knows(request: Any, versions: Versions) -> bool:
    """Return whether a client sends no tag, or one that covers *versions*."""
    if "If-None-Match" not in request.headers:
        return True
    return any(
        all(map(_is_known, versions, known))
        for _, known in _tags_in(request, "If-None-Match", len(versions))
    )


def is_conditional(request: Any) -> bool:
    """Return whether a change depends on the version of the job.

    Args:
        request: the request, which may have ``If-Match``.
    """
    return bool(request.headers.get("If-Match", "*").strip() != "*")


def fits(request: Any, version: int) -> bool:
    """Return whether ``If-Match`` allows a change of the job.

    It does if the client has seen the job in this run, and knows whether it
    has ended. Progress that the client does not know is no reason to refuse.

    Args:
        request: the request.
        version: the current version of the job.
    """
    return not is_conditional(request) or any(
        known is not None
        and without_changes(known) == without_changes(version)
        for _, (known,) in _tags_in(request, "If-Match", 1)
    )


def _tags_in(
    request: Any, header: str, count: int
) -> list[tuple[str, Versions]]:
    """Return the tags in a header that this module made for *count* jobs.

    Each comes as the client has got it, and with the versions in it. In
    ``If-Match`` tags count that were made weak as well, as they are where
    answers are compressed: it is for their versions that they are compared,
    and these are in there all the same.
    """
    found = []
    # a tag of this module has no comma in it
    tags = request.headers[header].split(",", MOST_TAGS)
    for tag in tags[:MOST_TAGS]:
        match = _TAG.fullmatch(tag.strip())
        if match is None:
            continue  # another server, or another resource, has made it
        weak, _, text, coding = match.groups("")
        versions = list(map(_read, text.split(SEPARATOR)))
        if len(versions) == count:
            found.append((f'{weak}"{text}{coding}"', versions))
    return found
