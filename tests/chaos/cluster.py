"""Servers on one database, and what came of their jobs in the end."""

import contextlib
import json
import math
import re
import signal
from dataclasses import dataclass

from processes import UNREACHABLE, Server, wait_until

SETTINGS = {
    "zodb_async.autostart": "true",
    "zodb_async.lease": "1",
    "zodb_async.workers": "2",
    "retry.attempts": "10",
    "chaos.window": "3",
}


class Cluster:
    """As many servers on a storage as it can have.

    Args:
        storage: one of :mod:`databases`.
        folder: for logs.
        settings: of the application.
    """

    def __init__(self, storage, folder, **settings):
        self.storage = storage
        self.settings = {
            **SETTINGS,
            "zodbconn.uri": storage.uri,
            **{name.replace("__", "."): settings[name] for name in settings},
        }
        self.servers = [
            Server(json.dumps(self.settings), folder / f"server{number}.log")
            for number in range(storage.processes)
        ]

    def start(self):
        """Start all servers, and make what they need in the database."""
        for server in self.servers:
            server.start()
            # two at once cannot make a new database: in the ZODB one meets a
            # conflict over the root, in RelStorage an error over the tables
            wait_until(server.is_ready, "a server is ready")
        status, _ = self.servers[0].ask("/prepare", "POST")
        assert status == 200

    def start_beside(self, log, **settings):
        """Start one more server, with settings of its own."""
        own = {name.replace("__", "."): settings[name] for name in settings}
        server = Server(json.dumps(self.settings | own), log)
        self.servers.append(server)
        server.start()
        wait_until(server.is_ready, "one more server is ready")
        return server

    def stop(self):
        for server in self.servers:
            server.kill()

    def stop_between_commits(self, server, other):
        """Stop a process, but not in a commit, which would hold up others."""

        def is_stopped():
            server.signal(signal.SIGSTOP)
            with contextlib.suppress(*UNREACHABLE):
                if other.ask("/touch", "POST", timeout=3)[0] == 200:
                    return True
            server.signal(signal.SIGCONT)
            return False

        wait_until(is_stopped, "a process is stopped between commits", 60)

    def restart_ended(self):
        for server in self.servers:
            if server.has_ended():
                server.kill()
                server.start()

    def wait_until_ready(self):
        for server in self.servers:
            wait_until(server.is_ready, "a server is ready")

    def drain(self, deadline=60):
        """Wait until no job is unfinished, as long as there are fewer.

        A slow machine may take minutes for what has come together.
        """
        least = math.inf
        while not self.is_drained():
            wait_until(
                lambda least=least: (
                    self.is_drained() or self.unfinished() < least
                ),
                "another job has ended",
                deadline,
            )
            least = min(least, self.unfinished())

    def unfinished(self):
        """Count the jobs that have not ended, as far as somebody answers."""
        answers = [
            self.answer(each, "/show_unfinished") for each in self.servers
        ]
        return min(
            (found["all"] for found in answers if found), default=math.inf
        )

    def is_drained(self):
        for server in self.servers:
            found = self.answer(server, "/show_unfinished")
            if found is None or any(found.values()):
                return False
        return True

    def answer(self, server, path):
        """Give what a server answers, unless it cannot now."""
        with contextlib.suppress(*UNREACHABLE):
            status, body = server.ask(path)
            if status == 200:
                return json.loads(body)
        return None

    def report(self, cancels=None, undos=None):
        """Tell what is in the database, as a new process sees it.

        *cancels* and *undos* are those of the load.
        """
        server = self.servers[0]
        server.kill()
        server.start()
        wait_until(server.is_ready, "a server is ready")

        def settled():
            report = self.answer(server, "/show_report")
            # who is asked for a job whose end was undone sees to it
            is_settled = report and all(
                job["state"] != "pending" for job in report["jobs"].values()
            )
            return report if is_settled else None

        found = wait_until(settled, "a report without pending jobs", 60)
        return Report(**found, cancels=cancels or {}, undos=undos or {})

    def taken_over(self):
        """Count the jobs that were taken over, as the processes logged it."""
        return sum(
            int(number)
            for process in self.processes()
            for number in re.findall(
                r"Took over (\d+) jobs", process.log_text()
            )
        )

    def processes(self):
        """Give the processes that know of jobs."""
        return self.servers


