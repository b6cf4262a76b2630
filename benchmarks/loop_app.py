"""What closed_loop.py asks: an application with jobs, and a skeleton of it.

Both have the same protocol: POST answers 202 with the ``Location`` of a
document, GET answers with that document as JSON, whose ``state`` is
``succeeded`` at last, and DELETE answers 204.
"""

# ruff: noqa: SLF001 - the skeleton shares the database of the other one

import contextlib
import io
import json
import queue
import threading
import time
from urllib.parse import urlsplit

from batches import make_batched
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid_zodbconn import get_connection
from stack import (
    Runs,
    Small,
    committed_request,
    in_threads,
    schedule_calls,
)

#: What all requests have in common.
BLANK = Request.blank("/").environ

#: How long a client rests when a document shows no end yet, in seconds.
PAUSE = 0.001

#: How many jobs a request for many schedules.
HUNDRED = 100


def one():
    """Be a job with a result."""
    return 1


def one_batched():
    """Be the same in a batch, if this build has that."""
    return 1


def count(number):
    """Be a job with an argument, whose run is counted."""
    Runs.note()
    return number


def count_batched(number):
    """Be the same in a batch, if this build has that."""
    Runs.note()
    return number


#: Whether this build can run several jobs in one transaction.
HAS_BATCHES = make_batched(one_batched, count_batched)

#: The functions of jobs alone, and of those of requests for many.
ALONE = {"plain": one, "batched": one_batched}
COUNTED = {"plain": count, "batched": count_batched}


# --- the application with jobs -----------------------------------------------


def add_views(config):
    """Add the views that schedule jobs; the package has the others."""
    config.include("pyramid_retry")
    for view in (schedule, schedule_shortly, one_by_one, many):
        config.add_route(view.__name__, f"/{view.__name__}/{{kind}}")
        config.add_view(view, route_name=view.__name__, request_method="POST")


def schedule(request):
    """Schedule one job, and answer with its document."""
    sid = request.schedule(ALONE[request.matchdict["kind"]])
    return request.accepted(sid)


def schedule_shortly(request):
    """Schedule one job, and answer only where its document is."""
    sid = request.schedule(ALONE[request.matchdict["kind"]])
    return Response(status=202, headerlist=[("Location", f"/jobs/{sid}")])


def one_by_one(request):
    """Schedule a hundred jobs with a call for each."""
    function = COUNTED[request.matchdict["kind"]]
    for number in range(HUNDRED):
        request.schedule(function, number)
    return Response(status=202)


def many(request):
    """Schedule them with one call, where the build has that."""
    function = COUNTED[request.matchdict["kind"]]
    schedule_calls(request, function, ((number,) for number in range(HUNDRED)))
    return Response(status=202)


# --- its skeleton ------------------------------------------------------------


class Skeleton:
    """Requests that commit what a job would, with nothing of this package.

    POST commits a new object. A worker writes it in a request and a
    transaction of its own, as a job's run has them, and commits. DELETE
    commits nothing, or one more write of the object.

    Args:
        db: the database.
        commits: how many the way of an object has, 2 or 3.
        workers: how many objects are written at a time.
    """

    def __init__(self, db, commits, workers=2):
        config = Configurator(
            settings={"tm.manager_hook": "pyramid_tm.explicit_manager"}
        )
        for name in ("tm", "zodbconn", "retry"):
            config.include(f"pyramid_{name}")
        config.add_route("things", "/things")
        config.add_route("thing", "/things/{oid}")
        delete = self._delete_by_commit if commits == 3 else self._delete
        for view, route, method in (
            (self._post, "things", "POST"),
            (self._get, "thing", "GET"),
            (delete, "thing", "DELETE"),
        ):
            config.add_view(view, route_name=route, request_method=method)
        self.router = config.make_wsgi_app()
        self._registry = self.router.registry
        self._registry._zodb_databases[""] = db
        self._queue = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def close(self):
        """End the workers."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _post(self, request):
        small = Small()
        get_connection(request).add(small)
        oid = small._p_oid.hex()
        request.tm.get().addAfterCommitHook(self._hand_over, (oid,))
        return _document(
            "pending", status=202, headerlist=[("Location", f"/things/{oid}")]
        )

    def _hand_over(self, committed, oid):
        if committed:
            self._queue.put(oid)

    def _get(self, request):
        small = _small(request, request.matchdict["oid"])
        return _document("succeeded" if small.count else "pending")

    def _delete(self, _request):
        return Response(status=204)

    def _delete_by_commit(self, request):
        _small(request, request.matchdict["oid"]).count += 1
        return Response(status=204)

    def _work(self):
        while (oid := self._queue.get()) is not None:
            self.run(oid)

    def run(self, oid):
        """Write an object as a job's run would."""
        with committed_request(self._registry) as request:
            _small(request, oid).count += 1

    def run_rate(self, seconds):
        """Give such runs per second of two threads, and nothing beside."""
        start = time.perf_counter()
        end = start + seconds

        def work():
            with committed_request(self._registry) as request:
                small = Small()
                get_connection(request).add(small)
            oid, runs = small._p_oid.hex(), 0
            while time.perf_counter() < end:
                self.run(oid)
                runs += 1
            return runs

        runs = sum(in_threads(2, work))
        return runs / (time.perf_counter() - start)


def _small(request, oid):
    return get_connection(request).get(bytes.fromhex(oid))


def _document(state, *, headerlist=(), **options):
    body = json.dumps({"state": state, "result": 1}).encode()
    response = Response(body, content_type="application/json", **options)
    response.headerlist += headerlist
    return response


@contextlib.contextmanager
def new_skeleton(db, commits):
    """Give a skeleton, and end it."""
    skeleton = Skeleton(db, commits)
    try:
        yield skeleton
    finally:
        skeleton.close()


# --- who asks them -----------------------------------------------------------


class Client:
    """Asks a WSGI application, as a server would that has no sockets.

    Args:
        router: the application.
        path: that to which it posts.
    """

    def __init__(self, router, path):
        self._router = router
        self._path = path
        #: How many documents showed no end.
        self.early = 0

    def post(self):
        """Post, and return the path of the document."""
        headers, _ = self._ask("POST", self._path, "202")
        return urlsplit(headers["Location"]).path

    def post_alone(self):
        """Post what has no document."""
        self._ask("POST", self._path, "202")

    def follow(self, path):
        """Ask for the document until it shows a success, and delete it."""
        while True:
            document = json.loads(self._ask("GET", path, "200")[1])
            if document["state"] == "succeeded":
                break
            if document["state"] not in {"pending", "running"}:
                raise AssertionError(document)
            self.early += 1
            time.sleep(PAUSE)
        if document["result"] != 1:
            raise AssertionError(document)
        self._ask("DELETE", path, "204")

    def _ask(self, method, path, status):
        """Return the headers and the body of an answer."""
        environ = BLANK | {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "wsgi.input": io.BytesIO(),
        }
        started = []
        answer = self._router(environ, lambda *given: started.extend(given))
        body = b"".join(answer)
        if not started[0].startswith(status):
            raise AssertionError(f"{method} {path}: {started[0]}")
        return dict(started[1]), body
