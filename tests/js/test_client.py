"""The JavaScript of the package: its size, its packing, and its own tests."""

import gzip
import json
import re

import minify
import pytest
from folders import REPOSITORY
from node_programs import run

STATIC = REPOSITORY / "pyramid_zodb_async" / "static"
#: The modules that pages import, and the one below them.
MODULES = ["jobs", "job-progress"]
ALL_MODULES = [*MODULES, "job-requests"]

#: What all may take together, in bytes.
MOST = 8_600

#: The names that a module exports, and those that a declaration declares.
EXPORTED = re.compile(
    r"^export (?:\{ |(?:async )?(?:function|class) )(\w+)", re.MULTILINE
)
DECLARED = re.compile(r"^export (?:function|class) (\w+)", re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    sorted((REPOSITORY / "tests" / "js").glob("*.test.mjs")),
    ids=lambda path: path.name,
)
def test_the_tests_under_node_pass(path):
    ran = run(
        "node",
        "--test",
        "--test-force-exit",  # a test that failed may leave somebody waiting
        "--test-reporter=spec",
        str(path.relative_to(REPOSITORY)),
    )

    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^\S pass [1-9]", ran.stdout, re.MULTILINE), ran.stdout


def minified(name):
    source = (STATIC / f"{name}.js").read_text()
    return minify.string("application/javascript", source).encode()


def test_all_modules_together_take_less_than_8600_bytes(say):
    modules = [minified(name) for name in ALL_MODULES]
    together = len(gzip.compress(b"".join(modules), 9))
    apart = [len(gzip.compress(module, 9)) for module in modules]
    say(
        f"{', '.join(ALL_MODULES)}, minified and compressed: {together} bytes"
        f" together, {', '.join(map(str, apart))} one by one"
    )

    assert together < MOST


def test_the_minified_module_works(tmp_path):
    for name in ALL_MODULES:
        (tmp_path / f"{name}.js").write_bytes(minified(name))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    program = f"""
        import {{ job, cancel, retry, JobError }} from "{tmp_path}/jobs.js";
        await import("{tmp_path}/job-progress.js");
        globalThis.fetch = async () => Response.json({{
          done: true, state: "succeeded", result: 42
        }});
        console.log(await job("http://127.0.0.1/jobs/1", {{ keep: true }}));
    """
    ran = run("node", "--input-type=module", "--eval", program)

    assert ran.stdout == "42\n"


@pytest.mark.parametrize("name", MODULES)
def test_what_is_exported_is_declared_and_nothing_else(name):
    exported = EXPORTED.findall((STATIC / f"{name}.js").read_text())
    declared = DECLARED.findall((STATIC / f"{name}.d.ts").read_text())

    assert exported
    assert set(exported) == set(declared)


def test_the_declarations_say_what_is_right_and_wrong():
    ran = run(
        "tsc",
        "--noEmit",
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2022,dom,dom.iterable",
        "tests/js/types.mts",
    )

    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("name", ALL_MODULES)
def test_a_module_needs_no_other_but_those_beside_it(name):
    source = (STATIC / f"{name}.js").read_text()
    imported = re.findall(
        r'^(?:import|export|\}).* from "(.+)";$', source, re.MULTILINE
    )

    assert set(imported) <= {"./jobs.js", "./job-requests.js"}
    assert source.count("import(") == 0


def test_bundlers_find_both_by_name():
    program = """
        import * as jobs from "pyramid-zodb-async";
        import * as element from "pyramid-zodb-async/job-progress.js";
        console.log(Object.keys(jobs), Object.keys(element));
    """
    ran = run("node", "--input-type=module", "--eval", program)

    assert ran.stdout == (
        "[ 'JobError', 'cancel', 'job', 'retry' ] [ 'JobProgress' ]\n"
    )


def test_the_package_has_the_modules_and_their_types():
    ran = run("npm", "pack", "--dry-run", "--json", "--offline", "--silent")
    assert ran.returncode == 0, ran.stdout
    described = json.loads(ran.stdout)
    (pack,) = described if isinstance(described, list) else described.values()
    files = {file["path"] for file in pack["files"]}

    assert files == {
        "LICENSE",
        "README.rst",
        "package.json",
        "pyramid_zodb_async/static/job-requests.js",
        *(
            f"pyramid_zodb_async/static/{name}.{kind}"
            for name in MODULES
            for kind in ("js", "d.ts")
        ),
    }


def test_the_packages_of_both_languages_have_the_same_version():
    setup = (REPOSITORY / "setup.cfg").read_text()
    version = re.search(r"^version = (.+)$", setup, re.MULTILINE)[1]
    package = json.loads((REPOSITORY / "package.json").read_text())

    # 0.1.dev0 there, 0.1.0-dev.0 here; 1.2.3 is the same in both
    release, _, number = version.partition(".dev")
    release += ".0" * (2 - release.count("."))
    assert package["version"] == (
        f"{release}-dev.{number}" if number else release
    )
