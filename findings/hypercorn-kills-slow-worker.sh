#!/usr/bin/env bash
# The workers of hypercorn that stop last are killed as soon as the first one
# has stopped.
#
# Packages: hypercorn 0.18.0. CPython 3.11 and 3.13.
#
# At SIGTERM hypercorn has each worker stop: requests that are under way may end,
# and then the application is told to shut down, for which it has
# --shutdown-timeout (60 s by default).
#
# One expects that each worker has that time.
#
# When the first worker has ended, the main process calls terminate() of all of
# them. The other worker below needs two seconds to shut down, as one may that
# sends what it has gathered. With one worker it gets to the end; of two
# workers it gets killed in the middle, without a word. The exit code is 0.
#
# What was seen:
#> one worker: shuts down, has shut down; exit code 0
#> two workers: shuts down; exit code 0
#
# For an application: run hypercorn with one worker, several times if need be.
# Or handle SIGTERM in the workers, and set daemon = false: with true, which is
# the default, the main process sends the signal again when it ends, and does
# not wait for them.
set -euo pipefail

work=$(mktemp -d)
server=
trap 'test -z "$server" || kill -KILL "$server" 2>/dev/null; rm -rf "$work"' \
    EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install hypercorn==0.18.0
"$work/venv/bin/python" --version

cat >"$work/site_app.py" <<'EOF'
import asyncio
import os
from contextlib import suppress
from pathlib import Path


def say(text):
    with Path("said").open("a") as file:
        file.write(f"{text}\n")


async def application(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    Path(f"started{os.getpid()}").touch()
    await receive()
    # one of the workers has more to do
    with suppress(FileExistsError):
        Path("slow").mkdir()
        say("shuts down")
        await asyncio.sleep(2)
        say("has shut down")
    await send({"type": "lifespan.shutdown.complete"})
EOF

stop() {
    local name=$1 workers=$2 code=0
    mkdir "$work/$workers"
    (
        cd "$work/$workers"
        PYTHONPATH=$work exec "$work/venv/bin/hypercorn" --bind 127.0.0.1:0 \
            --workers "$workers" site_app:application
    ) >"$work/log" 2>&1 &
    server=$!
    # the interpreter of each worker has to start
    for _ in $(seq 300); do
        [ "$(find "$work/$workers" -name 'started*' | wc -l)" != "$workers" ] ||
            break
        sleep 0.1
    done
    kill -TERM "$server"
    wait "$server" || code=$?
    server=
    # longer than the slow one needs
    sleep 4
    echo "$name: $(paste -sd, "$work/$workers/said" | sed 's/,/, /g');" \
        "exit code $code"
}

{
    stop "one worker" 1
    stop "two workers" 2
} >"$work/seen"

cat "$work/seen"
if ! diff <(sed -n "s/^#> //p" "$0") "$work/seen" >"$work/differences"
then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
