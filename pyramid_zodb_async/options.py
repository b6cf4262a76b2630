"""Aliases for databases: pickles name ``jobs.options`` by this path."""

from .jobs.options import Backoff, Options

__all__ = ["Backoff", "Options"]
