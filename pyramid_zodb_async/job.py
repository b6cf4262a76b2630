"""Aliases for databases: pickles name ``jobs.model`` by this path."""

from .jobs.model import Failure, JobState, JobView, Progress, Version

__all__ = ["Failure", "JobState", "JobView", "Progress", "Version"]
