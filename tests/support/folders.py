"""Where the files are that tests start or read, wherever a test is."""

import os
from pathlib import Path

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
REPOSITORY = TESTS.parent

#: For programs that import what tests share, as pytest has it.
PYTHONPATH = f"{REPOSITORY}{os.pathsep}{SUPPORT}"
