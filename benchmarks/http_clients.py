"""Clients of the application of over_http.py.

As a program it is the browsers: each polls a job as the documentation tells
clients to. It prints what they have seen, as JSON. Its arguments are the port,
for how many seconds they poll before it counts, for how many it counts, and a
file with the sids of the jobs.
"""

import asyncio
import collections
import json
import pathlib
import random
import sys
import time

#: No client asks again sooner, in seconds.
LEAST_PAUSE = 0.2

#: By which part of it a pause may be longer, so that clients do not march.
JITTER = 0.2

#: Within so many seconds the browsers begin.
ARRIVAL = 2.0


class Connection:
    """A connection to the server that stays open where the server lets it."""

    def __init__(self, port):
        self._port = port
        self._reader = self._writer = None

    async def open(self):
        """Open it, unless it is open."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port
            )
        return self

    async def ask(self, path, headers=None):
        """Give the status, the headers and the body of the answer."""
        await self.open()
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [
            f"{name}: {value}" for name, value in (headers or {}).items()
        ]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *rest = head.rstrip().split("\r\n")
        answered = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest)
        }
        status = int(first.split()[1])
        length = 0 if status == 304 else int(answered["content-length"])
        body = await self._reader.readexactly(length)
        if answered.get("connection") == "close":  # waitress does after 304
            self.close()
        return status, answered, body

    def close(self):
        """Close it, if it is open."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


async def ask_pages(port, seconds, rate):
    """Ask for the page at random moments; give the seconds that each took.

    The moments are chosen before, and seconds count from there: that a slow
    answer delays the next question does not hide it.
    """
    idle = [await Connection(port).open() for _ in range(8)]
    clock = asyncio.get_running_loop().time
    taken = []

    async def ask(due):
        connection = idle.pop() if idle else Connection(port)
        status, _, _ = await connection.ask("/page")
        if status != 200:
            raise RuntimeError(f"The page was answered with {status}")
        taken.append(clock() - due)
        idle.append(connection)

    due = clock()
    end = due + seconds
    async with asyncio.TaskGroup() as group:
        while (due := due + random.expovariate(rate)) < end:
            await asyncio.sleep(due - clock())
            group.create_task(ask(due))
    for connection in idle:
        connection.close()
    return taken


class Browser:
    """One that waits for one job, which never ends."""

    def __init__(self, port, sid, seen):
        self._port = port
        self._path = f"/jobs/{sid}"
        self._seen = seen
        self._headers = {"Prefer": "wait=10"}

    async def poll(self):
        """Poll until it is cancelled."""
        await asyncio.sleep(random.uniform(0, ARRIVAL))
        connection = Connection(self._port)
        try:
            while True:
                pause = await self._ask(connection)
                pause *= random.uniform(1, 1 + JITTER)
                await asyncio.sleep(max(pause, LEAST_PAUSE))
        finally:
            connection.close()

    async def _ask(self, connection):
        status, headers, _ = await connection.ask(self._path, self._headers)
        self._headers["If-None-Match"] = headers["etag"]
        self._seen["polls"] += 1
        self._seen[str(status)] += 1
        self._seen["waited"] += "preference-applied" in headers
        return float(headers["retry-after"])


async def browse(port, before, seconds, sids):
    """Poll, and give what was seen in the last *seconds*."""
    seen = collections.Counter()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(Browser(port, sid, seen).poll()) for sid in sids
        ]
        await asyncio.sleep(before)
        seen.clear()
        start = time.process_time()
        await asyncio.sleep(seconds)
        counted = dict(seen)
        used = time.process_time() - start
        for task in tasks:
            task.cancel()
    return {**counted, "cpu": used / seconds}


def main():
    """Be the browsers."""
    port, before, seconds, name = sys.argv[1:]
    sids = pathlib.Path(name).read_text().split()
    seen = asyncio.run(browse(int(port), float(before), float(seconds), sids))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
