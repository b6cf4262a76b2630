"""Measure what polls cost, beside a bare view of the same application.

README.rst beside this file tells how to run it and how to read it. Its name
is not http.py, for that would hide a module of the standard library.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from http_clients import ask_pages
from machine import print_machine
from processes import free_port, process, wait_for_port

PARTS = ("rates", "page", "ends")

#: How many connections wrk keeps busy.
CONNECTIONS = 8

#: What others are compared with.
BARE = ("/bare", {}, 200)

#: How many jobs there are for the browsers: so many tell of their progress,
#: one says nothing, and the others are behind them.
TELLING, BROWSERS = 3, 200

#: How long the browsers poll before anything is measured, in seconds: the
#: pace that the server sets depends on the polls of the last ten.
SETTLE = 12

#: How many pages are asked for per second.
PAGES = 20


class Server:
    """The application in a process of its own, and a connection to it."""

    def __init__(self, folder, port):
        self.folder = folder
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, path, headers=None, method="GET"):
        """Give the answer, and its body."""
        self._connection.request(method, path, headers=headers or {})
        response = self._connection.getresponse()
        return response, response.read()

    def schedule(self, kind):
        """Schedule a job; give its sid."""
        response, body = self.ask(f"/schedule/{kind}", method="POST")
        if response.status != 202:
            raise RuntimeError(f"No job: {response.status} {body!r}")
        return json.loads(body)["sid"]

    def etag(self, sid):
        """Give the entity tag of a job as it is."""
        response, _ = self.ask(f"/jobs/{sid}")
        return response.headers["ETag"]

    def used(self):
        """Give the seconds of processors that its process has used."""
        return json.loads(self.ask("/used")[1])

    def wait_for_state(self, sid, state):
        """Wait until a job is in that state."""
        while True:
            _, body = self.ask(f"/jobs/{sid}")
            if json.loads(body)["state"] == state:
                return
            time.sleep(0.02)


@contextlib.contextmanager
def new_server(workers):
    """Start the application on a new FileStorage."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = pathlib.Path(name), free_port()
        log = folder / "server.log"
        arguments = (
            "waitress",
            f"--listen=127.0.0.1:{port}",
            "--threads=4",
            # browsers keep theirs open, and by default 100 may
            "--connection-limit=1000",
            "--call",
            "http_app:make_app",
        )
        environ = {"BENCH_FOLDER": name, "BENCH_WORKERS": str(workers)}
        with process(*arguments, log=log, environ=environ):
            try:
                wait_for_port(port)
                yield Server(folder, port)
            except OSError:
                print(log.read_text(), file=sys.stderr)
                raise


# --- requests per second -----------------------------------------------------


def print_rates(options):
    """Print how many polls of each kind there can be."""
    print(
        f"Requests/s of wrk with {CONNECTIONS} connections, by turns, each"
        " just after one of /bare: median of the\nrounds; ratio to that /bare,"
        " its median (quartiles); and CPU time of the server's\nprocess: µs a"
        " request, and what /bare takes : what this takes"
    )
    print(f"{'':>30} {'req/s':>6} ratio {'':>14} {'CPU':>5} ratio")
    with new_server(workers=1) as server:
        kinds = prepare(server)
        pairs = measure_pairs(server, kinds, options)
    for name, (_, _, status) in kinds.items():
        rates, times = zip(*(ours for _, ours in pairs[name]), strict=True)
        of_rates = [ours[0] / bare[0] for bare, ours in pairs[name]]
        of_times = [bare[1] / ours[1] for bare, ours in pairs[name]]
        low, _, high = statistics.quantiles(of_rates)
        extent = f"({low:.2f} to {high:.2f})"
        print(
            f"{name:>26} {status} {statistics.median(rates):>6.0f}"
            f" {statistics.median(of_rates):>5.2f} {extent:>14}"
            f" {statistics.median(times):>5.0f}"
            f" {statistics.median(of_times):>5.2f}"
        )
    print(
        "wanted of unfinished jobs: at least 1.0, if possible 1.3, and more"
        " with a 304.\nwaitress closes the connection after a 304: compare"
        " with /bare, closed\n"
    )


