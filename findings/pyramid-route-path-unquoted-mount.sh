#!/usr/bin/env bash
# Pyramid's route_path() does not quote the path that the application is at.
#
# Packages: pyramid 2.1, WebOb 1.8.11.
# CPython 3.11, 3.12 and 3.13.
#
# An application is mounted below a path, which is SCRIPT_NAME in the environ,
# decoded as WSGI has it. A view asks for the URL of a route, and for its path.
#
# One expects that route_path() is the path of what route_url() gives, ready
# for an attribute or a Location, as the parts that the route itself fills in
# are quoted by both.
#
# route_url() quotes the mount, as it builds on application_url. route_path()
# puts the decoded SCRIPT_NAME there as it is, and so do static_path() and
# current_route_path(). A browser mends spaces and letters, but takes what
# comes after "?" for the query, and a "%" for the begin of an escape.
#
# What was seen:
#> mounted at /shop
#>   route_url   http://localhost/shop/books/a%20b
#>   route_path  /shop/books/a%20b
#>   static_path /shop/static/style.css
#> mounted at /à la carte
#>   route_url   http://localhost/%C3%A0%20la%20carte/books/a%20b
#>   route_path  /à la carte/books/a%20b
#>   static_path /à la carte/static/style.css
#> mounted at /50%
#>   route_url   http://localhost/50%25/books/a%20b
#>   route_path  /50%/books/a%20b
#>   static_path /50%/static/style.css
#> mounted at /what?
#>   route_url   http://localhost/what%3F/books/a%20b
#>   route_path  /what?/books/a%20b
#>   static_path /what?/static/style.css
#
# For an application that may be mounted anywhere: take the path from
# route_url(), by request.route_url(...).removeprefix(request.host_url). That
# is what we do for the Location of a job.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install pyramid==2.1 WebOb==1.8.11 setuptools==81.0.0

"$work/venv/bin/python" --version
PYTHONIOENCODING=utf-8 "$work/venv/bin/python" -W ignore - >"$work/seen" <<'EOF'
import os

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response


def view(request):
    print(f"  route_url   {request.route_url('book', title='a b')}")
    print(f"  route_path  {request.route_path('book', title='a b')}")
    print(f"  static_path {request.static_path(os.getcwd() + '/style.css')}")
    return Response()


config = Configurator()
config.add_static_view("static", os.getcwd())
config.add_route("view", "/view")
config.add_view(view, route_name="view")
config.add_route("book", "/books/{title}")
app = config.make_wsgi_app()
for mount in "/shop", "/à la carte", "/50%", "/what?":
    print(f"mounted at {mount}")
    request = Request.blank("/view")
    request.environ["SCRIPT_NAME"] = mount.encode().decode("latin-1")
    request.get_response(app)
EOF

cat "$work/seen"
if ! diff <(sed -n 's/^#> //p' "$0") "$work/seen" >"$work/differences"; then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
