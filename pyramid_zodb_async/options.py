"""Where databases find what is in ``jobs.options``."""

from .jobs.options import Backoff, Options

__all__ = ["Backoff", "Options"]
