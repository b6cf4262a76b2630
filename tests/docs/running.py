"""Does with the code blocks of a page what its reader would do."""

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import time

import pytest
from pyramid.paster import get_app
from pyramid.request import Request
from pyramid.scripting import prepare
from shop import shut_down
from webtest import TestApp

from pyramid_zodb_async.testing import drain

#: Twenty-two characters that nobody would write otherwise; those of a job in
#: the database stand after their slice.
SID = r"(?<![\w-])(?=[\w-]*\d)(?:[0-9a-f]{5}-)?[\w-]{22}(?![\w-])"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Page:
    """Runs blocks in a folder, where it has put all that are files."""

    def __init__(self, folder, blocks):
        self.folder = folder
        self.commands = []
        self._app = None
        self._close_shell = None
        self._names = {"__name__": "__main__"}
        self._sids = {}
        self._answer = None
        for block in blocks:
            if block.file:
                self._write(block)

    def _write(self, block):
        """Put the block into its file, after those that are there."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = f"{path.read_text()}\n\n" if path.exists() else ""
        path.write_text(f"{before}{block.text}\n")

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

    _run_html = _run_javascript = _run_python

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
        self.use(block.file)

    @property
    def app(self):
        """The application, made when it is needed."""
        return self._app or self.use("development.ini")

    def use(self, ini):
        """Make the application that a file of settings describes."""
        self.close()
        self._app = TestApp(get_app(str(self.folder / ini)))
        return self._app

    def close(self):
        """Make room for another process to open the database."""
        if self._close_shell is not None:
            self._close_shell()
        self._close_shell = None
        if self._app is not None:
            shut_down(self._app.app.registry)
        self._app = None

    # -- Requests and answers -----------------------------------------------

    def _run_http(self, block):
        head, _, body = block.text.partition("\n\n")
        first, *lines = head.splitlines()
        if first.startswith("HTTP/"):
            self._expect(first, lines, body)
        else:
            assert not lines
            method, path, _ = first.split()
            self._send(method, path)

    def _send(self, method, path):
        for documented, real in self._sids.items():
            path = path.replace(documented, real)
        if not path.startswith("/jobs/"):
            drain(self.app)  # jobs are faster than the reader
        self._request = method, path
        self._answer = self.app.request(path, method=method, status="*")

    def _expect(self, first, lines, body):
        """Compare the answer, of a job that goes on until it has come."""
        expected = "\n".join([first.split(" ", 1)[1], *lines, one_line(body)])
        pattern = self._pattern(expected)
        names = [line.split(":")[0] for line in lines]
        deadline = time.monotonic() + 10
        while True:
            found = tell(self._answer, names, with_body=bool(body))
            if match := re.fullmatch(pattern, found):
                break
            goes_on = "Retry-After" in self._answer.headers
            is_poll = self._request[0] == "GET" and goes_on
            assert is_poll, f"{expected}\n\nwas expected, not\n\n{found}"
            assert time.monotonic() < deadline, f"{expected} did not come"
            self._send(*self._request)
        for group, real in match.groupdict().items():
            self._sids[self._documented[group]] = real

    def _pattern(self, expected):
        """Make a pattern of a documented text.

        Sids that were not seen before may be any, and so may times and what
        is left out.
        """
        self._documented = {}
        pattern = ""
        for part in re.split(f"({SID}|{TIME}|…)", expected):
            if re.fullmatch(SID, part):
                pattern += self._sid_pattern(part)
            elif re.fullmatch(TIME, part):
                pattern += TIME
            else:
                pattern += "(?s:.*)" if part == "…" else re.escape(part)
        return pattern

    def _sid_pattern(self, documented):
        if documented in self._sids:
            return re.escape(self._sids[documented])
        for group, known in self._documented.items():
            if known == documented:
                return f"(?P={group})"
        group = f"sid{len(self._documented)}"
        self._documented[group] = documented
        return rf"(?P<{group}>[\w-]{{{len(documented)}}})"

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
            command = shlex.split(line)
            if command[:2] == ["pip", "install"]:
                check_requirement(command[2])
            else:
                assert command[0] == "python"
                self._execute(command[1:], output)

    def _execute(self, arguments, output):
        self.close()
        self.commands += arguments
        said = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert said.returncode == 0, said.stdout + said.stderr
        expected = self._pattern(output.strip())
        assert re.fullmatch(expected, said.stdout.strip()), said.stdout


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
    assert requirement.name == "pyramid-zodb-async"
    for extra in ["", *requirement.extras]:
        for line in requires(requirement.name):
            needed = Requirement(line)
            if not needed.marker or needed.marker.evaluate({"extra": extra}):
                assert needed.specifier.contains(
                    version(needed.name), prereleases=True
                )
