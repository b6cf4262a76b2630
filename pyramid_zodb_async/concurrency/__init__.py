"""Helpers for threads and forked processes that know nothing of jobs."""
