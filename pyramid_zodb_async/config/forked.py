"""The answer of a process that was forked with its database open."""

import os
from typing import Any

from pyramid.response import Response

from ..concurrency.forks import notice_fork
from ..concurrency.loggers import get_logger
from ..database.application import databases_of
from ..database.forks import CURE, process_of
from ..database.storages import describe_storage, may_not_be_forked
from ..web.problem_documents import unusable_database_response

__all__ = ["Forks"]

log = get_logger(__name__)


class Forks:
    """What there is to know of forks after an application was made.

    Args:
        registry: the registry of the application.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry
        #: The process that needs no more looks: the one that has made the
        #: application, or a child that can use the databases.
        self.process = os.getpid()
        self._told_in = 0
        for db in databases_of(registry).values():
            process_of(db)

    def refusal(self) -> Response | None:
        """Return the answer to any request in this child, if it must refuse.

        Why it does is logged, once in a process. If it need not, what has
        locks and threads begins anew here.
        """
        notice_fork()
        found = self._unusable()
        if found is None:
            self.process = os.getpid()
            return None
        if self._told_in != os.getpid():
            self._told_in = os.getpid()
            log.critical(
                "This process, %d, was forked from %d, which had opened the"
                " database with its %s: processes that share one hang, or lose"
                " changes. So every request is answered with 503. %s.",
                os.getpid(),
                *found,
                CURE,
                extra={"action": "database_forked"},
            )
        return unusable_database_response()

    def _unusable(self) -> tuple[int, str] | None:
        """Return who has opened a database that hangs here, and its storage.

        There is none if a database was opened after the fork, in place of
        that of the parent.
        """
        for db in databases_of(self._registry).values():
            process = process_of(db)
            if process != os.getpid() and may_not_be_forked(db.storage):
                return process, describe_storage(db.storage)
        return None
