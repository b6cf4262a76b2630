"""Brokers for tests: where they answer, and private ones to be stopped."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from urllib.parse import urlsplit

import shop
from kombu import Connection
from needed import missing
from ports import answers, free_port

#: Where the brokers answer that run already.
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")

URLS = {"redis": REDIS_URL, "rabbitmq": AMQP_URL}


def require(name):
    """Give the URL of a broker; skip the test without it, or fail in CI."""
    url = URLS[name]
    try:
        with Connection(url, connect_timeout=60) as connection:
            connection.ensure_connection(max_retries=1, timeout=60)
    except Exception as error:  # noqa: BLE001 - of any library
        missing(f"{name} does not answer at {url} ({error})")
    return url


@contextlib.contextmanager
def queue_of(url):
    """Give the name of a queue that nobody else uses, and remove it."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    with Connection(url, connect_timeout=60) as connection:
        channel = connection.channel()
        channel.queue_delete(name)
        channel.exchange_delete(name)


class _PrivateBroker:
    """A broker that a test can start and end.

    Args:
        folder: for its files.
        program: what it needs; the test is skipped without it.
    """

    def __init__(self, folder, program):
        self._program = shutil.which(program)
        if self._program is None:
            missing(f"there is no program {program}")
        self._folder = folder
        self.port = free_port()
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            self._command(),
            cwd=self._folder,
            env={**os.environ, **self._environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not answers(self.port):
            assert time.monotonic() < deadline, "the broker does not start"
            assert self._process.poll() is None, "the broker ended"
            time.sleep(0.02)  # paces the loop; the condition decides

    def _environment(self):
        return {}

    def has_ended(self):
        return self._process is None

    def suspend(self):
        """Have all its processes stand still, until it is stopped."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        # the signal is taken by one thread, when it gets to run, which then
        # tells the others; until then they may answer
        group = self._process.pid
        shop.wait_until(lambda: set(_states_of_threads(group)) <= {"T"})

    def stop(self):
        """End it at once, with all its processes."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _states_of_threads(group):
    """Give the state of each thread of a group of processes; see proc(5)."""
    for path in pathlib.Path("/proc").glob("[0-9]*/task/*/stat"):
        with contextlib.suppress(OSError):  # the thread has ended
            # the name before, in parentheses, may have any character
            state, _, its_group, *_ = (
                path.read_text().rpartition(")")[2].split()
            )
            if int(its_group) == group:
                yield state


class PrivateRedis(_PrivateBroker):
    """A Redis; what it had is lost when it ends."""

    def __init__(self, folder):
        super().__init__(folder, "redis-server")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def _command(self):
        return [
            *(self._program, "--port", str(self.port)),
            *("--save", "", "--bind", "127.0.0.1"),
        ]


class PrivateRabbitMQ(_PrivateBroker):
    """A RabbitMQ; what it has on disk is there when it starts again."""

    #: Where Debian has the program that starts it as the user who asks; the
    #: one in the path starts it as a user who must not write into a test's
    #: folder.
    DEBIAN = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    def __init__(self, folder):
        super().__init__(folder, "rabbitmq-server")
        if os.access(self.DEBIAN, os.X_OK):
            self._program = self.DEBIAN
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._ports = [str(free_port()) for _ in range(2)]
        self._plugins = folder / "plugins"
        self._plugins.write_text("[].")

    def _command(self):
        # its own register of names ends with it
        script = f'epmd -port "$ERL_EPMD_PORT" & exec {self._program}'
        return ["sh", "-c", script]

    def _environment(self):
        return {
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": self._ports[0],
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": self._ports[1],
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._plugins),
            # nothing of the machine's
            "RABBITMQ_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
        }


class Line:
    """What leads to a RabbitMQ, and can be cut.

    Args:
        url: that of the broker; the line has another one.
    """

    def __init__(self, url):
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port or 5672)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._sockets = []
        user, at, _ = parts.netloc.rpartition("@")
        here = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.url = parts._replace(netloc=f"{user}{at}{here}").geturl()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):  # the server is closed
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._to)
                self._sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(
                        target=self._carry, args=ends, daemon=True
                    ).start()

    def _carry(self, sender, receiver):
        with contextlib.suppress(OSError), sender:
            while data := sender.recv(65536):
                receiver.sendall(data)
        hang_up(receiver)

    def cut(self):
        """End all connections; new ones can be made at once."""
        ended, self._sockets = self._sockets, []
        for end in ended:
            hang_up(end)


def hang_up(end):
    with contextlib.suppress(OSError):  # the other side was faster
        end.shutdown(socket.SHUT_RDWR)


class Mute:
    """Accepts connections, and never answers."""

    def __init__(self, port):
        self._socket = socket.create_server(("127.0.0.1", port), backlog=100)

    def stop(self):
        self._socket.close()
