"""Where and with what something was measured."""

import datetime
import os
import platform
from importlib.metadata import version


def print_machine(*packages):
    """Tell where and with what this was measured."""
    print(
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d},"
        f" {platform.python_implementation()} {platform.python_version()},"
        f" {platform.system()} {platform.machine()}, {os.cpu_count()} cores,"
        f" load {os.getloadavg()[0]:.1f}"
    )
    ours = ("pyramid_zodb_async", "ZODB", *packages)
    print(", ".join(f"{name} {version(name)}" for name in ours) + "\n")
