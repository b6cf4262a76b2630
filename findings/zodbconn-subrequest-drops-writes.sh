#!/usr/bin/env bash
# A subrequest that only reads the database undoes what its caller has written.
#
# Packages: pyramid 2.1, pyramid_tm 2.6, pyramid_zodbconn 0.8.1, ZODB 6.4,
# transaction 5.1.
# CPython 3.11, 3.12 and 3.13.
#
# A view writes on the ZODB, and asks another view by
# request.invoke_subrequest(). That one only reads.
#
# One expects that the write is committed with the request.
#
# The answer is 200, but the write is gone, and the hooks that were to run
# after its commit are not called. A subrequest gets a connection of its own
# from pyramid_zodbconn, which does not see what the caller has not committed.
# When the subrequest ends, so does the connection, and the transaction that it
# was opened in is aborted first. With pyramid_tm's default that is the
# transaction of the thread, thus the caller's as well. use_tweens=True changes
# nothing. With an explicit manager for each request it saves the write;
# without the tweens the subrequest raises an error there.
#
# What was seen:
#> default manager
#>   no subrequest: 200, hooks called 1, written 1, stored 1
#>   subrequest without the database: 200, hooks called 1, written 2, stored 2
#>   subrequest that reads: 200, hooks called 0, written 3, read 2, stored 2
#>   the same with tweens: 200, hooks called 0, written 3, read 2, stored 2
#> pyramid_tm.explicit_manager
#>   no subrequest: 200, hooks called 1, written 1, stored 1
#>   subrequest without the database: 200, hooks called 1, written 2, stored 2
#>   subrequest that reads: raises AssertionError
#>   the same with tweens: 200, hooks called 1, written 3, read 2, stored 3
#
# For an application: do not use subrequests to views that touch the database,
# or have tm.manager_hook = pyramid_tm.explicit_manager and use_tweens=True, so
# that the subrequest has a transaction of its own. For the same reason,
# whatever runs in the thread of a request, such as a job in a test, needs a
# transaction manager of its own. Our jobs have one.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install pyramid==2.1 pyramid_tm==2.6 \
    pyramid_zodbconn==0.8.1 zodburi==3.0.0 ZODB==6.4 transaction==5.1 \
    WebTest==3.0.7 setuptools==81.0.0

"$work/venv/bin/python" --version
"$work/venv/bin/python" -I -W ignore - >"$work/seen" <<'EOF'
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid_zodbconn import get_connection
from webtest import TestApp

CASES = {
    "no subrequest": (None, False),
    "subrequest without the database": ("/hello", False),
    "subrequest that reads": ("/look", False),
    "the same with tweens": ("/look", True),
}


def count(request):
    root = get_connection(request).root()
    root["count"] = root.get("count", 0) + 1
    told = f"written {root['count']}"
    request.tm.get().addAfterCommitHook(hooks.append)
    path, use_tweens = CASES[request.params["case"]]
    if path:
        subrequest = Request.blank(path)
        answer = request.invoke_subrequest(subrequest, use_tweens=use_tweens)
        if path == "/look":
            told += f", read {answer.text}"
    return Response(told)


def look(request):
    return Response(str(get_connection(request).root().get("count")))


def hello(request):
    return Response("hello")


for manager in "default manager", "pyramid_tm.explicit_manager":
    print(manager)
    settings = {"zodbconn.uri": "memory://"}
    if manager.startswith("pyramid_tm."):
        settings["tm.manager_hook"] = manager
    config = Configurator(settings=settings)
    config.include("pyramid_tm")
    config.include("pyramid_zodbconn")
    for view in count, look, hello:
        config.add_route(view.__name__, "/" + view.__name__)
        config.add_view(view, route_name=view.__name__)
    app = TestApp(config.make_wsgi_app())
    for case in CASES:
        hooks = []
        try:
            answer = app.get("/count", {"case": case})
        except AssertionError as error:
            print(f"  {case}: raises {type(error).__name__}")
            continue
        print(
            f"  {case}: {answer.status_int}, hooks called {len(hooks)},"
            f" {answer.text}, stored {app.get('/look').text}"
        )
EOF

cat "$work/seen"
if ! diff <(sed -n 's/^#> //p' "$0") "$work/seen" >"$work/differences"; then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
