"""``make demo`` on machines that lack something, and the second time."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from folders import REPOSITORY
from needed import missing

#: Stands for a Python that has its own idea of what it can do, and tells what
#: it was asked to. A virtual environment that it makes has the same.
PYTHON = """\
#!/bin/sh
echo "$@" >> {log}
case "$*" in
  -c*) exec {python} -c '{version}; exec(sys.argv[2])' "$@" ;;
  "-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; {venv} ;;
  "-m pip"*) {pip} ;;
esac
"""


class Checkout:
    """A checkout, and the only Python of its machine."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        self.python = folder / "python3"
        for name in ("Makefile", "setup.cfg", "pyproject.toml"):
            shutil.copy(REPOSITORY / name, folder)

    def has(self, version="import sys", venv="exit 0", pip="exit 0"):
        """Say what the Python of the machine does."""
        self.python.write_text(
            PYTHON.format(
                log=self.log,
                python=sys.executable,
                version=version,
                venv=venv,
                pip=pip,
            )
        )
        self.python.chmod(0o755)

    def make(self, *arguments):
        """Call make; give whether it succeeded, and what it said."""
        self.log.write_text("")
        make = shutil.which("make")
        if make is None:
            missing("there is no make: apt-get install make")
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "MFLAGS"))
        }
        ran = subprocess.run(
            [make, "demo", f"PYTHON={self.python}", *arguments],
            cwd=self.folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        return ran.returncode == 0, ran.stdout

    @property
    def asked(self):
        """What Python was asked to do, in the order in which it was."""
        return re.findall(r"-m (\w+)", self.log.read_text())


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_the_demo_is_installed_once(checkout):
    checkout.has()
    assert checkout.make()[0]
    assert checkout.asked == ["venv", "pip", "demo_app"]
    assert checkout.make()[0]
    assert checkout.asked == ["demo_app"]


def test_a_python_that_is_too_old_is_told_in_a_sentence(checkout):
    checkout.has(version="import sys; sys.version_info = (3, 10, 13)")
    succeeded, said = checkout.make()

    assert not succeeded
    assert "Python 3.11 or later is needed" in said
    assert "make demo PYTHON=python3.12" in said
    assert checkout.asked == []


def test_a_python_that_is_not_there_is_told_in_a_sentence(checkout):
    succeeded, said = checkout.make("PYTHON=python3.99")

    assert not succeeded
    assert "Python 3.11 or later is needed, and python3.99 is" in said
    assert not (checkout.folder / ".venv").exists()


def test_a_virtual_environment_that_failed_is_made_again(checkout):
    # as on a Debian without python3-venv, which leaves one without pip
    checkout.has(venv="exit 1")
    assert not checkout.make()[0]
    checkout.has()
    assert checkout.make()[0]
    assert checkout.asked == ["venv", "pip", "demo_app"]


def test_an_installation_that_failed_is_told_and_tried_again(checkout):
    checkout.has(pip="exit 1")
    succeeded, said = checkout.make()

    assert not succeeded
    assert "pip could not install them" in said
    checkout.has()
    shutil.copy(checkout.python, checkout.folder / ".venv/bin/python")
    assert checkout.make()[0]
    assert checkout.asked == ["pip", "demo_app"]


def test_a_checkout_with_other_requirements_is_installed_again(checkout):
    # also one that has all that the tests need, by what they were
    checkout.has()
    assert checkout.make()[0]
    (checkout.folder / ".venv" / "installed").touch()
    later = checkout.log.stat().st_mtime + 60
    os.utime(checkout.folder / "setup.cfg", (later, later))
    assert checkout.make()[0]
    assert checkout.asked == ["pip", "demo_app"]
