"""The incarnations of this very process."""

__all__ = ["LIVE_INCARNATIONS", "OWN_INCARNATIONS"]

#: One for each of its schedulers that runs jobs.
LIVE_INCARNATIONS: set[str] = set()

#: Those and the ones that have been stopped. A transaction of one of these may
#: have begun before that, and be committed yet.
OWN_INCARNATIONS: set[str] = set()