def measure_pairs(server, kinds, options):
    """Give what was measured of /bare and of each kind, in pairs by kind."""
    pairs = {name: [] for name in kinds}
    for kind in kinds.values():
        load(server, 1, *kind)
    for _ in range(options.rounds):
        for name, kind in kinds.items():
            bare = load(server, options.seconds, *BARE)
            pairs[name].append((bare, load(server, options.seconds, *kind)))
    return pairs


def prepare(server):
    """Make jobs; give what to ask for by name: path, headers, status."""
    succeeded = server.schedule("one")
    server.wait_for_state(succeeded, "succeeded")
    running = server.schedule("stay")
    server.wait_for_state(running, "running")
    pending = server.schedule("one")
    known = {"If-None-Match": server.etag(running)}
    closed = {"Connection": "close"}
    unknown = running[:-4] + "0000"
    one = f"/jobs/{running}"
    return {
        "running": (one, {}, 200),
        "pending": (f"/jobs/{pending}", {}, 200),
        "succeeded, with its result": (f"/jobs/{succeeded}", {}, 200),
        "unknown": (f"/jobs/{unknown}", {}, 404),
        "running, known": (one, known, 304),
        "running, known, would wait": (one, known | {"Prefer": "wait=1"}, 304),
        "running, closed": (one, closed, 200),
        "/bare, closed": ("/bare", closed, 200),
    }


def load(server, seconds, path, headers, status):
    """Give requests per second, and µs of the server's CPU time for each.

    All must be answered with *status*.
    """
    response, _ = server.ask(path, headers)
    if response.status != status:
        raise RuntimeError(f"{path}: {response.status} instead of {status}")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    url = f"http://127.0.0.1:{server.port}{path}"
    used = server.used()
    told = subprocess.run(
        [*command, url], capture_output=True, text=True, check=True
    ).stdout
    used = server.used() - used
    requests = int(re.search(r"(\d+) requests in", told)[1])
    found = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    refused = int(found[1]) if found else 0
    if refused != (requests if status == 404 else 0):
        raise RuntimeError(f"{path} was not always answered alike:\n{told}")
    if "Prefer" in headers:
        time.sleep(1.2)  # those that wait are to be gone
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])
    return rate, 1e6 * used / requests


# --- a page beside the polls -------------------------------------------------


def print_page(options):
    """Print how long a page takes without and with browsers that poll."""
    print(
        f"Milliseconds that /page takes, {PAGES} a second, without and with"
        f" {BROWSERS} browsers\nthat poll an unfinished job each; medians of"
        " the rounds, by turns"
    )
    with new_server(workers=TELLING + 1) as server:
        kinds = TELLING * ["tell"] + (BROWSERS - TELLING) * ["stay"]
        sids = server.folder / "sids"
        sids.write_text("\n".join(map(server.schedule, kinds)))
        take(server, 2)
        alone, beside, seen = [], [], []
        for number in range(options.page_rounds):
            alone.append(cuts(take(server, options.page_seconds)))
            delays, counts = take_beside(server, options.page_seconds, number)
            beside.append(cuts(delays))
            seen.append(counts)
    print(f"{'':>12} {'p50':>7} {'p95':>7}")
    medians = [
        [statistics.median(column) for column in zip(*rows, strict=True)]
        for rows in (alone, beside)
    ]
    for name, row in zip(("without", "with"), medians, strict=True):
        print(f"{name:>12} {row[0]:>7.2f} {row[1]:>7.2f}")
    ratios = [more / less for less, more in zip(*medians, strict=True)]
    by_round = [
        more[1] / less[1] for less, more in zip(alone, beside, strict=True)
    ]
    print(
        f"{'ratio':>12} {ratios[0]:>7.2f} {ratios[1]:>7.2f}"
        f"   (wanted: p95 at most 2; of single rounds"
        f" {min(by_round):.2f} to {max(by_round):.2f})"
    )
    print_seen(seen, options.page_seconds)


