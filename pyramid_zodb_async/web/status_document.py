"""The status document of a job, and the responses that contain it."""

import dataclasses
import datetime
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pyramid.i18n import TranslationString
from pyramid.renderers import render
from pyramid.response import Response
from transaction.interfaces import TransientError

from ..concurrency.loggers import get_logger
from ..exceptions import (
    JobCancelled,
    JobError,
    JobNotLoadable,
    ResultNotRenderable,
)
from ..jobs.exception_groups import is_of
from ..jobs.model import Failure, JobState, JobView
from ..jobs.translations import TranslatableText
from ..transfer.failures import describe
from .answer_headers import NO_SNIFFING
from .problem_documents import NOT_SHARED

__all__ = [
    "localized",
    "not_modified_response",
    "status_list_response",
    "status_response",
]

log = get_logger(__name__)

#: How many bytes the documents of a list may have together. Where a document
#: of a job that has ended would make it more, it is not in the list.
MOST_BYTES = 4 * 2**20

#: The types of values that contain no others, and are not translated.
PLAIN = frozenset({str, int, float, bool, type(None)})

#: After how many bytes, with those of documents that were too large, no
#: further result is rendered for a list. Only then is its size known.
MOST_RENDERED = 4 * MOST_BYTES

#: How deep in a result to search for what cannot be rendered.
DEEPEST = 20

#: A path that cannot be taken for a URL of another host.
_PATH = re.compile(r"/(?![/\\])[!-~]*")


