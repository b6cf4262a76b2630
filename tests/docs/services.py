"""The servers of a documented set-up, at addresses that are free here."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import brokers
import storages
from ports import free_port

#: What a page starts and leaves running, and what tells one from another of
#: its kind: the port, or the name.
SERVERS = {
    "runzeo": r"-a \S+:(\d+)",
    "redis-server": r"--port (\d+)",
    "pserve": r"http_port=(\d+)",
    "nginx": r"nginx-(\d+)\.conf",
    "celery": r"-n (\w+)@",
}

#: An address of this machine in a document.
ADDRESS = re.compile(r"(?:127\.0\.0\.1:|localhost:|--port |port=)(\d+)")

#: Where a server listens by its settings, if the command does not say.
IN_SETTINGS = re.compile(r"^listen = localhost:(\d+)$", re.MULTILINE)

#: What goes before a command, for its environment.
VARIABLE = re.compile(r"[A-Z_]+=")

#: Where nginx listens in a document.
LISTEN = re.compile(r"\blisten (\d+);")

#: The database that documents have in PostgreSQL.
POSTGRES = "postgres://shop@127.0.0.1:5432/shop"

#: The same database, as PostgreSQL itself may name it.
POSTGRES_WORDS = "dbname=shop user=shop host=127.0.0.1 port=5432"

#: The virtual host that documents have in RabbitMQ, and what it is called.
RABBITMQ = "amqp://shop:secret@127.0.0.1:5672/shop"
RABBITMQ_NAME = "shop"


class Services:
    """Starts servers, and gives addresses that are free for documented ones.

    Args:
        folder: where the servers run.
        environment: what they have of the terminal's.
    """

    def __init__(self, folder, environment):
        self._folder = folder
        self.environment = environment
        self._ports = {}
        #: By kind and name, in the order of their starts.
        self._processes = {}
        self._things = contextlib.ExitStack()
        self._postgres = None
        self._rabbitmq = None
        self._rabbitmq_name = None

    def as_here(self, text):
        """Put in the addresses that there are here."""
        known = map(re.escape, [POSTGRES, POSTGRES_WORDS, RABBITMQ])
        parts = re.split(f"({'|'.join(known)})", text)
        # what is put in is not to be changed once more
        return "".join(map(self._part_as_here, parts))

    def _part_as_here(self, text):
        if text == POSTGRES:
            return self._database()
        if text == POSTGRES_WORDS:
            return as_words(self._database())
        if text == RABBITMQ:
            return self._virtual_host()
        return LISTEN.sub(self._listen, ADDRESS.sub(self._address, text))

    def _listen(self, match):
        return f"listen 127.0.0.1:{self.port(match[1])};"

    def _address(self, match):
        port = match[1]
        if port in {"80", "5432"}:
            return match[0]
        return match[0].replace(port, str(self.port(port)))

    def port(self, documented):
        """Give the port that is here for the one of a document."""
        if documented not in self._ports:
            self._ports[documented] = free_port()
        return self._ports[documented]

    def _virtual_host(self):
        if self._rabbitmq is None:
            self._rabbitmq = url = brokers.require("rabbitmq")
            if is_mine(url):
                name = self._rabbitmq_name = f"test-{uuid.uuid4().hex}"
                place = urlsplit(url).netloc.rpartition("@")[2]
                self._rabbitmq = f"amqp://{name}:secret@{place}/{name}"
        return self._rabbitmq

    def administer_rabbitmq(self, arguments):
        """Run `rabbitmqctl` for the user and the virtual host of here.

        Where only others may, they have done so for the URL of the tests.
        """
        self._virtual_host()
        if self._rabbitmq_name is None:
            return
        name = self._rabbitmq_name
        rabbitmqctl(
            *(name if word == RABBITMQ_NAME else word for word in arguments)
        )
        undo = {"add_user": "delete_user", "add_vhost": "delete_vhost"}
        if arguments[0] in undo:
            self._things.callback(rabbitmqctl, undo[arguments[0]], name)

    def _database(self):
        if self._postgres is None:
            self._postgres = self._things.enter_context(
                storages.uri_of("postgres", self._folder)
            ).partition("?")[0]
        return self._postgres

    def start(self, command):
        """Start a server, and go on when it answers.

        One that is there already at that port, or by that name, is ended
        before, as two cannot be.
        """
        environment = dict(self.environment)
        while VARIABLE.match(command[0]):
            variable, _, value = command[0].partition("=")
            environment[variable] = value
            command = command[1:]
        name = program_of(command)
        place = self._place_of(name, command)
        self._end([self._processes.pop((name, place), None)])
        log = self._folder / f"{name}-{place}-{uuid.uuid4().hex}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [self._program(command[0]), *command[1:]],
                cwd=self._folder,
                env=environment,
                stdout=said,
                stderr=said,
            )
        self._processes[name, place] = process
        deadline = time.monotonic() + 120
        while not (
            answers(int(place))
            if place.isdigit()
            else " ready." in said_in(log)
        ):
            assert process.poll() is None, said_in(log)
            assert time.monotonic() < deadline, said_in(log)
            time.sleep(0.05)  # paces the loop; the condition decides

    def _place_of(self, name, command):
        """Give the port or the name of a server."""
        match = re.search(SERVERS[name], " ".join(command))
        if match is None and name == "pserve":
            settings = self._folder / command[1]
            match = IN_SETTINGS.search(settings.read_text())
        return match[1] if match else ""

    def _program(self, name):
        """Find a program in the folder, in this environment, or anywhere."""
        beside = Path(sys.executable).with_name(Path(name).name)
        for program in (self._folder / name, beside):
            if program.exists():
                return program
        return name

    def call(self, command):
        """Run a program to its end; give what it said."""
        done = subprocess.run(
            [self._program(command[0]), *command[1:]],
            cwd=self._folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self):
        """End all servers, the last ones first."""
        kinds = {name: None for name, _ in reversed(self._processes)}
        for kind in kinds:
            self._end(
                process
                for (name, _), process in self._processes.items()
                if name == kind
            )
        self._processes.clear()
        self._things.close()

    def _end(self, processes):
        """End servers, at the same time."""
        processes = [process for process in processes if process is not None]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def program_of(command):
    """Give the name of the program, or of the module that Python runs."""
    words = [word for word in command if not VARIABLE.match(word)]
    return words[2] if words[:2] == ["python", "-m"] else Path(words[0]).name


def said_in(log):
    return log.read_text(errors="replace")


def as_words(uri):
    """Give the URI of a database as words."""
    parts = urlsplit(uri)
    words = {
        "dbname": parts.path[1:],
        "user": parts.username,
        "password": parts.password,
        "host": parts.hostname,
        "port": parts.port,
    }
    return " ".join(f"{name}={words[name]}" for name in words if words[name])


def is_mine(url):
    """Tell whether there may be new virtual hosts at the URL."""
    if urlsplit(url).hostname not in {"127.0.0.1", "localhost"}:
        return False
    return shutil.which("rabbitmqctl") and rabbitmqctl(
        "list_vhosts", check=False
    )


def rabbitmqctl(*arguments, check=True):
    """Administer RabbitMQ; tell whether that went well."""
    done = subprocess.run(
        ["rabbitmqctl", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.returncode == 0


def answers(port):
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 1),
    ):
        return True
    return False
