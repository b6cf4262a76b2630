"""Directives that make documentation from the code it is about."""

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata, OptionSpec
from zope.interface.interface import Attribute, InterfaceClass, Method

from pyramid_zodb_async import settings

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "pyramid_zodb_async"


class _Generated(SphinxDirective):
    """Parses the text that a subclass makes, in place of itself."""

    def text(self) -> str:
        """Make the text."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """See :class:`docutils.parsers.rst.Directive`."""
        return self.parse_text_to_nodes(self.text())


class SettingsTable(_Generated):
    """``.. settings-table::`` describes each setting of the table."""

    def text(self) -> str:
        """Make an entry of each field of the table."""
        return "\n".join(
            f".. confval:: {settings.PREFIX}{setting.name}\n"
            f"   :default: {_shown(setting.default)}\n\n"
            f"   {setting.metadata['meaning']}\n"
            f"   It takes {setting.metadata['allowed']}.\n"
            for setting in dataclasses.fields(settings.Settings)
        )


def _shown(default: object) -> str:
    """Write a default as it stands in a settings file."""
    if default in (None, (), ""):
        return "none"
    return f"``{str(default).removesuffix('.0')}``"


class RoomsTable(_Generated):
    """``.. rooms-table::`` tells what each room is for, from the top."""

    def text(self) -> str:
        """Make a list of the rooms, in the order that a test holds."""
        test = ast.parse((REPOSITORY / "tests/test_layout.py").read_text())
        (order,) = (
            ast.literal_eval(node.value)
            for node in test.body
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "ORDER"
        )
        text = ""
        for line in reversed(order.split("\n")):
            for room in line.split():
                text += _entry(room)
        return text


def _entry(room: str) -> str:
    """Describe a room, and each module in it that is no room of its own."""
    path = PACKAGE.joinpath(*room.split("."))
    if not path.is_dir():
        return f"``{room}``\n   {_purpose(path.with_suffix('.py'))}\n\n"
    name = f"{room.replace('.', '/')}/"
    text = f"``{name}``\n   {_purpose(path / '__init__.py')}\n\n"
    for module in sorted(path.glob("*.py")):
        if module.name != "__init__.py":
            text += f"   ``{module.stem}``: {_purpose(module)}\n\n"
    return text


def _purpose(path: Path) -> str:
    """Read the sentence of a module, which may need what is missing here."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(docstring.split("\n\n")[0].split())


class AutoInterface(_Generated):
    """``.. autointerface:: module.IName`` documents a zope interface.

    ``:exclude:`` names methods that are not for the public.
    """

    required_arguments = 1
    option_spec: ClassVar[OptionSpec] = {"exclude": str.split}

    def text(self) -> str:
        """Make a class of the interface."""
        module, _, name = self.arguments[0].rpartition(".")
        interface: InterfaceClass = getattr(
            importlib.import_module(module), name
        )
        text = _directive(
            "class",
            name,
            interface.__doc__,
            f":module: {module}",
            f":canonical: {interface.__module__}.{name}",
        )
        members = interface.namesAndDescriptions()
        for member, description in members:
            if member not in self.options.get("exclude", ()):
                text += _indented(_member(member, description))
        return text


def _member(name: str, description: Attribute) -> str:
    if isinstance(description, Method):
        signature = name + description.getSignatureString()
        return _directive("method", signature, description.__doc__)
    return _directive("attribute", name, description.__doc__)


def _directive(
    kind: str, signature: str, docstring: str, *options: str
) -> str:
    paragraphs = str(GoogleDocstring(inspect.cleandoc(docstring)))
    content = "\n".join([*options, "", paragraphs])
    return f".. py:{kind}:: {signature}\n{_indented(content)}\n"


def _indented(text: str) -> str:
    return "".join(
        f"   {line}\n" if line else "\n" for line in text.splitlines()
    )


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("settings-table", SettingsTable)
    app.add_directive("rooms-table", RoomsTable)
    app.add_directive("autointerface", AutoInterface)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