class AcceptedResponse(Response):  # type: ignore[misc]
    """A *202 Accepted* whose ``Location`` is sent as the path that it is.

    WebOb would make an absolute URL of it, with the ``Host`` that a proxy has
    put in the place of the one that the client knows.
    """

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Send the response, as a WSGI application."""
        location = self.location

        def start(
            status: str, headers: list[tuple[str, str]], *exc_info: Any
        ) -> Any:
            if location and _PATH.fullmatch(location):
                headers = [
                    (name, location if name.lower() == "location" else value)
                    for name, value in headers
                ]
            return start_response(status, headers, *exc_info)

        sent: Iterable[bytes] = super().__call__(environ, start)
        return sent


def status_response(
    view: JobView, request: Any, status: int = 200
) -> Response:
    """Return a response with the status document of a job.

    Args:
        view: the view of the job.
        request: the request, which the JSON renderer gets.
        status: the HTTP status.
    """
    return _json_response(_render(view, request), status)


def status_list_response(
    views: dict[str, JobView | None], request: Any
) -> Response:
    """Return a response with the status documents of several jobs.

    Args:
        views: the views of the jobs, by sid, in the order of the documents;
            ``None`` for an unknown one.
        request: the request, which the JSON renderer gets.
    """
    documents = b", ".join(_render_within_limits(views, request))
    return _json_response(b'{"jobs": [' + documents + b"]}")


def _render_within_limits(
    views: dict[str, JobView | None], request: Any
) -> Iterator[bytes]:
    """Return the documents of several jobs, or what stands for them.

    A job that has ended and whose document would be too much is to be asked
    for alone.
    """
    given = rendered = 0
    for sid, view in views.items():
        if view is None:
            yield _substitute(sid, 404)
            continue
        if view.done and rendered > MOST_RENDERED:
            yield _substitute(sid, 413)
            continue
        document = _render(view, request)
        rendered += len(document)
        if view.done and given + len(document) > MOST_BYTES:
            yield _substitute(sid, 413)
            continue
        given += len(document)
        yield document


def _substitute(sid: str, status: int) -> bytes:
    """Return what stands for the document of a job in a list."""
    return json.dumps({"sid": sid, "status": status}).encode()


def _json_response(body: bytes, status: int = 200) -> Response:
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        NOT_SHARED,
        NO_SNIFFING,
    ]
    kind = AcceptedResponse if status == 202 else Response  # noqa: PLR2004
    return kind(app_iter=[body], status=status, headerlist=headers)


def not_modified_response() -> Response:
    """Return the response for a client that knows the document already."""
    return Response(status=304, headerlist=[NOT_SHARED, NO_SNIFFING])


def _render(view: JobView, request: Any) -> bytes:
    """Return the status document of a job.

    A result that cannot be loaded or rendered is replaced by an error.
    """
    document = _document(localized(view, request))
    if view.state is not JobState.SUCCEEDED:
        return json.dumps(document).encode()
    try:
        result = view.result
    except TransientError:
        raise  # the request is repeated
    except Exception as error:  # noqa: BLE001 - classes may raise anything
        _log_not_shown(view, error)
        reason = _not_loadable(error)
    else:
        try:
            shown = _translated(result, request)
            return _as_json(document | {"result": shown}, request)
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001 - renderers as well
            _log_not_shown(view, error)
            reason = _not_renderable(result, request)
    document["error"] = _error("The result cannot be shown", describe(reason))
    return _as_json(document, request)


def _not_loadable(error: Exception) -> JobError:
    if is_of(error, JobError):
        return error
    kind = type(error).__qualname__
    return JobNotLoadable(f"The result cannot be loaded ({kind})")


def _not_renderable(result: Any, request: Any) -> JobError:
    kind = _find_culprit(result, request).__qualname__
    return ResultNotRenderable(
        f"The result holds an object of the type {kind}, which the"
        " application's JSON renderer cannot render"
    )


def _log_not_shown(view: JobView, error: Exception) -> None:
    log.error(
        "The result of job %s cannot be shown: %s.",
        view.sid,
        view.function,
        exc_info=error,
        extra={"action": "result_not_shown", "sid": view.sid},
    )


def localized(view: JobView, request: Any) -> JobView:
    """Return a view whose texts for people are in the language of a request.

    Args:
        view: the view of a job.
        request: the request of whom it is shown to.
    """
    progress, failure, options = view.progress, view.failure, view.options
    texts = (
        progress and progress.message,
        failure and failure.message,
        options.title,
    )
    if not any(isinstance(text, TranslatableText) for text in texts):
        return view
    message, reason, title = (
        text.translate(request.localizer)
        if isinstance(text, TranslatableText)
        else text
        for text in texts
    )
    replace = dataclasses.replace
    return replace(
        view,
        progress=progress and replace(progress, message=message),
        failure=failure and replace(failure, message=reason),
        options=replace(options, title=title),
    )


def _translated(value: Any, request: Any) -> Any:
    """Return a result with its translation strings translated."""
    if not _has_translation_strings(value):
        return value
    return _with_translations(value, request.localizer)


def _has_translation_strings(value: Any) -> bool:
    parts, seen = [value], set()
    for part in parts:  # the loop appends to the list
        if isinstance(part, dict | list | tuple):
            if id(part) in seen:  # it may contain itself
                continue
            seen.add(id(part))
            inner = part.values() if isinstance(part, dict) else part
            # most of a large result, so without a turn of the loop each
            parts += [one for one in inner if type(one) not in PLAIN]
        elif isinstance(part, TranslationString):
            return True
    return False


def _with_translations(value: Any, localizer: Any) -> Any:
    if isinstance(value, TranslationString):
        return localizer.translate(value)
    if isinstance(value, dict):
        return {
            key: _with_translations(part, localizer)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_with_translations(part, localizer) for part in value]
    return value


def _document(view: JobView) -> dict[str, Any]:
    """Return the status document of a job without its result."""
    document = {
        "sid": view.sid,
        "state": view.state,
        "done": view.done,
        "progress": view.progress and dataclasses.asdict(view.progress),
        "attempt": view.attempt,
        "version": view.version,
        "scheduled": _timestamp(view.scheduled),
        "started": _timestamp(view.started),
        "finished": _timestamp(view.finished),
        "expires": _timestamp(view.expires),
    }
    if view.state is JobState.CANCELLED:
        document["error"] = {
            "type": JobCancelled.__qualname__,
            "title": "The job was cancelled",
        }
    if view.failure:
        is_undone = view.state is JobState.CANCELLED
        title = "The job was undone" if is_undone else "The job failed"
        document["error"] = _error(title, view.failure)
    return document


def _timestamp(moment: datetime.datetime | None) -> str | None:
    """Return a time in UTC in the format of RFC 3339, with milliseconds."""
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def _error(title: str, failure: Failure) -> dict[str, str]:
    error = {"type": failure.type, "title": title}
    if failure.public:
        error["detail"] = failure.message
    return error


def _as_json(value: Any, request: Any) -> bytes:
    """Render *value* by the JSON renderer of the application.

    Raises:
        ValueError: a number in it is infinite or NaN, which is not JSON.
        Exception: what the renderer raises if it cannot render *value*.
    """
    body = render("json", value, request=request)
    if not isinstance(body, bytes):
        # lone surrogates cannot be encoded as UTF-8; their escapes are JSON
        body = body.encode(errors="backslashreplace")
    # Only then, because parsing is slow; the word may also be in a string.
    if b"NaN" in body or b"Infinity" in body:
        json.loads(body, parse_constant=_refuse)
    return bytes(body)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _find_culprit(value: Any, request: Any, depth: int = 0) -> type:
    """Return the type of the innermost part that cannot be rendered."""
    if depth > DEEPEST:  # the value may contain itself
        return type(value)
    parts: Iterable[Any] = ()
    if isinstance(value, dict):
        parts = [part for item in value.items() for part in item]
    elif isinstance(value, list | tuple):
        parts = value
    for part in parts:
        try:
            _as_json(part, request)
        except TransientError:
            raise
        except Exception:  # noqa: BLE001 - a renderer may raise anything
            return _find_culprit(part, request, depth + 1)
    return type(value)
