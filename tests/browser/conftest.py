"""A browser, and the demo on a server of its own."""

import itertools
import random
import re
import shutil
import urllib.parse
from pathlib import Path

import pytest
from needed import missing
from served import Server
from shown_element import Element

HERE = Path(__file__).parent

gates = (f"gate{number}-" for number in itertools.count(1))

#: Slow enough to watch, and faster than for people.
PACE = {"text_analyser__seconds_per_megabyte": 9}


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        make = browser.new_context

        def new_context(**options):
            context = make(**options)
            context.set_default_timeout(90_000)
            return context

        browser.new_context = new_context
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """Open a page in which no error may pass unseen."""
    context = browser.new_context()
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def make_server(tmp_path_factory):
    servers = []

    def make(**settings):
        folder = tmp_path_factory.mktemp("demo")
        server = Server(folder, **{**PACE, **settings})
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Serve the demo, and give its URL."""
    server = Server(tmp_path_factory.mktemp("demo"), **PACE)
    server.start()
    yield server.url
    server.kill()


@pytest.fixture
def gate():
    """Give the beginning of the names of gates that are the test's alone."""
    return next(gates)


@pytest.fixture
def show(page, server):
    """Give a function that opens a page about jobs."""

    def show(*sids, **attributes):
        pairs = [("sid", sid) for sid in sids]
        pairs += list(attributes.items())
        page.goto(f"{server.url}/page?{urllib.parse.urlencode(pairs)}")
        return Element(page)

    return show


COMMON = re.findall(
    r"\w+",
    "the of and a to in he was that his it with is for as had you not be her"
    " on at by which have or from this him but all she they were my are me"
    " one their so an said them we who would been will no when there if more"
    " out up into do any your what has man could other than our some very"
    " time upon about may its only now like little then can should made",
)
SYLLABLES = re.findall(
    r"\w+", "ka lo mi ter ven sol ran del qui no bar est our ing al"
)


@pytest.fixture(scope="session")
def novel(tmp_path_factory):
    """Write a text of one megabyte, the same every time."""
    chance = random.Random(1)
    rare = [
        "".join(chance.choices(SYLLABLES, k=chance.randint(2, 4)))
        for _ in range(5000)
    ]
    sentences, size = [], 0
    while size < 1_000_000:
        words = [
            chance.choice(rare)
            if chance.random() < 0.35
            else COMMON[int(len(COMMON) * chance.random() ** 3)]
            for _ in range(chance.randint(4, 20))
        ]
        sentences.append(" ".join(words).capitalize() + ".")
        size += len(sentences[-1]) + 1
    path = tmp_path_factory.mktemp("texts") / "novel.txt"
    path.write_text("\n".join(sentences))
    return path


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    """Write a file that is no text."""
    path = tmp_path_factory.mktemp("texts") / "holiday.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9)
    return path
