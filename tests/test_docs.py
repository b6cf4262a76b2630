"""Every code block of the documentation does what the text says."""

import ast
import contextlib
import json
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import packages_distributions, requires
from itertools import takewhile

import pytest
from docs.chromium import visit
from docs.reading import (
    REPOSITORY,
    Block,
    blocks_of,
    build,
    docstring_examples,
    read,
    read_built,
)
from docs.running import Page, check_requirement, commands, environment
from docutils.utils import SystemMessage
from packaging.requirements import Requirement
from sphinx.addnodes import desc_signature
from webtest.http import StopableWSGIServer

import pyramid_zodb_async
from pyramid_zodb_async import request, testing

DOCS = sorted(path.stem for path in (REPOSITORY / "docs").glob("*.rst"))

#: The other pages go on with the application of these.
FIRST_PAGES = ["index", "usage"]

PORT = "6543"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the documentation; give the folder."""
    folder = tmp_path_factory.mktemp("docs")
    assert build(folder) == (0, "")
    return folder


@pytest.fixture
def open_page(built, tmp_path, monkeypatch):
    """Give a function that makes a page ready to be run."""
    opened = []

    def open_page(name):
        needed = takewhile(lambda page: page != name, FIRST_PAGES)
        blocks = [
            block for page in needed for block in built_blocks(built, page)
        ]
        opened.append(Page(tmp_path, [*blocks, *built_blocks(built, name)]))
        return opened[0]

    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.chdir(tmp_path)
    yield open_page
    for page in opened:
        page.close()
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def built_blocks(built, name):
    """List the code blocks of a page of the built documentation."""
    return blocks_of(read_built(built, name), name)


@pytest.mark.parametrize("name", DOCS)
def test_every_block_of_a_page_does_what_it_says(open_page, built, name):
    page = open_page(name)
    blocks = built_blocks(built, name)
    for block in blocks:
        if block.language in {"html", "javascript"}:
            assert name in IN_BROWSER, f"{block.where}: no browser opens it"
        page.run(block)

    assert page.unused_files(blocks) == []


def take_stock(page):
    """Do what the page `stock.html` invites to."""
    page.get_by_role("button", name="Take stock").click()
    page.get_by_text("Looking for").wait_for()
    page.get_by_text("In stock: Emma, Ulysses, Middlemarch").wait_for()


#: What a browser opens of a page, and what is done there.
IN_BROWSER = {"usage": ("/static/stock.html", take_stock)}


@pytest.mark.browser
@pytest.mark.parametrize("name", list(IN_BROWSER))
def test_every_block_for_a_browser_does_what_it_says(open_page, built, name):
    page = open_page(name)
    path, look = IN_BROWSER[name]
    server = StopableWSGIServer.create(page.app.app)
    try:
        loaded = visit(server.application_url.rstrip("/") + path, look)
    finally:
        server.shutdown()

    for block in built_blocks(built, name):
        if block.language in {"html", "javascript"}:
            file = block.file.rpartition("/")[2]
            assert any(url.endswith(f"/{file}") for url in loaded)


@pytest.mark.parametrize("name", DOCS)
def test_no_block_of_a_page_is_overlooked(built, name):
    source = (REPOSITORY / "docs" / f"{name}.rst").read_text()
    directives = re.findall(
        r"^ *\.\. [a-z-]*code[a-z-]*::", source, re.MULTILINE
    )

    assert len(built_blocks(built, name)) == len(directives)


@pytest.mark.parametrize(
    ("language", "text", "file"),
    [
        ("none", "a = 1", None),
        ("cobol", "STOP RUN.", "stop.cob"),
        ("python", "a = 1", None),
        ("console", "rm -rf /", None),
        ("pycon", ">>> 1 + 1\n3\n", None),
        ("http", "GET /nowhere HTTP/1.1\nCookie: a=1", None),
    ],
)
def test_a_block_that_cannot_be_run_fails(tmp_path, language, text, file):
    block = Block(language, text, file, "somewhere")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        Page(tmp_path, [block]).run(block)


def test_a_file_that_nothing_uses_is_found(tmp_path):
    block = Block("python", "a = 1", "unused.py", "somewhere")

    assert Page(tmp_path, [block]).unused_files([block]) == ["unused.py"]


def test_the_examples_in_docstrings_run(built, db, connection):
    names = vars(pyramid_zodb_async) | {"shop": connection.root()}
    names["customer"] = connection.root()
    for name in DOCS:
        document = read_built(built, name)
        for text in docstring_examples(document):
            exec(text, dict(names))


def test_the_api_page_lists_what_is_public_and_nothing_else(built):
    document = read_built(built, "api")
    listed = {
        (signature["module"], signature["fullname"])
        for signature in document.findall(desc_signature)
        if "." not in signature["fullname"]
    }
    public = {
        (module.__name__, name)
        for module in (pyramid_zodb_async, request, testing)
        for name in module.__all__
    }

    assert listed == public


# -- The texts beside the documentation ---------------------------------------


@pytest.mark.parametrize("name", ["CHANGES.rst", "CONTRIBUTING.rst"])
def test_a_text_without_code_stays_so(name):
    document = read(REPOSITORY / name)

    assert blocks_of(document, name) == []


def test_a_flaw_in_a_text_is_found(tmp_path):
    (tmp_path / "flawed.rst").write_text("A `link_ that ends nowhere\n")
    with pytest.raises(SystemMessage):
        read(tmp_path / "flawed.rst")


@pytest.mark.parametrize("name", ["README.rst", "CONTRIBUTING.rst"])
def test_each_command_of_make_that_a_text_names_is_there(name):
    text = (REPOSITORY / name).read_text()
    targets = set(re.findall(r"``make ([a-z]+)``", text))
    rules = (REPOSITORY / "Makefile").read_text()

    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", rules, re.MULTILINE), target


# -- The five minutes of the README -------------------------------------------


class Readme:
    """What the README says, in a folder where a stranger follows it."""

    def __init__(self, folder):
        document = read(REPOSITORY / "README.rst")
        blocks = blocks_of(document, "README.rst")
        # a further block needs a test here
        self.install, *self.files, self.start = blocks
        assert [block.language for block in blocks] == [
            "console",
            "python",
            "python",
            "console",
        ]
        self._folder = folder
        # all is as the README has it but the port, which may be taken
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self.url = f"http://localhost:{self._port}"
        for block in self.files:
            text = block.text.replace(PORT, self._port)
            (folder / block.file).write_text(text)

    @contextlib.contextmanager
    def served(self):
        """Run the command, and go on when it answers."""
        ((line, _),) = commands(self.start)
        python, *arguments = shlex.split(line)
        assert python == "env/bin/python"
        log = self._folder / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._folder,
                env=environment(),
                stdout=said,
                stderr=said,
            )
        try:
            deadline = time.monotonic() + 30
            while not self._answers():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)  # paces the loop; the condition decides
            yield
        finally:
            process.terminate()
            process.wait()

    def _answers(self):
        with contextlib.suppress(OSError), self.ask("/"):
            return True
        return False

    def ask(self, path, method="GET"):
        """Send a request."""
        return urllib.request.urlopen(
            urllib.request.Request(self.url + path, method=method), timeout=30
        )


@pytest.fixture
def readme(tmp_path):
    """Give the README, followed in an empty folder up to its start."""
    return Readme(tmp_path)


def test_the_readme_installs_all_that_its_application_needs(readme):
    (make, _), (install, _) = commands(readme.install)
    *pip, requirement = shlex.split(install)
    check_requirement(requirement)
    imported = {
        module
        for block in readme.files
        for module in imported_modules(block.text)
    }

    assert make == "python3 -m venv env"
    assert pip == ["env/bin/pip", "install"]
    own = {block.file.removesuffix(".py") for block in readme.files}
    assert imported - own <= modules_of(Requirement(requirement))


def imported_modules(source):
    """Give the top names of the modules that *source* imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def modules_of(requirement):
    """Give what can be imported once a requirement is installed."""
    installed = set(requirement_names(requirement, set()))
    found = packages_distributions().items()
    modules = {
        module
        for module, distributions in found
        if installed & {canonical(name) for name in distributions}
    }
    return modules | sys.stdlib_module_names | {"pyramid_zodb_async"}


