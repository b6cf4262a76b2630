"""Pyramid's commands, and other scripts, on a database with jobs."""

import subprocess
import sys

import pytest
import storages
from folders import TESTS
from ini_files import LOGGERS

SCRIPTS = TESTS / "scripts"

INI = """\
[app:main]
use = call:commanded:main
zodbconn.uri = {uri}
mark = {folder}/mark
zodb_async.lease = 1
zodb_async.autostart = {autostart}
{more}
"""


class Site:
    """An application, and what is done with it by processes of their own."""

    def __init__(self, folder, uri, *, autostart, more=""):
        self.ini = folder / "site.ini"
        self.mark = folder / "mark"
        self.ini.write_text(
            INI.format(
                uri=uri,
                folder=folder,
                autostart=str(autostart).lower(),
                more=more,
            )
            + LOGGERS
        )

    @property
    def begun(self):
        """How often a job has begun."""
        if not self.mark.exists():
            return 0
        return self.mark.read_text().count("begun")

    def command(self, name, *arguments, typed=None):
        """Run one of Pyramid's commands, and give what it has said."""
        module = f"pyramid.scripts.{name}"
        return self._run(["-m", module, self.ini, *arguments], typed)

    def script(self, *words):
        """Have the script do what each of the words says."""
        return self._run(["commanded.py", self.ini, *words])

    def _run(self, command, typed=None):
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=SCRIPTS,
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran


@pytest.fixture(params=["file", "zeo"])
def storage(request):
    return request.param


@pytest.fixture
def uri(storage, tmp_path):
    with storages.uri_of(storage, tmp_path) as uri:
        yield uri


@pytest.fixture(params=[False, True], ids=["", "autostart"])
def site(request, tmp_path, uri):
    return Site(tmp_path, uri, autostart=request.param)


def left(site):
    """Have a job in the database that nobody runs, and give its sid."""
    return site.script("schedule").stdout.strip()


def test_a_request_of_a_command_leaves_the_jobs_of_others_as_they_are(site):
    sid = left(site)
    check_command(site, sid, "prequest", "/page")


@pytest.mark.parametrize("storage", ["file"])
@pytest.mark.parametrize("site", [True], indirect=True, ids=["autostart"])
def test_a_command_that_only_looks_leaves_jobs_as_they_are(site):
    sid = left(site)
    for command in (["proutes"], ["ptweens"], ["pviews", "/page"]):
        check_command(site, sid, *command)


def check_command(site, sid, *command):
    """See that a command takes nothing over."""
    said = site.command(*command)

    assert "Took over" not in said.stderr
    assert site.script(sid).stdout == "pending 0 None\n"
    assert site.begun == 0


def test_what_a_request_of_a_command_schedules_waits_for_a_server(
    site, storage
):
    said = site.command("prequest", "/start")
    assert '"state": "pending"' in said.stdout
    assert site.begun == 0
    (line,) = [
        line for line in said.stderr.splitlines() if "commanded:" in line
    ]
    check_line(line, storage)

    site.script("run")
    assert site.begun == 1


def check_line(line, storage):
    """See that a line tells who will run the job."""
    if storage == "file":
        assert line.startswith("WARNING This process runs no jobs")
        assert "no other process can open this FileStorage now" in line
        assert "start()" in line
    else:
        assert line.startswith("INFO This process runs no jobs")
        assert "a process that does will run" in line


def test_a_shell_says_that_it_runs_no_jobs(site, storage):
    said = site.command(
        "pshell",
        typed="import commanded\ncommanded.schedule(globals())\n"
        "commanded.schedule(globals())\n",
    )
    (line,) = [
        line for line in said.stderr.splitlines() if "commanded:" in line
    ]
    check_line(line.removeprefix(">>> "), storage)
    assert site.begun == 0

    site.script("run")
    assert site.begun == 2


def test_a_shell_says_nothing_of_a_job_that_there_is_none_of(site):
    typed = (
        "import commanded\n_ = request.tm.begin().doom()\n"
        "print(request.schedule(commanded.mark, 'nowhere'))\n"
        "request.tm.abort()\n"
    )
    said = site.command("pshell", typed=typed)

    assert "runs no jobs" not in said.stderr
    assert "Error" not in said.stderr


def test_a_shell_that_is_told_to_runs_jobs(site):
    left(site)
    said = site.command(
        "pshell", typed="import commanded\ncommanded.run(globals())\n"
    )
    assert "runs no jobs" not in said.stderr

    assert site.begun == 1


def test_a_page_that_a_script_asks_for_takes_nothing_over(site):
    sid = left(site)
    said = site.script("ask", "ask", sid)

    assert said.stdout == "pending 0 None\n"
    assert site.begun == 0


def test_a_script_that_serves_is_a_server_from_its_first_request_on(site):
    left(site)
    site.script("ask", "serve")

    assert site.begun == 1


@pytest.mark.parametrize("storage", ["file"])
def test_a_shell_runs_a_job_that_is_in_its_memory(tmp_path, uri):
    more = "zodb_async.scheduler = memory"
    site = Site(tmp_path, uri, autostart=False, more=more)
    typed = (
        "import commanded\ncommanded.schedule(globals())\n"
        "commanded.run(globals())\n"
    )
    said = site.command("pshell", typed=typed)

    assert "runs no jobs" not in said.stderr
    assert site.begun == 1
