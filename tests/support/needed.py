"""What some tests need, and not every machine has."""

import importlib.util
import os

import pytest

HAS_ZOPE = importlib.util.find_spec("Zope2") is not None
NO_ZOPE = "Zope is not installed: make zope"


def missing(reason):
    """Skip on a developer's machine, but let no CI go green for that."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"CI needs this: {reason}")
    pytest.skip(reason)
