"""Measure how soon after a job's end the promise of jobs.js is resolved.

README.rst beside this file tells how to run it and how to read it.
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys

from machine import print_machine
from over_http import new_server
from processes import HERE

#: What the median is to stay below, in milliseconds.
WANTED = 30


def parse_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--jobs", type=int, default=200, help="of each kind, to wait for"
    )
    options = parser.parse_args()
    if shutil.which("node") is None:
        parser.exit(1, "This needs Node.js, on Debian: apt-get install nodejs")
    return options


def main():
    """Print the delays of each kind of job."""
    options = parse_options()
    # so that what was started is stopped
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    print_machine("pyramid", "waitress")
    with new_server(workers=5) as server:
        url = f"http://127.0.0.1:{server.port}"
        rows = json.loads(
            subprocess.run(
                ["node", HERE / "client.mjs", url, str(options.jobs)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
    print(
        "Milliseconds from the return of a job's function to the promise of"
        " jobs.js in Node,\nthe job's commit included, waiting in the process"
        " that runs it:"
    )
    print(f"{'':>38} {'p50':>7} {'p95':>7}")
    for name, delays in rows.items():
        cuts = statistics.quantiles(delays, n=100)
        print(f"{name:>38} {cuts[49]:>7.2f} {cuts[94]:>7.2f}")
    print(f"wanted of one job: a p50 below {WANTED}\n")


if __name__ == "__main__":
    main()
