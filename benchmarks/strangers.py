"""The instructions of requests for jobs that the user may not see.

They are to be as many for a job of another user as for one that does not
exist: else the time that an answer takes would tell that there is such a job.
They are counted as in ``instructions.py``.
"""

import argparse
import contextlib
import gc
import json
import pathlib
import secrets
import shutil
import sys
import tempfile

import instructions
import lone
from pyramid.request import Request

from pyramid_zodb_async.scheduler.sids import make_sid, split_own

METHODS = {"GET": "", "DELETE": "", "POST": "/retry"}

#: How many jobs there are of each kind. Each is asked for once by each method
#: that counts, as for the first time something may have to be loaded.
JOBS = 40

UNKNOWN, OTHERS = "unknown", ("ended", "pending")


class Policy:
    """Takes some work to know a user, by a header."""

    def authenticated_userid(self, request):
        """Return what the header says."""
        user = request.headers.get("X-User")
        return user and "".join(sorted(user))

    identity = authenticated_userid

    def permits(self, request, context, permission):
        """Tell that the user is no operator."""
        return False


def be_counted(scheduler, repetitions):
    """Ask under callgrind, and print the names of what was counted."""
    meter = instructions.Meter()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        app = stack.enter_context(
            lone.application(
                Policy(),
                **{
                    "zodbconn.uri": f"file://{folder}/Data.fs",
                    "zodb_async.lease": 100_000,
                    "zodb_async.permission": "operate",
                    "zodb_async.scheduler": scheduler,
                },
            )
        )
        sids = _sids(app, scheduler)
        for do, times in ((lone.do, 5), (meter.do, repetitions)):
            for _ in range(times):
                _ask_for_all(app, sids, do)
            gc.collect()
            gc.disable()
    print(json.dumps(meter.names))


def _sids(app, scheduler):
    """Make the jobs of another user, and return iterators of their sids."""
    pending = [_put(app) for _ in range(JOBS)]
    app.engine.sids.clear()
    ended = [_put(app) for _ in range(JOBS)]
    while app.engine.sids:
        app.engine.run_next()
    if scheduler == "memory":
        unknown = [secrets.token_urlsafe(16) for _ in range(JOBS)]
    else:
        unknown = [_unlike(sid) for sid in ended]
    return {"unknown": unknown, "ended": ended, "pending": pending}


def _unlike(sid):
    """Return a sid as somebody makes it who knows all but what is random."""
    # not split_sid(), which would remember the sid of a job that exists
    place, guess = split_own(sid), secrets.token_bytes(16)
    if place.signature:
        return make_sid(place._replace(signature=guess))
    return make_sid(place._replace(page=guess))


def _put(app):
    """Schedule a job as bob."""
    with app.request() as request:
        request.headers["X-User"] = "bob"
        return request.schedule(lone.one)


def _ask_for_all(app, sids, do):
    """Ask by each method for the next job of each kind, as eve."""
    for method, suffix in METHODS.items():
        for kind, those in sids.items():
            those.append(those.pop(0))
            path = f"/jobs/{those[-1]}{suffix}"
            request = Request.blank(path, method=method)
            request.headers["X-User"] = "eve"
            response = do(f"{method} {kind}", request.get_response, app.router)
            if response.status_int != 404:
                raise AssertionError(f"{method}: {response.status}")


def differences(counts):
    """Return by which part the counts of jobs differ from unknown ones.

    Args:
        counts: the instructions, by method and kind.
    """
    return {
        f"{method} {kind}": counts[f"{method} {kind}"]
        / counts[f"{method} {UNKNOWN}"]
        - 1
        for method in METHODS
        for kind in OTHERS
    }


def main():
    """Count, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--scheduler",
        choices=("memory", "zodb"),
        default="zodb",
        help="what keeps the jobs (%(default)s)",
    )
    parser.add_argument(
        "--processes", type=int, default=2, help="how many (%(default)s)"
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        default=15,
        help="how often each counts in each process (%(default)s)",
    )
    parser.add_argument(
        "--counted", action="store_true", help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    valgrind = shutil.which("valgrind")
    if given.counted:
        be_counted(given.scheduler, given.repetitions)
    elif valgrind is None:
        print("There is no valgrind to count with: apt-get install valgrind")
    else:
        (counts,) = instructions.count(
            valgrind,
            given.processes,
            (
                f"--scheduler={given.scheduler}",
                f"--repetitions={given.repetitions}",
            ),
            pathlib.Path(sys.argv[0]).resolve(),
        )
        for name, part in differences(counts).items():
            print(f"{counts[name] / 1000:7.1f} {100 * part:+6.1f} %  {name}")


if __name__ == "__main__":
    main()
