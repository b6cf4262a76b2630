"""Clients that schedule jobs until they are told to stop."""

import contextlib
import random
import threading
from urllib.parse import urlencode

from processes import UNREACHABLE


class Load:
    """Threads that ask servers for jobs, one at a time each.

    Args:
        servers: whom to ask, by chance.
        clients: the number of threads.
        pause: the longest time between two requests, in seconds.
    """

    def __init__(self, servers, clients=2, pause=0.06):
        self._servers = servers
        self._pause = pause
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        #: The numbers of the jobs whose request was answered with a 200.
        self.answered = []
        #: How many requests got another answer, or none.
        self.refused = 0
        self._threads = [
            threading.Thread(target=self._work, args=(f"c{client}",))
            for client in range(clients)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self, client):
        number = 0
        while not self._stopping.wait(random.uniform(0, self._pause)):
            number += 1
            name = f"{client}-{number}"
            server = random.choice(self._servers)
            good = schedule(server, [("count", name)])
            with self._lock:
                if good:
                    self.answered.append(name)
                else:
                    self.refused += 1


def schedule(server, jobs):
    """Have jobs scheduled; whether the server says that they are.

    *jobs* are pairs of a function in :mod:`counting` and a number.
    """
    with contextlib.suppress(*UNREACHABLE):
        status, _ = server.ask(f"/schedule?{urlencode(jobs)}", "POST")
        return status == 200
    return False