def take(server, seconds):
    """Give the milliseconds that pages take."""
    taken = asyncio.run(ask_pages(server.port, seconds, PAGES))
    return [1000 * delay for delay in taken]


def take_beside(server, seconds, number):
    """Give the same while browsers poll, and what these have seen."""
    log = server.folder / f"browsers{number}.log"
    figures = (server.port, SETTLE, seconds, server.folder / "sids")
    with process("http_clients", *map(str, figures), log=log) as browsers:
        time.sleep(SETTLE)
        taken = take(server, seconds)
        if browsers.wait(30):
            raise RuntimeError(f"The browsers failed:\n{log.read_text()}")
    return taken, json.loads(log.read_text())


def cuts(delays):
    """Give p50 and p95."""
    parts = statistics.quantiles(delays, n=100)
    return parts[49], parts[94]


def print_seen(seen, seconds):
    """Print what the browsers have seen."""
    total = {
        name: sum(counts.get(name, 0) for counts in seen) / len(seen)
        for name in ("polls", "200", "304", "waited", "cpu")
    }
    print(
        f"The browsers asked {total['polls'] / seconds:.1f} times a second"
        f" ({total['200'] / total['polls']:.0%} got a 200,"
        f" {total['304'] / total['polls']:.0%} a 304);\n"
        f"{total['waited'] / seconds:.2f} a second waited. They took"
        f" {total['cpu']:.0%} of a core.\n"
    )


# --- from the end to the answer ----------------------------------------------


def print_ends(options):
    """Print how long after a job's end its poll is answered."""
    print(
        "Milliseconds from the return of a job's function to the answer of"
        " the request that\nwaits for it, its commit included, and whole"
        " requests beside it, idle:"
    )
    print(f"{'':>24} {'p50':>7} {'p95':>7}")
    with new_server(workers=2) as server:
        for _ in range(10):
            take_end(server)
        rows = [
            (
                take_request(server, "/bare", "GET"),
                take_request(server, "/write", "POST"),
                take_end(server),
            )
            for _ in range(options.ends)
        ]
    names = ("/bare", "/write, with its commit", "end to answer")
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        p50, p95 = cuts(column)
        print(f"{name:>24} {p50:>7.2f} {p95:>7.2f}")
    print()


def take_request(server, path, method):
    """Give the milliseconds of a request."""
    start = time.monotonic()
    server.ask(path, method=method)
    return 1000 * (time.monotonic() - start)


def take_end(server):
    """Give the milliseconds from a job's end to the answer."""
    sid = server.schedule("nap")
    headers = {"Prefer": "wait=10", "If-None-Match": server.etag(sid)}
    response, body = server.ask(f"/jobs/{sid}", headers)
    now = time.monotonic()
    if "Preference-Applied" not in response.headers:
        raise RuntimeError("The request was not allowed to wait")
    return 1000 * (now - json.loads(body)["result"])


def parse_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--part", action="append", choices=PARTS)
    add("--seconds", type=int, default=1, help="of each load")
    add("--rounds", type=int, default=9, help="of loads, by turns")
    add("--page-seconds", type=int, default=12, help="of each measurement")
    add("--page-rounds", type=int, default=4, help="of pages, by turns")
    add("--ends", type=int, default=200, help="jobs whose end to wait for")
    options = parser.parse_args()
    options.part = options.part or PARTS
    if "rates" in options.part and shutil.which("wrk") is None:
        parser.exit(1, "This needs wrk, on Debian: apt-get install wrk\n")
    return options


def main():
    """Print what is asked for."""
    options = parse_options()
    # so that what was started is stopped
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    start = time.perf_counter()
    print_machine("pyramid", "waitress")
    for part, show in (
        ("rates", print_rates),
        ("page", print_page),
        ("ends", print_ends),
    ):
        if part in options.part:
            show(options)
    print(f"This took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
