"""Servers that CI does not have: how they stop, and what a fork does."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import apache_wsgi
import pytest
import storages
from folders import REPOSITORY, TESTS
from ports import free_port, wait_for_server
from shop import wait_until
from ZODB.DB import DB
from zodburi import resolve_uri

SERVERS = os.environ.get("SERVERS", "")
BIN = (REPOSITORY / SERVERS / "bin").absolute()
HERE = TESTS / "servers"

pytestmark = [
    pytest.mark.skipif(
        not SERVERS, reason="`make servers` installs the servers and runs this"
    ),
    # ZEO's server is in this process, and is stopped while the connections
    # of processes that have just ended are being closed
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

SCRIPT = ["python", HERE / "site_app.py"]
GUNICORN = ["gunicorn", "wsgi_site:application", "--workers=2", "--bind"]
#: With two processes that load the application after the fork.
UWSGI = [
    *("uwsgi", "--wsgi-file", HERE / "wsgi_site.py", "--need-app"),
    *("--master", "--processes=2", "--http-socket"),
]
#: What SIGTERM is to do there. With --die-on-term it kills at once whoever is
#: at a request, and with this it waits for ever for threads that have none.
GRACEFUL = "unix_signal:15 gracefully_kill_them_all"
UVICORN = ["uvicorn", "asgi_site:application", "--port"]
HYPERCORN = ["hypercorn", "asgi_site:application", "--bind"]

#: The commands before and after the address.
COMMANDS = {
    "bjoern": ([*SCRIPT, "bjoern"], []),
    "cheroot": ([*SCRIPT, "cheroot"], []),
    # one worker: a second one that still loads the application when SIGTERM
    # comes never ends (granian 2.8.9)
    "granian": (
        ["granian", "--interface=wsgi", "--workers=1", "--port"],
        ["wsgi_site:application"],
    ),
    "gunicorn": (GUNICORN, []),
    "gunicorn gthread": (GUNICORN, ["--worker-class=gthread"]),
    "gunicorn gevent": (GUNICORN, ["--worker-class=gevent"]),
    "gunicorn preloaded": (GUNICORN, ["--preload"]),
    "gunicorn gthread preloaded": (
        GUNICORN,
        ["--preload", "--worker-class=gthread"],
    ),
    "gunicorn gevent preloaded": (
        GUNICORN,
        ["--preload", "--worker-class=gevent"],
    ),
    "hypercorn": (HYPERCORN, []),
    "hypercorn workers": (
        HYPERCORN,
        ["--workers=2", f"--config={HERE / 'hypercorn.toml'}"],
    ),
    "uvicorn": (UVICORN, []),
    "uvicorn workers": (UVICORN, ["--workers=2"]),
    "uwsgi": (
        UWSGI,
        [
            *("--lazy-apps", "--enable-threads"),
            *("--hook-master-start", GRACEFUL),
        ],
    ),
    "uwsgi without threads": (UWSGI, ["--lazy-apps", "--die-on-term"]),
    "uwsgi preloaded": (UWSGI, ["--enable-threads", "--die-on-term"]),
    "uwsgi preloaded without threads": (UWSGI, ["--die-on-term"]),
    "waitress": (
        ["waitress-serve", "--listen"],
        ["wsgi_site:application"],
    ),
    "wsgiref": ([*SCRIPT, "wsgiref"], []),
}
#: Those that take a port, and no address.
BY_PORT = {"bjoern", "cheroot", "granian", "uvicorn", "uvicorn workers"}
BY_PORT.add("wsgiref")


def command_of(server, folder, port):
    """Give the command that starts a server."""
    if server == "mod_wsgi":
        return apache_wsgi.command(folder, port, BIN.parent)
    before, after = COMMANDS[server]
    address = str(port) if server in BY_PORT else f"127.0.0.1:{port}"
    return [BIN / before[0], *before[1:], address, *after]


def lacks(server):
    """Tell what a server lacks, if it cannot be started."""
    if server == "mod_wsgi":
        if apache_wsgi.find_module(BIN.parent) is None:
            return "mod_wsgi is not installed: it needs apache2-dev"
    elif not (BIN / COMMANDS[server][0][0]).exists():
        return f"{server} is not installed"
    elif server == "bjoern" and not list(
        BIN.parent.glob("lib/*/site-packages/bjoern.py")
    ):
        return "bjoern is not installed: it needs libev-dev"
    return ""


def environ_of(uri, **more):
    """Give the environment of what loads the application."""
    return {
        **os.environ,
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{HERE}",
        "PYTHONUNBUFFERED": "1",
        "STOP_ON_SIGTERM": "false",
        "URI": uri,
        **more,
    }


def leave_job(uri):
    """Have a job in the database before anybody serves; give its sid."""
    return subprocess.run(
        [BIN / "python", "site_app.py", "leave"],
        cwd=HERE,
        env=environ_of(uri),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    ).stdout.strip()


class Served:
    """The application, served by one of these servers."""

    def __init__(self, server, folder, uri, stop_on_sigterm):
        self.port = free_port()
        self._uri = uri
        self.begun, self.go = folder / "begun", folder / "go"
        self._log = folder / "log"
        self.folder = folder
        environ = {
            "GO": str(self.go),
            "BEGUN": str(self.begun),
            "STOP_ON_SIGTERM": str(stop_on_sigterm).lower(),
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command_of(server, folder, self.port),
                cwd=HERE,
                env=environ_of(uri, **environ),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for_server(self.process, self.port, self._log)

    def log(self):
        logs = [self._log, self.folder / "apache.log"]
        return "".join(log.read_text() for log in logs if log.exists())

    def ask(self, path, **headers):
        """Give the status of an answer."""
        url = f"http://127.0.0.1:{self.port}{path}"
        asked = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def effect(self):
        """Tell what its job has left."""
        make_storage, options = resolve_uri(self._uri)
        db = DB(make_storage(), **options)
        try:
            with db.transaction() as connection:
                return connection.root().get("effect")
        finally:
            db.close()

    def has_processes(self):
        """Tell whether it, or a child of it, is there."""
        self.process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 0)
            return True
        return False

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def serve(tmp_path):
    """Start servers on a database that is there already."""
    with contextlib.ExitStack() as stack:

        def start(
            server, storage="zeo", *, stop_on_sigterm=False, has_job=False
        ):
            if reason := lacks(server):
                pytest.skip(reason)
            uri = stack.enter_context(storages.uri_of(storage, tmp_path))
            make_storage, options = resolve_uri(uri)
            DB(make_storage(), **options).close()
            sid = leave_job(uri) if has_job else None
            served = Served(server, tmp_path, uri, stop_on_sigterm)
            served.sid = sid
            stack.callback(served.kill)
            return served

        yield start


ALWAYS_IN_ORDER = ["gunicorn", "gunicorn gthread", "gunicorn gevent"]
ALWAYS_IN_ORDER += ["granian", "hypercorn", "uwsgi"]
WITH_THE_SETTING = ["bjoern", "cheroot", "hypercorn workers", "uvicorn"]
WITH_THE_SETTING += ["uvicorn workers", "waitress", "wsgiref"]


def wait_for_workers(served):
    """Wait until both have loaded, for uWSGI ends none that still does."""
    wait_until(lambda: served.log().count("WSGI app 0 ") == 2, 60)


@pytest.mark.parametrize(
    ("server", "stop_on_sigterm"),
    [
        *((server, False) for server in ALWAYS_IN_ORDER),
        *((server, True) for server in ALWAYS_IN_ORDER),
        *((server, True) for server in WITH_THE_SETTING),
    ],
)
def test_a_server_that_stops_waits_for_its_jobs(
    serve, server, stop_on_sigterm
):
    served = serve(server, stop_on_sigterm=stop_on_sigterm)
    if server == "uwsgi":
        wait_for_workers(served)
    assert served.ask("/start") == 202
    wait_until(served.begun.exists)
    served.process.terminate()
    wait_until(lambda: "running job to end" in served.log(), 60)
    if server == "hypercorn workers":
        # when one of them has ended, it sends the signal to the others
        wait_until(lambda: "SIGTERM: the process stops" in served.log(), 60)
    served.go.touch()
    wait_until(lambda: not served.has_processes(), 60)

    assert served.effect() == "done", served.log()


def test_uwsgi_lets_jobs_end_while_a_page_waits_for_them(serve):
    served = serve("uwsgi")
    wait_for_workers(served)
    with urllib.request.urlopen(
        f"http://127.0.0.1:{served.port}/start", timeout=60
    ) as answer:
        sid = json.load(answer)["sid"]
    wait_until(served.begun.exists)
    waiting = threading.Thread(
        target=served.ask, args=(f"/jobs/{sid}",), kwargs={"Prefer": "wait=30"}
    )
    waiting.start()
    wait_until(lambda: served.ask("/plain") == 200)
    served.process.terminate()
    wait_until(lambda: "running job to end" in served.log(), 60)
    served.go.touch()
    wait_until(lambda: not served.has_processes(), 60)
    waiting.join()

    assert served.effect() == "done", served.log()


def test_a_server_that_takes_the_exit_for_a_failure_ends_nevertheless(serve):
    served = serve("wsgiref", stop_on_sigterm=True)
    asked = subprocess.Popen(
        ["curl", "-s", f"http://127.0.0.1:{served.port}/hold"]
    )
    wait_until(served.begun.exists)
    served.process.terminate()
    asked.wait(60)
    served.process.wait(60)

    assert "the server goes on nevertheless" in served.log()


@pytest.mark.parametrize(
    "server", [name for name in COMMANDS if "preloaded" in name]
)
@pytest.mark.parametrize(
    ("storage", "status"),
    [("zeo", 503), ("file", 503), ("sqlite", 200), ("postgres", 200)],
)
def test_a_server_that_has_loaded_before_its_forks_answers_at_once(
    serve, server, storage, status
):
    served = serve(server, storage, has_job=True)
    # its connections fail where gevent has patched what they had loaded
    fails = (storage, server) == ("postgres", "gunicorn gevent preloaded")
    answers = {status, 500} if fails else {status}
    begun = time.monotonic()
    # each of them several times, for there are two processes
    for path in ["/write", "/read", "/plain"] * 2:
        assert served.ask(path) in answers
    for path in ["/start", f"/jobs/{served.sid}", "/jobs/unknown"] * 3:
        assert served.ask(path) == 503
    assert served.ask(f"/jobs/{served.sid}", Prefer="wait=30") == 503
    # what hangs does so for ever, and its clients for a minute
    assert time.monotonic() - begun < 50
    assert "CRITICAL" in served.log()
    assert "lazy-apps = true" in served.log()
    served.process.terminate()
    wait_until(lambda: not served.has_processes(), 60)


@pytest.mark.parametrize(
    ("server", "is_warned"),
    [("uwsgi", False), ("uwsgi without threads", True)],
)
def test_uwsgi_without_threads_is_warned_of(serve, server, is_warned):
    served = serve(server)
    wait_until(lambda: served.ask("/plain") == 200)

    assert ("enable-threads = true" in served.log()) == is_warned


def test_apache_ends_mod_wsgi_while_jobs_run(serve):
    served = serve("mod_wsgi")
    assert served.ask("/start") == 202
    wait_until(served.begun.exists)
    served.process.terminate()
    wait_until(lambda: "running job to end" in served.log(), 60)
    # by itself it would wait longer
    wait_until(lambda: not served.has_processes(), 30)

    assert served.effect() is None


def test_mod_wsgi_that_loads_its_script_again_waits_for_its_jobs(serve):
    served = serve("mod_wsgi")
    assert served.ask("/start") == 202
    wait_until(served.begun.exists)
    apache_wsgi.script_of(served.folder).touch()
    asked = subprocess.Popen(
        ["curl", "-s", f"http://127.0.0.1:{served.port}/plain"]
    )
    wait_until(lambda: "running job to end" in served.log(), 60)
    served.go.touch()
    asked.wait(60)

    assert served.effect() == "done", served.log()


def test_mod_wsgi_leaves_signals_to_apache(serve):
    served = serve("mod_wsgi", stop_on_sigterm=True)
    assert served.ask("/plain") == 200

    assert "only the main thread of a process can handle" in served.log()
