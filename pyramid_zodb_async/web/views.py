"""The views of the job resources: show, cancel, forget and retry."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from pyramid.response import Response

from ..contracts import ITransactionJob
from ..interfaces import Connections, IScheduler
from ..jobs.model import JobView, may_be_sid
from .authorization import may
from .etags import (
    etag_of,
    fits,
    is_conditional,
    known_etag,
    knows_progress,
    knows_runs,
)
from .long_polling import wait_request_of
from .poll_pacing import IPollPacer
from .problem_documents import (
    forbidden_response,
    malformed_response,
    not_found_response,
    problem_response,
)
from .resources import JobResource, JobsResource, make_job_path
from .status_document import (
    not_modified_response,
    status_list_response,
    status_response,
)

__all__ = [
    "delete_job",
    "options",
    "refuse_method",
    "retry_job",
    "show_job",
    "show_jobs",
]

#: How many jobs a request may ask for at once.
MOST_JOBS = 100


def show_job(context: JobResource, request: Any) -> Response:
    """Return the status document of a job.

    The response is the same for a job that is unknown, has expired, or may
    not be seen.

    Args:
        context: the context, which has the sid.
        request: the request.
    """
    views = _read_jobs(request, [context.sid])
    view = views[context.sid]
    if view is None:
        return not_found_response()
    return _conditional(
        request,
        [view],
        functools.partial(status_response, view, request),
    )


def show_jobs(context: JobsResource, request: Any) -> Response:  # noqa: ARG001
    """Return the status documents of several jobs.

    Args:
        context: the context.
        request: the request, which has the sids in its query.
    """
    try:
        sids = request.GET.getall("sid")
    except UnicodeDecodeError:
        return malformed_response()
    if not 1 <= len(sids) <= MOST_JOBS:
        return problem_response(
            400,
            "Bad Request",
            f"Ask for 1 to {MOST_JOBS} jobs at once, as ?sid=…&sid=…; these"
            f" are {len(sids)}.",
        )
    # each of them once, at its first place
    views = _read_jobs(request, dict.fromkeys(sids))
    return _conditional(
        request,
        list(views.values()),
        functools.partial(status_list_response, views, request),
    )


def _read_jobs(request: Any, sids: Iterable[str]) -> dict[str, JobView | None]:
    """Return views of jobs by sid, after preparing for a wait."""
    wait_request = wait_request_of(request)
    if wait_request is not None:
        # before the jobs are read: a change in between must end the wait
        wait_request.watch(
            request.registry.getUtility(IScheduler),
            [sid for sid in sids if may_be_sid(sid)],
        )
    return {sid: request.jobs.glance(sid) for sid in sids}


def _conditional(
    request: Any,
    views: list[JobView | None],
    respond: Callable[[], Response],
) -> Response:
    """Return the response, or *304 Not Modified*, or let the request wait."""
    versions = [view.version if view else None for view in views]
    unfinished = [view for view in views if view and not view.done]
    known = known_etag(request, versions)
    wait_request = wait_request_of(request)
    if wait_request and unfinished and knows_runs(request, versions):
        wait_request.allow_wait(
            {view.sid: view.version for view in views if view},
            has_new_progress=not knows_progress(request, versions),
        )
        # not sent: the tween calls the view again after the wait
        return Response(status=304)
    response = not_modified_response() if known else respond()
    _describe(response, request, known or etag_of(versions), unfinished)
    return response


def _describe(
    response: Response, request: Any, etag: str, unfinished: list[JobView]
) -> None:
    """Add the headers of a status document."""
    headers = [("ETag", etag), ("Vary", "Prefer")]
    if unfinished:
        pacer = request.registry.getUtility(IPollPacer)
        backlog = request.registry.getUtility(IScheduler).backlog()
        seconds = pacer.retry_after(unfinished, backlog)
        headers.append(("Retry-After", str(seconds)))
    # All at once: a poll is so little work that setting them one by one takes
    # a noticeable part of it.
    response.headerlist += headers


def delete_job(context: JobResource, request: Any) -> Response:
    """Cancel a job, or forget it if it has ended.

    Args:
        context: the context, which has the sid.
        request: the request.
    """
    # Decided once, by the first transaction. If that conflicts because the
    # job has just ended, the repetition must not forget its outcome.
    is_cancel: bool | None = None

    def decide(job: ITransactionJob) -> Response | JobView | None:
        nonlocal is_cancel
        if is_cancel is None:
            is_cancel = not job.done
        action = "cancel" if is_cancel else "forget"
        if not may(request, job, action):
            return forbidden_response(action)
        if is_cancel:
            return job.cancel()
        job.remove()
        return Response(status=204)

    return _change(request, context.sid, decide, "cancelled or forgotten")


def retry_job(context: JobResource, request: Any) -> Response:
    """Have a failed job run again.

    Args:
        context: the context, which has the sid.
        request: the request.
    """

    def decide(job: ITransactionJob) -> Response | JobView | None:
        if not may(request, job, "retry"):
            return forbidden_response("retry")
        return job.retry()

    response = _change(request, context.sid, decide, "tried again")
    if response.status_int == 202:  # noqa: PLR2004 - of HTTP
        response.location = make_job_path(request, context.sid)
    return response


def _change(
    request: Any,
    sid: str,
    decide: Callable[[ITransactionJob], Response | JobView | None],
    note: str,
) -> Response:
    """Return the response to a change of a job.

    It is made in a transaction of its own. So a conflict with the job's own
    commit repeats only this transaction, and not the whole request.

    Args:
        request: the request.
        sid: the sid of the job.
        decide: returns a response that refuses the change, or is all there is
            to say; or makes the change, and returns the new view of the job,
            or ``None`` if the job was not in the state for it.
        note: what the history of the database shows of the change.
    """
    if not may_be_sid(sid):
        return not_found_response()
    scheduler = request.registry.getUtility(IScheduler)

    def work(own: Connections) -> Response:
        job: ITransactionJob | None = scheduler.find(sid, own)
        # before anything that depends on the state of the job, which only
        # those who may see it may learn
        if not may(request, job, "view") or job is None:
            return not_found_response()
        if is_conditional(request):
            view = job.view()
            if not fits(request, view.version):
                return _document(request, view, 412)
        decided = decide(job)
        if decided is None:
            # again, since a job in memory may have ended, or be gone, since
            # it was found
            job = scheduler.find(sid, own)
            if job is None:
                return not_found_response()
            return _document(request, job.view(), 409)
        if isinstance(decided, JobView):
            return _document(request, decided, 202)
        return decided

    response: Response = request.jobs.in_own_transaction(
        work, f"job {sid} is {note}"
    )
    return response


def _document(request: Any, view: JobView, status: int) -> Response:
    """Return the status document of a job."""
    response = status_response(view, request, status)
    etag = etag_of([view.version])
    _describe(response, request, etag, [] if view.done else [view])
    return response


def options(context: JobsResource, request: Any) -> Response:  # noqa: ARG001
    """Return the HTTP methods that the resource supports.

    Args:
        context: the context of the resource.
        request: the request.
    """
    response = Response(status=204)
    response.allow = context.methods
    return response


def refuse_method(context: JobsResource, request: Any) -> Response:
    """Refuse an HTTP method that the resource does not support.

    Args:
        context: the context of the resource.
        request: the request.
    """
    response = problem_response(
        405,
        "Method Not Allowed",
        f"This does not answer to {request.method}, only to"
        f" {', '.join(context.methods)}.",
    )
    response.allow = context.methods
    return response
