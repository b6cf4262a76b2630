"""Many jobs that one call schedules in the database."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ZODB.DB import DB

from ...events import JobScheduled
from ...interfaces import Connections
from ...jobs.bulk import Sids, name_call
from ...jobs.given_options import resolved
from ...jobs.owners import stored_owner
from ...transfer.callables import argument_check, function_name
from ..contents import Contents, PlainArguments
from ..records import LocatedPage, Store
from ..store.stored_values import storable_arguments, storable_function
from .bulk_intake import NewBulk
from .left_jobs import note_left
from .placing import add_cell, place_block
from .this_process import ThisProcess
from .transaction_job import TransactionJob

__all__ = ["schedule_bulk"]


def schedule_bulk(  # noqa: PLR0913 - the interface's
    process: ThisProcess,
    function: Callable[..., Any],
    calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
    connections: Connections,
    *,
    owner: str | None,
    base_url: str | None,
    options: Mapping[str, Any],
    spread: float,
) -> Sequence[str]:
    """Do what ``schedule_calls`` of the scheduler in the database does.

    See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`. The jobs do not
    count for ``max_pending``.

    Args:
        process: this process.
        function: what the jobs call.
        calls: the positional and the named arguments of each call.
        connections: those of the transaction.
        owner: the userid that the jobs belong to, or ``None``.
        base_url: the URL of the application, or ``None``.
        options: the options of the jobs, as ``checked`` returns them.
        spread: the seconds over which the beginnings are spread.

    Returns:
        The sids, in the order of the calls.
    """
    check = argument_check(function)
    db = process.location.db
    form = storable_function(function, connections, db)
    own_options, due = resolved(function, options)
    checked = _checked_calls(function, check, calls, connections, db)
    if not checked:
        return Sids.of(())
    # all of them are good: from here on they are scheduled
    store = process.location.make(connections.to(db))
    incarnation, is_handed_over = process.dispatcher.assign(due, own_options)
    bulk = NewBulk(process, due, spread / len(checked))
    # before the page is taken, which this gives back if need be
    process.changes.of(connections.transaction_manager).add(bulk)
    values = {
        "function": function_name(function),
        "scheduled": time.time(),
        "call": form,
        "base_url": base_url,
        "options": own_options.stored(),
        "runner": incarnation,
        **bulk.times(),
        **({} if owner is None else stored_owner(owner)),
    }
    timeout = store.outcome_timeout(own_options, process.timeout)
    place_block(process, store, bulk, values, timeout)
    new: Any = bulk.new
    for call in checked:
        add_cell(new.page, call)
    bulk.claim_first(store, claims=is_handed_over, runner=incarnation)
    _announce(process, store, new, connections)
    if not is_handed_over:
        note_left(process, connections, store.job_on(new, 0))
    return Sids(range(len(checked)), new.signer())


def _announce(
    process: ThisProcess,
    store: Store,
    new: LocatedPage,
    connections: Connections,
) -> None:
    """Have it told that the jobs of a block are scheduled, if one listens."""
    if process.commit_queue.announcer.has_subscribers(JobScheduled):
        for index in range(new.page.size):
            job = store.job_on(new, index)
            scheduled = TransactionJob(process, store, job, connections)
            scheduled.announce(JobScheduled)


def _checked_calls(
    function: Callable[..., Any],
    check: Callable[[tuple[Any, ...], dict[str, Any]], None],
    calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
    connections: Connections,
    db: DB,
) -> list[PlainArguments | Contents]:
    """Return the arguments of the calls as records have them.

    Raises:
        TypeError: one of them does not fit, or cannot be stored.
    """
    checked = []
    for index, (args, named_args) in enumerate(calls):
        try:
            check(args, named_args)
            arguments = storable_arguments(
                function, args, named_args, connections, db
            )
        except TypeError as error:
            name_call(index, error)
            raise
        checked.append(arguments)
    return checked
