"""Scripts beside a server: processes of their own, on one storage."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
import shop
import storages
from folders import TESTS
from ports import free_port

SCRIPTS = TESTS / "scripts"

INI = """\
[app:main]
use = call:serve:main
zodbconn.uri = {uri}
zodb_async.lease = 1
{manager}

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
"""


def run(*command):
    return subprocess.run(
        [sys.executable, *command],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_housekeeper_of_a_process_ends_after_its_jobs(tmp_path):
    ended = run("exit.py", str(tmp_path / "Data.fs"))

    assert ended.stdout == "the housekeeper works on\n", ended.stderr


class Server:
    """The application of `serve.py` in a process of its own."""

    def __init__(self, folder, uri, manager=""):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/tell"
        self.ini = folder / "server.ini"
        self.ini.write_text(INI.format(uri=uri, port=port, manager=manager))
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pyramid.scripts.pserve", self.ini],
                cwd=SCRIPTS,
                stdout=log,
                stderr=log,
            )

    def tell(self):
        """Ask it, as soon as it answers."""
        end = time.monotonic() + 90
        while True:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(self.url, timeout=60) as answer,
            ):
                return json.load(answer)
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)  # paces the loop; the condition decides

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=["zeo", "sqlite"])
def storage_uri(request, tmp_path):
    with getattr(storages, request.param)(tmp_path) as uri:
        yield uri


@pytest.fixture
def server(storage_uri, tmp_path, manager):
    lines = [f"{name} = {manager[name]}" for name in manager]
    made = Server(tmp_path, storage_uri, "\n".join(lines))
    yield made
    made.stop()


def test_the_server_runs_what_a_script_has_scheduled(server):
    process = server.tell()["process"]
    said = run("schedule.py", server.ini, "7")
    assert said.returncode == 0, said.stderr
    (script, runner), (failure,) = map(str.split, said.stdout.splitlines())

    assert int(runner) == process
    assert int(script) != process
    assert failure == "ValueError"
    assert server.tell()["total"] == 7


def test_a_script_and_the_jobs_of_a_server_lose_nothing_to_each_other(server):
    server.tell()
    said = run("count.py", server.ini, "30")
    assert said.returncode == 0, said.stderr
    shop.wait_until(lambda: server.tell()["total"] >= 60, 60)

    assert server.tell()["total"] == 60


@pytest.mark.parametrize(
    "uri",
    [
        "file://{}/Data.fs?connection_pool_size=20",
        "file://{}/Data.fs?connection_pool_size=20&blobstorage_dir={}/blobs",
        "zconfig://{}/zodb.conf#main",
    ],
    ids=["file", "file with blobs", "blobstorage of a file"],
)
def test_on_a_file_no_lease_is_waited_for_after_a_kill(uri, tmp_path):
    (tmp_path / "zodb.conf").write_text(
        f"<zodb main>\npool-size 20\n<blobstorage>\nblob-dir {tmp_path}/blobs"
        f"\n<filestorage>\npath {tmp_path}/Data.fs\n</filestorage>\n"
        "</blobstorage>\n</zodb>\n"
    )
    uri = uri.replace("{}", str(tmp_path))
    ini = tmp_path / "script.ini"
    ini.write_text(
        f"[app:main]\nuse = call:serve:main\nzodbconn.uri = {uri}\n"
        "zodb_async.lease = 3600\n"
    )
    killed = run("killed.py", ini, "kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.count("\n") == 1
    said = run("killed.py", ini)

    assert said.stdout == "1\n", said.stderr


class Application:
    """One of two on one database, with a module that the other has not."""

    def __init__(self, folder, uri, name, store):
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        (self.folder / f"only_{name}.py").write_text("def work(): pass\n")
        self._text = (
            f"[app:main]\nuse = call:serve:main\nzodbconn.uri = {uri}\n"
            f"zodb_async.lease = 1\nzodb_async.store = {store}\n"
        )

    def script(self, delay=0, *sids, runs_jobs=True):
        """Schedule a job, or wait for one; give its sid and its state."""
        ini = self.folder / "script.ini"
        ini.write_text(self._text)
        function = f"only_{self.name}:work"
        words = [str(delay), "yes" if runs_jobs else "no", *sids]
        said = run("beside.py", ini, self.folder, function, *words)
        assert said.returncode == 0, said.stderr
        return said.stdout.split()


@pytest.mark.parametrize(
    "stores", [("pyramid_zodb_async", "admin"), ("site", "admin")]
)
def test_an_application_leaves_the_jobs_of_another_alone(
    storage_uri, tmp_path, stores
):
    site = Application(tmp_path, storage_uri, "site", stores[0])
    admin = Application(tmp_path, storage_uri, "admin", stores[1])
    sid, state = site.script(runs_jobs=False)
    assert state == "pending"
    # meanwhile, it would take over what nobody runs
    assert admin.script(delay=3)[1] == "succeeded"

    assert site.script(0, sid) == [sid, "succeeded"]
