"""The element in the JSX of frameworks, as TypeScript sees it."""

import shutil

import pytest
from folders import TESTS
from node_programs import run, typescript_packages

#: A project's file in the JSX of each; what is wrong in it is marked.
FRAMEWORKS = sorted((TESTS / "js" / "frameworks").glob("*.tsx"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a project that has the frameworks, and what npm packs here."""
    folder = tmp_path_factory.mktemp("frameworks")
    packages = folder / "node_modules"
    packages.mkdir()
    for package in typescript_packages().iterdir():
        (packages / package.name).symlink_to(package)
    ran = run("npm", "pack", "--pack-destination", str(folder))
    assert ran.returncode == 0, ran.stdout
    (packed,) = folder.glob("*.tgz")
    shutil.unpack_archive(packed, folder / "unpacked", filter="data")
    (folder / "unpacked" / "package").rename(packages / "pyramid-zodb-async")
    return folder


def test_the_element_takes_what_elements_take_and_its_own(folder):
    for source in FRAMEWORKS:
        shutil.copy(source, folder)
    ran = run(
        "node",
        "node_modules/typescript/bin/tsc",
        "--noEmit",
        "--strict",
        # of the frameworks, whose types are large
        "--skipLibCheck",
        *("--target", "es2022", "--lib", "es2022,dom,dom.iterable"),
        *("--module", "esnext", "--moduleResolution", "bundler"),
        *("--jsx", "preserve"),
        *(source.name for source in FRAMEWORKS),
        cwd=folder,
    )

    assert ran.stdout == ""