def requirement_names(requirement, seen):
    """Give the names of what a requirement brings."""
    key = (canonical(requirement.name), frozenset(requirement.extras))
    if key in seen:
        return
    seen.add(key)
    yield key[0]
    for line in requires(requirement.name) or ():
        needed = Requirement(line)
        for extra in ["", *requirement.extras]:
            if not needed.marker or needed.marker.evaluate({"extra": extra}):
                yield from requirement_names(needed, seen)


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_readme_gives_a_job_that_counts(readme):
    with readme.served():
        answer = readme.ask("/count", "POST")
        assert answer.status == 202
        path = answer.headers["Location"].removeprefix(readme.url)
        document = follow(readme, path)
        assert document["result"] == {"total": 137}
        assert document["progress"]["done"] == 4
    with readme.served():
        assert "In stock: <output>137" in readme.ask("/").read().decode()


def test_the_job_of_the_readme_survives_its_server(readme):
    with readme.served():
        readme.ask("/count", "POST")
    with readme.served():
        deadline = time.monotonic() + 30
        while "In stock: <output>137" not in readme.ask("/").read().decode():
            assert time.monotonic() < deadline
            time.sleep(0.1)  # paces the loop; the condition decides


def follow(readme, path):
    """Ask for a job until it has ended."""
    deadline = time.monotonic() + 30
    while True:
        answer = readme.ask(path)
        document = json.load(answer)
        if document["done"]:
            return document
        assert time.monotonic() < deadline
        time.sleep(float(answer.headers["Retry-After"]))  # as clients do


@pytest.mark.browser
def test_the_readme_gives_a_page_that_shows_progress_and_result(readme):
    def look(page):
        page.get_by_text("not counted yet").wait_for()
        page.get_by_role("button", name="Count").click()
        page.wait_for_function(
            "0 < document.querySelector('progress').value"
            " && document.querySelector('progress').value < 1"
        )
        page.get_by_text("In stock: 137").wait_for()

    with readme.served():
        visit(readme.url, look)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('self.shelves = {"apples": 40', "self.shelves = {} #"), "nothing"),
        (("total = 0\n", "total = 1 / 0\n"), "The job failed"),
    ],
)
def test_the_readme_page_shows_what_it_says_of_errors(
    readme, tmp_path, change, message
):
    def look(page):
        page.get_by_role("button", name="Count").click()
        page.get_by_text(message).wait_for()
        page.reload()
        page.get_by_text("not counted yet").wait_for()

    shop = tmp_path / "shop.py"
    changed = shop.read_text().replace(*change)
    assert changed != shop.read_text()
    shop.write_text(changed)
    with readme.served():
        visit(readme.url, look)
