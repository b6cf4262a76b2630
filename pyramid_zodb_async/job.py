"""Where databases find what is in ``jobs.model``."""

from .jobs.model import Failure, JobState, JobView, Progress, Version

__all__ = ["Failure", "JobState", "JobView", "Progress", "Version"]
