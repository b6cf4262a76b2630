"""The persistent class for the signs of life of processes that run jobs."""

from typing import Any

from persistent import Persistent

from ..jobs.class_paths import stored_at

__all__ = ["Beat"]


@stored_at("pyramid_zodb_async.scheduler.records")
class Beat(Persistent):
    """The sign of life of an incarnation: a number that grows."""

    count = 0
    #: After how many seconds of silence its jobs may be taken over. ``None``
    #: if it has not said so; then the lease of whoever watches it counts.
    lease: float | None = None
    #: The sids of the jobs that still ran when it ended in order. ``None`` if
    #: it has not said that it ended, or has gone on since.
    ended: tuple[str, ...] | None = None
    #: By sid, of its running jobs; see ``process.progress_reports``.
    reports: dict[str, tuple[Any, ...]] = {}  # noqa: RUF012 - set, not changed
    #: By sid, what translates the message of a report.
    translations: dict[str, tuple[Any, ...]] = {}  # noqa: RUF012 - the same

    def sign(self, lease: float | None) -> None:
        """Give one more sign of life.

        If it has said that it ended, that is not true any more.

        Args:
            lease: that of the incarnation, in seconds.
        """
        self.count += 1
        if self.lease != lease:
            self.lease = lease
        if self.ended is not None:
            self.ended = None

    def end(self, running: tuple[str, ...]) -> None:
        """Say that the incarnation ends in order.

        That is its last sign of life: whoever took it for dead before learns
        that it was not.

        Args:
            running: the sids of its jobs that still run.
        """
        if self.ended != running:
            self.count += 1
            self.ended = running
