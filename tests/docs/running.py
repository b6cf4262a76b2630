"""Does with the code blocks of a page what its reader would do."""

import configparser
import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from docs.services import SERVERS, Services, program_of
from needed import missing
from node_programs import typescript_packages
from pyramid.paster import get_app
from pyramid.request import Request
from pyramid.scripting import prepare
from shop import shut_down
from waitress.adjustments import Adjustments
from waitress.proxy_headers import proxy_headers_middleware
from webtest import TestApp

from docs import machine
from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.database.storages import is_for_one_process
from pyramid_zodb_async.testing import drain

#: Twenty-two characters that nobody would write otherwise; those of a job in
#: the database stand after their slice, and after their place in it if it is
#: on a page of a process.
SID = (
    r"(?<![\w-])(?=[\w.-]*\d)(?:[0-9a-f]{5}-(?:[0-9a-f]+(?:\.[0-9a-f]+)+-)?)?"
    r"[\w-]{22}(?![\w-])"
)
#: An entity tag of one job, or of several.
TAG = r'"\d+(?:_(?:\d+|-))*"'
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

#: Programs that run to their end; what they say matters where it is told.
PROGRAMS = {"node", "npx", "openapi-python-client", "zeopack", "zodbpack"}

#: What a documented request may send.
HEADERS = {
    "Authorization",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Requested-With",
}


class Proxied:
    """An application as waitress serves it behind a proxy that it trusts."""

    def __init__(self, app, settings):
        self.registry = app.registry
        adjustments = Adjustments(**settings)
        self._call = proxy_headers_middleware(
            app,
            trusted_proxy=adjustments.trusted_proxy,
            trusted_proxy_count=adjustments.trusted_proxy_count,
            trusted_proxy_headers=adjustments.trusted_proxy_headers,
        )

    def __call__(self, environ, start_response):
        return self._call(environ, start_response)


