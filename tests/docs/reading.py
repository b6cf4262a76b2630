"""Finds the code blocks of the documentation, as Sphinx and docutils do."""

import os
import pickle
import subprocess
import sys
from typing import NamedTuple

from docutils import nodes
from docutils.core import publish_doctree
from folders import REPOSITORY


class Block(NamedTuple):
    """A code block, and where it stands."""

    language: str
    text: str
    #: The name of the file that the reader is told to put it into.
    file: str | None
    where: str


#: What Pyramid 2.1 has newer versions of setuptools say.
OF_PYRAMID = "ignore:pkg_resources is deprecated as an API:UserWarning"


def build(folder):
    """Build the documentation as `make docs` does; give what Sphinx said."""
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-E"]
    process = subprocess.run(
        [*command, "-d", folder / "doctrees", "docs", folder / "html"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONWARNINGS": OF_PYRAMID},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout


def read_built(folder, page):
    """Read a page that :func:`build` has built."""
    with (folder / "doctrees" / f"{page}.doctree").open("rb") as doctree:
        return pickle.load(doctree)


def read(path):
    """Read a page that must not need Sphinx; every flaw is an error."""
    settings = {"halt_level": 2, "syntax_highlight": "none"}
    return publish_doctree(
        path.read_text(), str(path), settings_overrides=settings
    )


def blocks_of(document, page):
    """List the code blocks of a page that was read."""
    return [
        Block(
            language=language(node),
            text=node.astext(),
            file=file_name(node),
            where=f"{page}, line {node.line}",
        )
        for node in document.findall(nodes.FixedTextElement)
        if isinstance(node, nodes.literal_block | nodes.doctest_block)
        if not is_docstring(node)
    ]


def docstring_examples(document):
    """List the texts of the code blocks that come from docstrings."""
    return [
        node.astext()
        for node in document.findall(nodes.FixedTextElement)
        if is_docstring(node)
    ]


def is_docstring(node):
    return "docstring of " in (node.source or "")


def language(node):
    """Tell a block's language: Sphinx says so, docutils has it as a class."""
    classes = [name for name in node["classes"] if name != "code"]
    return node.get("language") or (classes or ["none"])[0]


def file_name(node):
    """Tell a block's file: its caption, or what the text before ends with."""
    if isinstance(node.parent, nodes.container):
        return node.parent[0].astext()
    before = node.previous_sibling()
    if isinstance(before, nodes.paragraph) and before.astext().endswith(":"):
        *_, last = before.children
        literal = before[-2] if last.astext() == ":" else last
        if isinstance(literal, nodes.literal):
            return literal.astext()
    return None
