"""Entity tags of jobs: which version a client has, and whether it is old."""

from typing import Any

from ..jobs.model import FIRST_VERSION, Version

__all__ = ["etag_of", "fits", "known_etag", "knows_progress", "knows_runs"]

#: Between the versions of several jobs, and in place of an unknown job's.
SEPARATOR, NONE = "_", "-"

Versions = list[Version | None]


def etag_of(versions: Versions) -> str:
    """Write versions as one tag, without quotes."""
    return SEPARATOR.join(map(_write, versions))


def _write(version: Version | None) -> str:
    if version is None:
        return NONE
    if version.done:
        return f"{version.run}.done"
    return f"{version.run}.{version.progress}.{version.starts}"


def _read(tag: str) -> Versions:
    """Give the versions that a tag stands for.

    Raises:
        ValueError: the tag is none of ours.
    """
    return [_read_one(part) for part in tag.split(SEPARATOR)]


def _read_one(text: str) -> Version | None:
    if text == NONE:
        return None
    run, _, rest = text.partition(".")
    if rest == "done":
        return Version(run=int(run), done=True)
    progress, starts = map(int, rest.split("."))
    return Version(run=int(run), progress=progress, starts=starts)


def known_etag(request: Any, versions: Versions) -> str | None:
    """Give the tag of ``If-None-Match`` that makes an answer needless.

    It may stand for newer versions than these: the client has them from a
    process that knows more of the jobs, and must not go back.
    """
    sent = request.environ.get("HTTP_IF_NONE_MATCH")
    if sent is None:
        return None
    if sent.strip() == "*":
        return etag_of(versions)
    for tag, known in _sent(request, "If-None-Match", len(versions)):
        if all(map(_is_known, versions, known)):
            return tag
    return None


def _is_known(version: Version | None, known: Version | None) -> bool:
    if version is None or known is None:
        return version is known
    return known >= version


def knows_progress(request: Any, versions: Versions) -> bool:
    """Tell whether a client knows of all progress.

    That a job has begun to run is not worth an answer to somebody who can
    wait. A client that sends no tag is taken for one that knows how things
    are.
    """
    return _knows(request, [_cut(version, 3) for version in versions])


def knows_runs(request: Any, versions: Versions) -> bool:
    """Tell whether a client knows everything but perhaps some progress."""
    return _knows(request, [_cut(version, 2) for version in versions])


def _knows(request: Any, versions: Versions) -> bool:
    if "If-None-Match" not in request.headers:
        return True
    return any(
        all(map(_is_known, versions, known))
        for _, known in _sent(request, "If-None-Match", len(versions))
    )


def _cut(version: Version | None, length: int) -> Version | None:
    """Give a version as it was when no more than its first parts were so."""
    return (
        Version._make(version[:length] + FIRST_VERSION[length:])
        if version
        else None
    )


def fits(request: Any, version: Version) -> bool:
    """Tell whether ``If-Match`` lets a change of the job through.

    It does if the client has seen this run, and that it has ended or not:
    that the job has made progress since is no reason to refuse.
    """
    if request.headers.get("If-Match", "*").strip() == "*":
        return True
    return any(
        known is not None and known[:2] == version[:2]
        for _, (known,) in _sent(request, "If-Match", 1)
    )


def _sent(request: Any, header: str, count: int) -> list[tuple[str, Versions]]:
    """Give the tags of ours in a header, for that many jobs."""
    name = header.lower().replace("-", "_")
    sent = []
    for tag in getattr(getattr(request, name), "etags", ()):
        try:
            versions = _read(tag)
        except ValueError:
            continue
        if len(versions) == count:
            sent.append((tag, versions))
    return sent
