"""Every code block of the documentation does what the text says."""

import ast
import contextlib
import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from importlib import import_module
from importlib.metadata import packages_distributions, requires
from itertools import takewhile

import pytest
from axe_playwright_python.sync_playwright import Axe
from docs.chromium import cuts_code, is_too_wide, visit
from docs.machine import check_unit, use_this_environment
from docs.reading import (
    Block,
    blocks_of,
    build,
    docstring_examples,
    read,
    read_built,
)
from docs.running import Page, check_requirement, commands, environment
from folders import REPOSITORY
from needed import HAS_ZOPE, NO_ZOPE, missing
from packaging.requirements import Requirement
from ports import free_port
from sphinx.addnodes import desc_signature
from webtest.http import StopableWSGIServer

import pyramid_zodb_async
from pyramid_zodb_async import events, testing
from pyramid_zodb_async.config import directives
from pyramid_zodb_async.web import request_jobs, request_schedule, templates

DOCS = sorted(path.stem for path in (REPOSITORY / "docs").glob("*.rst"))

#: The other pages go on with the application of these.
FIRST_PAGES = ["index", "usage"]

#: What these start is slow to come where much else runs.
SLOW = ["deployment"]

#: What these say is run in Zope.
IN_ZOPE = ["zope"]

PORT = "6543"

#: The widths of telephones, a tablet, a desk; the last is a sheet's, too.
WIDTHS = [320, 390, 768, 1280, 640]


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
        if name in {*IN_BROWSER, "http"}:
            slow_down(tmp_path / "bookshop" / "jobs.py")
        return opened[0]

    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.chdir(tmp_path)
    yield open_page
    for page in opened:
        page.stop()
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def slow_down(jobs):
    """Have a job take its time, so that nobody misses it at work."""
    slow = jobs.read_text().replace("time.sleep(1)", "time.sleep(2)")
    assert "time.sleep(2)" in slow
    jobs.write_text(slow)


def built_blocks(built, name):
    """List the code blocks of a page of the built documentation."""
    return blocks_of(read_built(built, name), name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.timeout(600))
        if name in SLOW
        else name
        for name in DOCS
    ],
)
def test_every_block_of_a_page_does_what_it_says(open_page, built, name):
    if name in IN_ZOPE and not HAS_ZOPE:
        missing(NO_ZOPE)
    page = open_page(name)
    blocks = built_blocks(built, name)
    for block in blocks:
        if is_for_a_browser(block):
            assert name in IN_BROWSER, f"{block.where}: no browser opens it"
        page.run(block)

    assert page.unused_files(blocks) == []


def is_for_a_browser(block):
    """Tell whether a browser opens the file; others are for a bundler."""
    is_bundled = block.file and block.file.startswith("frontend/")
    return block.language in {"html", "javascript"} and not is_bundled


def take_stock(page):
    """Do what the page `stock.html` invites to."""
    page.get_by_role("button", name="Take stock").click()
    page.get_by_text("Looking for").wait_for()
    page.get_by_text("In stock: Emma, Ulysses, Middlemarch").wait_for()
    page.get_by_role("button", name="Take stock").click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped.").wait_for()


def watch_stock(page):
    """Take stock on the page `/stock`."""
    page.get_by_role("button", name="Take stock").click()
    page.get_by_text("Looking for").first.wait_for()
    page.locator("job-progress[state=succeeded]").wait_for()


def make_report(page):
    """Find the best sellers on the page `/report`."""
    page.get_by_role("button", name="Find them").click()
    page.wait_for_url("**/report")
    page.get_by_text("Emma, Middlemarch").wait_for()


def see_looks(page):
    """Look at the page `looks.html`, whose job begins by itself."""
    page.locator("job-progress[state=running]").wait_for()
    assert page.get_by_role("progressbar").bounding_box()["height"] == 24
    page.locator("job-progress[state=succeeded]").wait_for()