class Page:
    """Runs blocks in a folder, where it has put all that are files."""

    def __init__(self, folder, blocks):
        self.folder = folder
        self.commands = []
        #: All lines of the consoles, as documented.
        self._lines = [
            line
            for block in blocks
            if block.language == "console"
            for line, _ in commands(block)
        ]
        self._app = None
        self._close_shell = None
        self._names = {"__name__": "__main__"}
        self._services = Services(folder, environment())
        #: What sids and tags of the documents are here.
        self._real = {}
        self._answer = None
        for block in blocks:
            if block.file:
                self._write(block)

    def _write(self, block):
        """Put the block into its file, after those that are there."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = f"{path.read_text()}\n\n" if path.exists() else ""
        path.write_text(f"{before}{self._services.as_here(block.text)}\n")

    def run(self, block):
        """Do what the reader of the block would do."""
        run = getattr(self, f"_run_{block.language}", None)
        if run is None:
            pytest.fail(
                f"{block.where}: nothing runs blocks in {block.language!r}"
            )
        try:
            run(block)
        except AssertionError as error:
            error.add_note(f"This is about {block.where}")
            raise

    # -- Files --------------------------------------------------------------

    def _run_python(self, block):
        assert block.file, f"{block.where}: a file must be named"

    _run_html = _run_python

    def _run_text(self, block):
        assert block.file, f"{block.where}: a file must be named"
        if block.file.endswith(".crontab"):
            machine.check_crontab(block.text, self._lines)

    def _run_nginx(self, block):
        port = self._services.port("80")
        self._services.start(machine.nginx(self.folder, block.file, port))

    def _run_javascript(self, block):
        assert block.file, f"{block.where}: a file must be named"
        if shutil.which("node") is None:
            missing("there is no Node.js: apt-get install nodejs")
        parsed = subprocess.run(
            ["node", "--check", "--input-type=module", "-"],
            input=block.text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert parsed.returncode == 0, parsed.stderr

    def _run_typescript(self, block):
        compiling = [line for line in self._lines if " tsc " in line]
        assert any(line.endswith(f" {block.file}") for line in compiling)

    def unused_files(self, blocks):
        """List the files of Python that were neither imported nor run."""
        files = {block.file for block in blocks if block.language == "python"}
        return [
            file
            for file in files
            if file not in self.commands
            if not any(self._compiled(file))
        ]

    def _compiled(self, file):
        path = self.folder / file
        return (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")

    # -- The application ----------------------------------------------------

    def _run_ini(self, block):
        if block.file.endswith(".service"):
            machine.check_unit(
                block.text, block.file, self._lines, self.folder
            )
        elif not self._is_served(block.file):
            self.use(block.file)

    def _is_served(self, ini):
        """Tell whether the page starts a server with these settings."""
        return any(
            program_of(words) == "pserve" and ini in words
            for words in map(shlex.split, self._lines)
        )

    @property
    def app(self):
        """The application, made when it is needed."""
        return self._app or self.use("development.ini")

    def use(self, ini):
        """Make the application that a file of settings describes."""
        self.close()
        path = self.folder / ini
        app = get_app(str(path))
        described = configparser.RawConfigParser({"here": str(self.folder)})
        described.read(path)
        if described.has_option("server:main", "trusted_proxy"):
            settings = dict(described["server:main"])
            app = Proxied(app, without(settings, "use", "here"))
        environ = {"REMOTE_ADDR": "127.0.0.1"}
        self._app = TestApp(app, extra_environ=environ)
        return self._app

    def stop(self):
        """End all that the page has begun."""
        self.close()
        self._services.stop()

    def close(self):
        """Make room for another process to open the database."""
        if self._close_shell is not None:
            self._close_shell()
            del self._names["request"]  # the next session has another shell
        self._close_shell = None
        if self._app is not None:
            shut_down(self._app.app.registry)
        self._app = None

    def _shares_database(self):
        """Tell whether other processes can use its database beside it."""
        databases = {}
        if self._app is not None:
            databases = databases_of(self._app.app.registry)
        return not any(
            is_for_one_process(db.storage) for db in databases.values()
        )

    # -- Requests and answers -----------------------------------------------

    def _run_http(self, block):
        head, _, body = block.text.partition("\n\n")
        first, *lines = head.splitlines()
        if first.startswith("HTTP/"):
            self._expect(first, lines, body)
        else:
            method, path, _ = first.split()
            headers = dict(line.split(": ", 1) for line in lines)
            assert headers.keys() <= HEADERS, f"{block.where}: {headers}"
            self._send(method, path, headers)

    def _send(self, method, path, headers):
        self._request = method, path, headers
        real_path = self._as_here(path)
        if path == real_path and not path.startswith("/jobs/"):
            # jobs are faster than the reader, also one that was left when
            # the application was made anew; it starts with its first request
            self.app.app.registry.getUtility(IScheduler).start()
            drain(self.app)
        self._answer = self.app.request(
            real_path,
            method=method,
            headers={name: self._as_here(headers[name]) for name in headers},
            status="*",
        )

    def _as_here(self, text):
        """Put in the sids and tags that there are here."""
        for documented, real in self._real.items():
            text = text.replace(documented, real)
        return text

    def _expect(self, first, lines, body):
        """Compare the answer, of a job that goes on until it has come."""
        expected = "\n".join([first.split(" ", 1)[1], *lines, one_line(body)])
        pattern = self._pattern(expected)
        names = [line.split(":")[0] for line in lines]
        deadline = time.monotonic() + 60
        while True:
            found = tell(self._answer, names, with_body=bool(body))
            if match := re.fullmatch(pattern, found):
                break
            goes_on = "Retry-After" in self._answer.headers
            is_poll = self._request[0] == "GET" and goes_on
            assert is_poll, f"{expected}\n\nwas expected, not\n\n{found}"
            assert time.monotonic() < deadline, f"{expected} did not come"
            time.sleep(0.05)  # paces the loop; the condition decides
            self._send(*self._request)
        self._learn(match)

    def _learn(self, match):
        """Remember what the sids and tags of a text are here."""
        for group, real in match.groupdict().items():
            self._real[self._documented[group]] = real

    def _pattern(self, expected):
        """Make a pattern of a documented text.

        Sids and tags that were not seen before may be any, and so may times
        and what is left out.
        """
        self._documented = {}
        pattern = ""
        for part in re.split(f"({SID}|{TAG}|{TIME}|…)", expected):
            if re.fullmatch(SID, part):
                pattern += self._name_pattern(part, r"[\w.-]{22,64}")
            elif re.fullmatch(TAG, part):
                pattern += self._name_pattern(part, '"[^"]+"')
            elif re.fullmatch(TIME, part):
                pattern += TIME
            else:
                pattern += "(?s:.*)" if part == "…" else re.escape(part)
        return pattern

    def _name_pattern(self, documented, may_be):
        if documented in self._real:
            return re.escape(self._real[documented])
        for group, known in self._documented.items():
            if known == documented:
                return f"(?P={group})"
        group = f"name{len(self._documented)}"
        self._documented[group] = documented
        return f"(?P<{group}>{may_be})"

    # -- Sessions -----------------------------------------------------------

    def _run_pycon(self, block):
        if "request" in block.text and "request" not in self._names:
            self._open_shell()
        session = doctest.DocTestParser().get_doctest(
            block.text.replace("…", "..."),
            self._names,
            block.where,
            block.where,
            0,
        )
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        said = []
        runner.run(session, out=said.append, clear_globs=False)
        self._names.update(session.globs)
        assert runner.failures == 0, "".join(said)

    def _open_shell(self):
        """Give sessions what `pshell` gives them."""
        request = Request.blank("/")
        env = prepare(request, registry=self.app.app.registry)
        self._names.update(request=env["request"], root=env["root"])
        self._close_shell = env["closer"]

    # -- Commands -----------------------------------------------------------

    def _run_console(self, block):
        for line, output in commands(block):
            command = shlex.split(self._services.as_here(line))
            program = program_of(command)
            if program in SERVERS:
                self._serve(command)
            elif program in {"pip", "python3"}:
                self._install(command)
            elif program == "npm":
                self._install_for_node(command)
            elif program == "curl":
                self._ask(command, output.strip())
            elif program in PROGRAMS:
                said = self._services.call(command)
                assert said.strip() == output.strip() or not output, said
            elif program == "rabbitmqctl":
                self._services.administer_rabbitmq(command[1:])
            else:
                assert command[0] in {"python", "env/bin/python"}
                self._execute(command[1:], output)

    def _serve(self, command):
        """Start a server, which has the database for itself if need be."""
        if not self._shares_database():
            self.close()
        # the first pages leave it to the reader how to install a bookshop
        here = str(self.folder)
        self._services.environment.setdefault("PYTHONPATH", here)
        self._services.start(command)

    def _install(self, command):
        """Take what is here for what is to be installed."""
        if command[0] == "python3":
            assert command[1:3] == ["-m", "venv"]
            machine.use_this_environment(self.folder, command[3])
            return
        assert command[1] == "install"
        for requirement in command[2:]:
            if "/" in requirement:
                self._services.environment["PYTHONPATH"] = str(self.folder)
            else:
                check_requirement(requirement)

    def _install_for_node(self, command):
        """Take what the tests have for what npm is to install."""
        assert command[1] == "install"
        packages = typescript_packages()
        for requirement in command[2:]:
            name, _, version = requirement.partition("@")
            described = (packages / name / "package.json").read_text()
            found = json.loads(described)["version"]
            assert f"{found}.".startswith(version and f"{version}."), found
        (self.folder / "node_modules").symlink_to(packages)

    def _ask(self, command, output):
        """Send a request by curl; again, if its job goes on."""
        words = [self._as_here(word) for word in command[1:]]
        if not words[-1].startswith("http://127.0.0.1:"):
            # what a name server would say
            words += [
                "--connect-to",
                f"::127.0.0.1:{self._services.port('80')}",
            ]
        pattern = self._pattern(output)
        deadline = time.monotonic() + 180
        while True:
            said = self._services.call(["curl", "-sS", *words])
            found = said.replace("\r", "").strip()
            if match := re.fullmatch(pattern, found):
                break
            assert "-X" not in words, found
            assert '"done": false' in found, found
            assert time.monotonic() < deadline, f"{output} did not come"
            time.sleep(0.1)  # paces the loop; the condition decides
        self._learn(match)

    def _execute(self, arguments, output):
        if not self._shares_database():
            self.close()
        self.commands += arguments
        said = self._services.call([sys.executable, *arguments])
        expected = self._pattern(output.strip())
        assert re.fullmatch(expected, said.strip()), said


def without(settings, *names):
    return {name: settings[name] for name in settings if name not in names}


def tell(answer, names, *, with_body):
    """Write an answer as documents do, with the headers of these names."""
    lines = [f"{name}: {told(answer, name)}" for name in names]
    body = answer.text if with_body else ""
    if with_body and "json" in answer.content_type:
        body = json.dumps(answer.json)
    return "\n".join([answer.status, *lines, body])


def told(answer, name):
    """Give a header, without the charset that JSON does not need."""
    return answer.headers.get(name, "(missing)").split("; charset=")[0]


def one_line(body):
    """Undo the line breaks of a documented body."""
    return re.sub(r"\n *", " ", body)


def commands(block):
    """List the commands of a block, each with its output."""
    assert block.text.startswith("$ ")
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield line, output


def environment():
    """Give what a new terminal has, and nothing of this one's Python."""
    return {
        name: os.environ[name]
        for name in ("HOME", "LANG", "PATH", "TMPDIR")
        if name in os.environ
    }


def check_requirement(text):
    """Tell whether what pip is told to install is installed here."""
    from importlib.metadata import requires, version

    from packaging.requirements import Requirement

    requirement = Requirement(text)
    assert version(requirement.name)
    for extra in ["", *requirement.extras]:
        for line in requires(requirement.name) or ():
            needed = Requirement(line)
            if not needed.marker or needed.marker.evaluate({"extra": extra}):
                assert needed.specifier.contains(
                    version(needed.name), prereleases=True
                )
