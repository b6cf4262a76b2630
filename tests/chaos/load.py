"""Clients that schedule and cancel jobs until they are told to stop."""

import contextlib
import json
import random
import threading
from urllib.parse import urlencode

from processes import UNREACHABLE

#: Kinds of jobs, as functions in :mod:`counting`; and how many of a hundred
#: are of each, and how many of their attempts are to fail.
KINDS = {
    "count": (60, 0),
    "count_a_while": (18, 0),
    "count_at_last": (18, 2),
    "count_in_time": (4, 2),
    "count_in_batch": (30, 0),
}

#: A further kind, and its share, where jobs are undone.
ALONE = "count_alone"
SHARE_ALONE = 25

#: Which share of the jobs waits for a moment, and is cancelled.
DELAYED, CANCELLED = 0.2, 0.2

#: Which share of the requests schedules several jobs at once, and how many at
#: most.
BULKS, MOST_AT_ONCE = 0.15, 12

#: How often a client asks that a job be undone, if there is one.
UNDONE = 0.1


class Load:
    """Threads that ask servers for jobs, one at a time each.

    Args:
        servers: whom to ask, by chance.
        clients: the number of threads.
        pause: the longest time between two requests, in seconds.
        is_enough: tells whether there are jobs enough for now.
        undoes: whether to undo some jobs; the storage must be able to.
    """

    def __init__(
        self,
        servers,
        clients=2,
        pause=0.06,
        is_enough=lambda: False,
        *,
        undoes=False,
    ):
        self._servers = servers
        self._shares = {kind: share for kind, (share, _) in KINDS.items()}
        if undoes:
            self._shares[ALONE] = SHARE_ALONE
        self._is_enough = is_enough
        self._pause = pause
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        #: The numbers of the jobs whose request was answered with a 200.
        self.answered = []
        #: How many requests got another answer, or none.
        self.refused = 0
        #: What each request to cancel a job was answered, by its number;
        #: ``None`` if nothing.
        self.cancels = {}
        #: What each request to undo a job was answered, likewise.
        self.undos = {}
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
        number, to_undo = 0, {}
        while not self._stopping.wait(random.uniform(0, self._pause)):
            if self._is_enough():
                continue
            number += 1
            name = f"{client}-{number}"
            names = [name]
            kind, options = _choose(self._shares)
            if random.random() < BULKS:
                names += [
                    f"{name}-{other}"
                    for other in range(random.randint(1, MOST_AT_ONCE - 1))
                ]
                options["bulk"] = 1
            server = random.choice(self._servers)
            jobs = [(kind, name) for name in names]
            sids = schedule(server, jobs, **options)
            with self._lock:
                if sids:
                    self.answered.extend(names)
                else:
                    self.refused += 1
            if sids and random.random() < CANCELLED:
                self._cancel(name, sids[name])
            elif sids and kind == ALONE:
                to_undo |= sids
            if to_undo and random.random() < UNDONE:
                self._undo(*to_undo.popitem())

    def _undo(self, name, sid):
        """Undo a job; it may not have run yet."""
        answer = undo(random.choice(self._servers), sid)
        with self._lock:
            self.undos[name] = answer

    def _cancel(self, name, sid):
        """Cancel a job, at once or when it may run."""
        if random.random() < 0.7:
            self._stopping.wait(random.uniform(0, 0.1))
        answer = cancel(random.choice(self._servers), sid)
        with self._lock:
            self.cancels[name] = answer


def _choose(shares):
    """Give a kind of job, by the shares, and what is said of this one."""
    (kind,) = random.choices(list(shares), list(shares.values()))
    options = {}
    _, most = KINDS.get(kind, (None, 0))
    if most:
        options["failures"] = random.randint(1, most)
    if random.random() < DELAYED:
        options["delay"] = random.uniform(0.1, 3)
    return kind, options


def schedule(server, jobs, **options):
    """Have jobs scheduled; give their sids if the server says that they are.

    *jobs* are pairs of a function in :mod:`counting` and a number.
    """
    query = urlencode([*jobs, *options.items()])
    with contextlib.suppress(*UNREACHABLE):
        status, body = server.ask(f"/schedule?{query}", "POST")
        if status == 200:
            return json.loads(body)
    return None


def cancel(server, sid):
    """Have a job cancelled; give the status of the answer, if one came."""
    with contextlib.suppress(*UNREACHABLE):
        return server.ask(f"/jobs/{sid}", "DELETE")[0]
    return None


def undo(server, sid):
    """Have a job undone; give the status of the answer, if one came."""
    with contextlib.suppress(*UNREACHABLE):
        return server.ask(f"/undo?sid={sid}", "POST")[0]
    return None