def put_in(page):
    """Do on the page `htmx.html` what htmx would do."""
    page.evaluate(
        """async () => {
          const button = document.querySelector("[hx-swap=outerHTML]");
          const path = button.getAttribute("hx-post");
          const answer = await fetch(path, { method: "POST" });
          button.outerHTML = await answer.text();
        }"""
    )
    page.locator("job-progress[state=succeeded]").wait_for()


#: What a browser opens of a page, and what is done there.
IN_BROWSER = {
    "usage": [("/stock", watch_stock)],
    "client": [
        ("/report", make_report),
        ("/static/looks.html", see_looks),
        ("/static/htmx.html", put_in),
        ("/static/stock.html", take_stock),
    ],
}


@pytest.mark.browser
@pytest.mark.parametrize("name", list(IN_BROWSER))
def test_every_block_for_a_browser_does_what_it_says(open_page, built, name):
    page = open_page(name)
    server = StopableWSGIServer.create(page.app.app, port=free_port())
    loaded = []
    try:
        for path, look in IN_BROWSER[name]:
            url = server.application_url.rstrip("/") + path
            loaded += visit(url, look)
    finally:
        server.shutdown()

    for block in built_blocks(built, name):
        if is_for_a_browser(block):
            file = block.file.rpartition("/")[2]
            assert any(url.endswith(f"/{file}") for url in loaded)


@pytest.mark.browser
def test_no_page_scrolls_sideways_and_none_is_cut_on_paper(built):
    first, *others = sorted((built / "html").glob("*.html"))
    wide = []

    def look(page):
        for path in (first, *others):
            page.emulate_media(media="screen")
            page.goto(path.as_uri())
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 800})
                if is_too_wide(page):
                    wide.append((path.name, width))
            page.emulate_media(media="print")
            if is_too_wide(page) or cuts_code(page):
                wide.append((path.name, "paper"))

    visit(first.as_uri(), look)

    assert len(others) > len(DOCS)
    assert wide == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 800])
def test_what_stands_on_a_page_has_contrast(built, width):
    def look(page):
        page.set_viewport_size({"width": width, "height": 800})
        results = Axe().run(page, options={"runOnly": ["color-contrast"]})
        assert results.violations_count == 0, results.generate_report()

    visit((built / "html" / "settings.html").as_uri(), look)


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
        ("console", "$ openapi-python-client --version\nnone", None),
        ("console", "$ npm run build", None),
        ("typescript", "let a = 1;", "a.mts"),
        ("pycon", ">>> 1 + 1\n3\n", None),
        ("http", "GET /nowhere HTTP/1.1\nCookie: a=1", None),
    ],
)
def test_a_block_that_cannot_be_run_fails(tmp_path, language, text, file):
    block = Block(language, text, file, "somewhere")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        Page(tmp_path, [block]).run(block)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("serve %i", "serve more %i"), "serve more"),
        (("/srv/shop/env", "/srv/env"), "/srv/env"),
    ],
)
def test_a_unit_that_is_wrong_fails(tmp_path, change, message):
    text = (
        "[Service]\nWorkingDirectory=/srv/shop\n"
        "ExecStart=/srv/shop/env/bin/python serve %i\nKillMode=mixed"
    )
    lines = ["env/bin/python serve 6543"]
    use_this_environment(tmp_path, "env")

    check_unit(text, "some@.service", lines, tmp_path)
    with pytest.raises(AssertionError, match=message):
        check_unit(text.replace(*change), "some@.service", lines, tmp_path)


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
    modules = [
        pyramid_zodb_async,
        directives,
        events,
        templates,
        request_jobs,
        request_schedule,
        testing,
    ]
    if HAS_ZOPE:
        modules.append(import_module("pyramid_zodb_async.zope2"))
    listed = {
        (signature["module"], signature["fullname"])
        for signature in document.findall(desc_signature)
        if "." not in signature["fullname"]
        if HAS_ZOPE or signature["module"] != "pyramid_zodb_async.zope2"
    }
    public = {
        (module.__name__, name)
        for module in modules
        for name in module.__all__
    }

    assert listed == public


