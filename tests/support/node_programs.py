"""Node.js, its programs, and the packages of npm that tests use."""

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from folders import REPOSITORY, TESTS
from needed import missing

#: What the packages for generated clients in TypeScript are, with a lock file.
TYPESCRIPT = TESTS / "js" / "typescript"

#: The Debian packages of the programs that are needed.
DEBIAN = {"node": "nodejs", "npm": "npm", "tsc": "node-typescript"}


def find(program):
    """Give the path of a program; skip where it is missing, but not in CI."""
    found = shutil.which(program)
    if found is None:
        missing(f"there is no {program}: apt-get install {DEBIAN[program]}")
    return found


def run(program, *arguments, cwd=REPOSITORY, timeout=240):
    """Run a program to its end; give it, with all that it said."""
    return subprocess.run(
        [find(program), *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


@functools.cache
def typescript_packages():
    """Give the ``node_modules`` for TypeScript, which npm has installed once.

    They are kept for the next time, apart for each lock file.
    """
    lock = (TYPESCRIPT / "package-lock.json").read_bytes()
    digest = hashlib.sha256(lock).hexdigest()[:16]
    folder = REPOSITORY / "var" / f"typescript-{digest}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
            made = Path(parent, "made")
            made.mkdir()
            _install(made)
            # another process of tests may have done the same meanwhile
            with contextlib.suppress(OSError):
                made.rename(folder)
    return folder / "node_modules"


def _install(folder):
    """Have npm install what the lock file says."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(TYPESCRIPT / name, folder)
    ran = run(
        "npm",
        "ci",
        "--ignore-scripts",
        "--prefer-offline",
        "--no-audit",
        "--no-fund",
        "--fetch-retries=1",
        cwd=folder,
    )
    if ran.returncode != 0:
        said = " ".join(ran.stdout.splitlines()[:4])
        missing(
            "npm could not install openapi-typescript; it needs its registry,"
            f" or what it has cached of that: {said}"
        )
