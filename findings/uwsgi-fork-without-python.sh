#!/usr/bin/env bash
# In the workers of uWSGI nothing is called that asked for it by
# os.register_at_fork().
#
# Packages: uWSGI 2.0.31, which is built here: that needs a C compiler and
# Python's headers. CPython 3.11 and 3.13.
#
# By default uWSGI loads the application once, and then forks its workers. A
# fork copies the thread alone that forks. So modules of Python, threading,
# logging and random among them, ask to be called in each child, to get new
# locks, threads or seeds there.
#
# One expects this in every child that runs Python, as after os.fork() below.
#
# uWSGI forks in C, and does not tell Python of it unless an option asks for
# that, py-call-osafterfork. To have threads, as this version has by default, is
# not enough.
#
# What was seen:
#> os.fork(): in a child, which was told
#> uWSGI: in a child, which was not told
#> uWSGI, lazy-apps: in the process that has loaded it
#
# For an application: set lazy-apps = true, with which each worker loads it
# after the fork. We compare pids to find out whether a process was forked, and
# start threads with the first request.
set -euo pipefail

work=$(mktemp -d)
server=
trap 'test -z "$server" || kill -KILL "$server" 2>/dev/null; rm -rf "$work"' \
    EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install uWSGI==2.0.31
"$work/venv/bin/python" --version

cat >"$work/site_app.py" <<'EOF'
import os

loaded_in, called = os.getpid(), []
os.register_at_fork(after_in_child=lambda: called.append(True))


def tell():
    if os.getpid() == loaded_in:
        return "in the process that has loaded it"
    return f"in a child, which was {'told' if called else 'not told'}"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [tell().encode()]


if __name__ == "__main__":
    child = os.fork()
    if child == 0:
        print("os.fork():", tell(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
EOF

cat >"$work/ask.py" <<'EOF'
import sys
import time
from urllib.request import urlopen

name, port = sys.argv[1:]
deadline = time.monotonic() + 60
while True:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            print(f"{name}: {answer.read().decode()}")
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
EOF

serve() {
    local name=$1 port
    shift
    port=$("$work/venv/bin/python" -c 'import socket
found = socket.create_server(("127.0.0.1", 0))
print(found.getsockname()[1])')
    (
        cd "$work"
        exec "$work/venv/bin/uwsgi" --master --processes 1 --die-on-term \
            --wsgi-file site_app.py --http-socket "127.0.0.1:$port" "$@"
    ) >"$work/log" 2>&1 &
    server=$!
    "$work/venv/bin/python" "$work/ask.py" "$name" "$port"
    kill -TERM "$server"
    wait "$server" || true
    server=
}

{
    "$work/venv/bin/python" "$work/site_app.py"
    serve uWSGI
    serve "uWSGI, lazy-apps" --lazy-apps
} >"$work/seen"

cat "$work/seen"
if ! diff <(sed -n "s/^#> //p" "$0") "$work/seen" >"$work/differences"
then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