@dataclass
class Report:
    """What the database has of each committed job, by number.

    Args:
        jobs: what is known of them.
        shared: how often all jobs together have counted.
        cancels: the answers to those who have cancelled some, by number;
            ``None`` where none came.
        undos: the answers to those who have undone some, likewise.
    """

    jobs: dict
    shared: int
    cancels: dict
    undos: dict

    def those(self, condition):
        """Give the numbers of the jobs for which it is true."""
        return [name for name, job in self.jobs.items() if condition(job)]

    @property
    def cancelled(self):
        return self.those(lambda job: job["state"] == "cancelled")

    @property
    def forgotten(self):
        """Jobs of which nothing is known but that there were such jobs."""
        return self.those(lambda job: job["state"] is None)

    @property
    def lost(self):
        """Jobs without the effect that they must have."""
        return sorted(
            set(self.those(lambda job: not job["effects"]))
            - set(self.cancelled)
            - set(filter(self.is_in_doubt, self.forgotten))
        )

    @property
    def duplicate(self):
        return self.those(
            lambda job: job["effects"] > (job["state"] != "cancelled")
        )

    def is_in_doubt(self, name):
        """Tell whether a cancel may have cancelled a job and forgotten it.

        To cancel a job that has ended is to forget it. pyramid_retry repeats
        a request whose commit raised here, although the storage may have made
        it: such a one may be answered 204 after it has done both, 404 after
        it has forgotten the job, and something else in the end.
        """
        answer = self.cancels.get(name, 202)
        return answer is None or answer in {204, 404} or answer >= 500

    def figures(self):
        """Count the jobs, and what happened to them."""
        return {
            "jobs": len(self.jobs),
            "delayed": len(self.those(lambda job: job["is_delayed"])),
            "retried": len(self.those(lambda job: (job["attempt"] or 0) > 1)),
            "timed_out": len(
                self.those(
                    lambda job: (
                        job["is_limited"]
                        and (job["attempt"] or 0) > job["failures"]
                    )
                )
            ),
            "cancelled": len(self.cancelled),
            "undone": len(set(self.cancelled) & set(self.undos)),
            "duplicates": len(self.duplicate),
            "losses": len(self.lost),
        }

    def require_each_once(self, answered=()):
        """See that each committed job took effect once, and succeeded.

        But not those that somebody has cancelled in time.
        """
        assert sorted(set(answered) - set(self.jobs)) == []
        states = {name: job["state"] for name, job in self.jobs.items()}
        assert set(states.values()) <= {"succeeded", "cancelled", None}, states
        assert not self.lost
        assert not self.duplicate
        assert self.shared == sum(
            job["effects"] for job in self.jobs.values() if not job["is_alone"]
        )
        told = {name: states[name] for name in self.cancels}
        assert set(self.cancelled) <= set(told) | set(self.undos)
        undone = {name for name, told in self.undos.items() if told == 200}
        assert undone <= set(self.cancelled)
        assert set(self.forgotten) <= set(filter(self.is_in_doubt, told)), told
        for name, answer in self.cancels.items():
            if answer == 202:
                assert told[name] == "cancelled", name
            elif answer == 204:
                # who is killed before he has written it leaves the outcome
                assert told[name] in {None, "succeeded", "cancelled"}, name
        # no attempt that was to fail was left out, unless the watchdog came
        # after the commit of one that was to be late
        assert not self.those(
            lambda job: (
                job["state"] == "succeeded"
                and job["attempt"] + job["is_limited"] <= job["failures"]
            )
        )