# -- The texts beside the documentation ---------------------------------------


@pytest.mark.parametrize("name", ["CHANGES.rst", "CONTRIBUTING.rst"])
def test_a_text_without_code_stays_so(name):
    document = read(REPOSITORY / name)

    assert blocks_of(document, name) == []


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
        self._port = str(free_port())
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
            deadline = time.monotonic() + 90
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
            urllib.request.Request(self.url + path, method=method), timeout=60
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
        shown = readme.ask("/count", "POST").read().decode()
        path = re.search(r'<job-progress src="(/jobs/[^"]+)"', shown)[1]
        document = follow(readme, path)
        assert document["result"] == {"total": 137}
        assert document["progress"]["done"] == 4
    with readme.served():
        assert "In stock: 137" in readme.ask("/").read().decode()


def test_the_job_of_the_readme_survives_its_server(readme):
    with readme.served():
        readme.ask("/count", "POST")
    with readme.served():
        deadline = time.monotonic() + 90
        while "In stock: 137" not in readme.ask("/").read().decode():
            assert time.monotonic() < deadline
            time.sleep(0.1)  # paces the loop; the condition decides


def follow(readme, path):
    """Ask for a job until it has ended."""
    deadline = time.monotonic() + 90
    while True:
        answer = readme.ask(path)
        document = json.load(answer)
        if document["done"]:
            return document
        assert time.monotonic() < deadline
        time.sleep(float(answer.headers["Retry-After"]))  # as clients do


@pytest.fixture
def count_fruits(tmp_path, readme):
    """Give a function that lets the job count, which takes no time else."""
    shop = tmp_path / "shop.py"
    held = shop.read_text().replace(
        "time.sleep(0.8)", "__import__('held').wait_for(fruit)"
    )
    assert "wait_for" in held
    shop.write_text(held)
    (tmp_path / "held.py").write_text(HELD)

    def count(*fruits):
        for fruit in fruits:
            (tmp_path / fruit).touch()

    return count


HELD = """
import pathlib
import time

def wait_for(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.01)
"""


@pytest.mark.browser
def test_the_readme_gives_a_page_that_shows_progress_and_result(
    readme, count_fruits
):
    def look(page):
        page.get_by_text("not counted yet").wait_for()
        page.get_by_role("button", name="Count").click()
        for fruit, percent in [("apples", 25), ("pears", 50)]:
            count_fruits(fruit)
            page.locator(f"[aria-valuenow='{percent}']").wait_for()
            page.reload()
            page.locator(f"[aria-valuenow='{percent}']").wait_for()
        count_fruits("plums", "figs")
        page.get_by_text("In stock: 137").wait_for()
        assert page.get_by_role("progressbar").count() == 0

    with readme.served():
        visit(readme.url, look)


@pytest.mark.browser
def test_the_bar_of_the_readme_goes_on_after_a_restart(readme, count_fruits):
    def look(page):
        page.get_by_role("button", name="Count").click()
        count_fruits("apples", "pears")
        page.locator("[aria-valuenow='50']").wait_for()
        server.close()
        server.enter_context(readme.served())
        count_fruits("plums", "figs")
        page.get_by_text("In stock: 137").wait_for()

    with contextlib.ExitStack() as server:
        server.enter_context(readme.served())
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
        page.get_by_text(message).first.wait_for()
        page.get_by_role("button", name="Try again").wait_for()
        page.reload()
        page.get_by_text("not counted yet").wait_for()

    shop = tmp_path / "shop.py"
    changed = shop.read_text().replace(*change)
    assert changed != shop.read_text()
    shop.write_text(changed)
    with readme.served():
        visit(readme.url, look)
