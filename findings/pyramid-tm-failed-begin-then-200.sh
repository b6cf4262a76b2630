#!/usr/bin/env bash
# A request is retried and answered with 200, but nothing was committed.
#
# Packages: pyramid 2.1, pyramid_tm 2.6, pyramid_retry 2.1.1,
# pyramid_zodbconn 0.8.1, ZODB 6.4, transaction 5.1.
# CPython 3.11, 3.12 and 3.13.
#
# The start of a transaction can fail for a moment: it asks everybody who
# wants to know of new transactions, a client of a storage for instance. Such
# an error may be a TransientError, which asks for another attempt.
#
# One expects that pyramid_retry makes another attempt, and that pyramid_tm
# begins and commits a transaction for it like for any other.
#
# The other attempt is made, the view runs, and the client gets its 200. But
# what the view wrote is thrown away. pyramid_tm puts the mark "tm.active" into
# the environ before it begins the transaction, and leaves it there when that
# fails. All attempts have the same environ, so the next one looks like a
# request whose transaction somebody else will commit. Nobody does.
#
# What was seen:
#> begin fails 0 times: 200, view ran in attempt [0], it answered 1, stored 1
#> begin fails 1 times: 200, view ran in attempt [1], it answered 2, stored 1
#> begin fails 0 times: 200, view ran in attempt [0], it answered 2, stored 2
#
# For an application: after an outage of a moment a user is told that all is
# well, and the data is not there. A tween over that of pyramid_tm helps, if it
# takes the keys "tm.active" and "tm.manager" out of the environ again when the
# request comes back. Ours does.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install pyramid==2.1 pyramid_tm==2.6 \
    pyramid_retry==2.1.1 pyramid_zodbconn==0.8.1 zodburi==3.0.0 ZODB==6.4 \
    transaction==5.1 WebTest==3.0.7 setuptools==81.0.0

"$work/venv/bin/python" --version
"$work/venv/bin/python" -I -W ignore - >"$work/seen" <<'EOF'
import transaction
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid_zodbconn import get_connection
from transaction.interfaces import TransientError
from webtest import TestApp


class Client:
    """Stands for one that has to ask its server when a transaction begins."""

    failures = 0

    def newTransaction(self, transaction):
        if self.failures:
            self.failures -= 1
            raise TransientError("the server is away for a moment")

    def beforeCompletion(self, transaction):
        pass

    afterCompletion = beforeCompletion


def count(request):
    attempts.append(request.environ["retry.attempt"])
    root = get_connection(request).root()
    root["count"] = root.get("count", 0) + 1
    return Response(str(root["count"]))


def look(request):
    return Response(str(get_connection(request).root()["count"]))


client = Client()
transaction.manager.registerSynch(client)

config = Configurator(settings={
    "retry.attempts": 3,
    "zodbconn.uri": "memory://",
})
for package in "pyramid_retry", "pyramid_tm", "pyramid_zodbconn":
    config.include(package)
for view in count, look:
    config.add_route(view.__name__, "/" + view.__name__)
    config.add_view(view, route_name=view.__name__)
app = TestApp(config.make_wsgi_app())

for failures in 0, 1, 0:
    attempts = []
    client.failures = failures
    answer = app.get("/count")
    print(
        f"begin fails {failures} times: {answer.status_int}, view ran in"
        f" attempt {attempts}, it answered {answer.text},"
        f" stored {app.get('/look').text}"
    )
EOF

cat "$work/seen"
if ! diff <(sed -n 's/^#> //p' "$0") "$work/seen" >"$work/differences"; then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
