"""The house is in order: rooms by floors, each small, each with a purpose."""

import ast
import configparser
from pathlib import Path

import pytest
from setuptools import find_packages

import pyramid_zodb_async

PACKAGE = Path(pyramid_zodb_async.__file__).parent

#: From the ground up: a room, which is a folder or a module, imports only from
#: rooms of lines above its own.
ORDER = """
    concurrency exceptions
    jobs
    events interfaces settings
    contracts database
    transactional transfer
    context engine
    web
    execution
    scheduler.sids scheduler.transaction_changes scheduler.waiters
    scheduler.beats scheduler.contents scheduler.runnable_job
    scheduler.job_records scheduler.store_format
    scheduler.slices
    scheduler.stored_job
    scheduler.records scheduler.commit_queue scheduler.base_run
    scheduler.store
    scheduler.process
    scheduler.maintenance scheduler.in_memory
    scheduler
    config zope2
    testing
    job options references announcer tween prefer acquisition
    __init__
"""

FLOORS = {
    room: number
    for number, line in enumerate(ORDER.split("\n"))
    for room in line.split()
}

#: How many entries the top may have, besides aliases of paths that are stored
#: or named in settings.
MOST_ENTRIES = 20

MOST_LINES, MOST_LINES_OF_A_FUNCTION, DEEPEST = 400, 45, 4


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


MODULES = dict(modules())

each_module = pytest.mark.parametrize(("name", "path"), MODULES.items())


def tree_of(path):
    return ast.parse(path.read_text())


def imported(name):
    """Give the modules of ours that a module imports."""
    path = MODULES[name]
    depth = len(name.split(".")) - (path.name != "__init__.py")
    package = name.split(".")[:depth] if name != "__init__" else []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            yield ".".join([*base, node.module]) if node.module else None


def room_of(name):
    """Give the room that a module is in: the innermost that has a floor."""
    parts = name.split(".")
    rooms = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    found = next((room for room in rooms if room in FLOORS), None)
    assert found, f"{name} is in no room yet"
    return found


@each_module
def test_a_module_imports_only_from_its_room_and_those_below(name, path):
    for below in imported(name):
        assert below is not None, f"{name} imports a whole package"
        here, there = room_of(name), room_of(below)
        assert here == there or FLOORS[there] < FLOORS[here], below


def test_no_modules_import_each_other_in_a_circle():
    left = {name: set(imported(name)) for name in MODULES}
    while ready := [name for name in left if not left[name] & left.keys()]:
        for name in ready:
            del left[name]
    assert not left


@each_module
def test_a_module_imports_nothing_inside_functions(name, path):
    for function in ast.walk(tree_of(path)):
        if isinstance(function, ast.FunctionDef):
            inside = [
                ast.unparse(node)
                for node in ast.walk(function)
                if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            assert inside == []


@each_module
def test_a_module_tells_its_purpose_in_a_sentence(name, path):
    docstring = ast.get_docstring(tree_of(path))
    assert docstring.partition("\n\n")[0].endswith(".")


@each_module
def test_a_module_stays_a_small_room(name, path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


def functions_of(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            yield node


def length_of(function):
    """Count the lines of a function, without those of its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


@each_module
def test_a_function_can_be_seen_at_once(name, path):
    long = {
        function.name: length_of(function)
        for function in functions_of(path)
        if length_of(function) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}


BLOCKS = (ast.For, ast.If, ast.Match, ast.Try, ast.While, ast.With)


def depth_of(node):
    """Count how deep blocks are nested in a node."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        depth = depth_of(child) + isinstance(child, BLOCKS)
        # an elif is as deep as its if
        if isinstance(node, ast.If) and node.orelse == [child]:
            depth -= isinstance(child, ast.If)
        deepest = max(deepest, depth)
    return deepest


@each_module
def test_blocks_are_not_nested_deeply(name, path):
    deep = [
        function.name
        for function in functions_of(path)
        if depth_of(function) > DEEPEST
    ]
    assert deep == []


def is_alias(path):
    """Tell whether a module only imports what is somewhere else now."""
    _docstring, *imports, last = tree_of(path).body
    return isinstance(last, ast.Assign) and all(
        isinstance(node, ast.ImportFrom) for node in imports
    )


def test_the_top_has_few_entries():
    entries = [
        path.name
        for path in PACKAGE.iterdir()
        if path.name not in {"py.typed", "__pycache__"}
        and not (path.suffix == ".py" and is_alias(path))
    ]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_everything_in_the_package_is_shipped():
    config = configparser.ConfigParser()
    config.read(PACKAGE.parent / "setup.cfg")
    (include,) = config["options.packages.find"]["include"].split()
    packages = find_packages(PACKAGE.parent, include=[include])
    patterns = config["options.package_data"]["pyramid_zodb_async"].split()
    for path in PACKAGE.rglob("*.*"):
        place = path.relative_to(PACKAGE)
        if path.suffix == ".py":
            name = ".".join(["pyramid_zodb_async", *place.parent.parts])
            assert name in packages
        elif path.suffix != ".pyc":
            assert any(place.match(pattern) for pattern in patterns), place


#: The attributes of other packages that are their own, and where they are
#: used. Each is told of there, and has a test in tests/database that uses the
#: other package only. That of sys is documented.
PRIVATE = {
    "database.application": {"_primary_zodb_conn", "_zodb_databases"},
    "database.internals": {
        *("_implicitlyAdding", "_readCurrent", "_resources", "_storage"),
        *("_synchs", "_unjoin", "_voted"),
    },
    "concurrency.exits": {"_register_atexit"},
    "execution.overdue": {"_current_frames"},
}

#: The documented ones of persistent objects and of named tuples.
DOCUMENTED = {
    *("_p_activate", "_p_changed", "_p_deactivate", "_p_jar", "_p_oid"),
    "_p_serial",
    *("_asdict", "_fields", "_make", "_replace"),
}

ATTRIBUTE_FUNCTIONS = {"delattr", "getattr", "hasattr", "setattr"}


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


def private_names(path):
    """Give the private names of others than `self` that a module uses."""
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
                pass
            case ast.Attribute(attr=name) if is_private(name):
                yield name
            case ast.Call(
                func=ast.Name(id=function), args=[_, ast.Constant(name), *_]
            ) if function in ATTRIBUTE_FUNCTIONS and is_private(name):
                yield name
            case ast.ImportFrom(level=0, module=module, names=names):
                yield from filter(is_private, module.split("."))
                yield from (it.name for it in names if is_private(it.name))
            case ast.Import(names=names):
                parts = (part for it in names for part in it.name.split("."))
                yield from filter(is_private, parts)


def test_what_is_private_elsewhere_is_used_in_one_place():
    used = {
        name: found
        for name, path in MODULES.items()
        if (found := set(private_names(path)) - DOCUMENTED)
    }
    assert used == PRIVATE


def starts_threads(path):
    return any(
        isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2]
        in {"Thread", "ThreadPoolExecutor", "Timer", "start_new_thread"}
        for node in ast.walk(tree_of(path))
    )


def test_threads_are_started_in_one_place():
    found = [name for name, path in MODULES.items() if starts_threads(path)]
    assert found == ["concurrency.threads"]


def makes_loggers(path):
    return any(
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "logging.getLogger"
        for node in ast.walk(tree_of(path))
    )


def test_loggers_are_made_in_one_place():
    found = [name for name, path in MODULES.items() if makes_loggers(path)]
    assert found == ["concurrency.loggers"]
