"""The choice of the place where new jobs are stored."""

import secrets
from typing import Any, NamedTuple

from BTrees.IIBTree import IITreeSet
from BTrees.IOBTree import IOBTree

from ...jobs.options import NO_OPTIONS, Options
from ..records import Cell, JobRecord, LocatedPage, Page, Store, StoredJob
from ..sids import SIGNATURE
from ..transaction_changes import CertainChange, Changes
from .free_pages import TakenPage
from .intake import HandOff
from .this_process import ThisProcess

__all__ = [
    "NewBlock",
    "NewJob",
    "add_cell",
    "option_values",
    "place_block",
    "place_job",
]

#: How many jobs of a transaction have a page each, before the others become
#: the cells of a block.
MOST_PAGES = 4

#: The attributes of a record that the jobs of a block have in common, with
#: their defaults.
DEFINING = {
    name: getattr(JobRecord, name)
    for name in ("function", "owner", "owner_kind", "base_url", "options")
}


class NewJob(NamedTuple):
    """A job that is to be stored."""

    #: The attributes of its record.
    values: dict[str, Any]
    #: For how long its outcome is stored, in seconds.
    timeout: float


class NewBlock(CertainChange):
    """A block that a transaction schedules jobs in.

    Args:
        process: this process.
    """

    #: The page; ``None`` if there is none yet, or it was rolled back.
    new: LocatedPage | None = None
    #: Where that is, if it was made ahead.
    place: TakenPage | None = None
    #: The values of :data:`DEFINING` that its page has.
    definition: tuple[Any, ...] = ()
    #: The least index that no job of it has had.
    next_index = 0

    def __init__(self, process: ThisProcess) -> None:
        self._process = process

    def apply(self) -> None:
        """Do nothing: each job of it is handed over by itself."""

    def abandon(self) -> None:
        """Give the page back, which nothing was written to."""
        self.new = None
        if self.place is not None:
            self._process.free_pages.give_back(self.place)
            self.place = None


def option_values(options: Options, due: float | None) -> dict[str, Any]:
    """Return the attributes of a record for options; few jobs have any.

    Args:
        options: those of the job.
        due: when it is due, in seconds since the epoch; ``None`` if at once.
    """
    if options is NO_OPTIONS and due is None:
        return {}
    # plain, since this process alone knows the end of a pause by its clock
    return {
        "options": options.stored(),
        "due": None if due is None else float(due),
    }


def place_job(
    process: ThisProcess,
    store: Store,
    hand_off: HandOff,
    changes: Changes,
    wanted: NewJob,
) -> StoredJob:
    """Store a new job, and return it.

    The first jobs of a transaction get a page each, and those after them are
    in a block.

    Args:
        process: this process.
        store: the store, as the transaction sees it.
        hand_off: gives the page back if the transaction is aborted.
        changes: those of the transaction.
        wanted: what is to be stored.
    """
    if len(changes) > MOST_PAGES:
        return _place_in_block(process, store, changes, wanted)
    new, hand_off.page = _place(process, store, *wanted)
    return store.job_on(new)


def _place_in_block(
    process: ThisProcess,
    store: Store,
    changes: Changes,
    wanted: NewJob,
) -> StoredJob:
    """Store a new job among others of its transaction, and return it."""
    values, timeout = wanted
    runner, call = values["runner"], values.pop("call")
    definition = tuple(map(values.get, DEFINING, DEFINING.values()))
    block = changes.blocks.get(runner)
    if block is None or block.new is None:
        block = changes.blocks[runner] = NewBlock(process)
        block.definition = definition
        changes.add(block)
        common = {name: values[name] for name in values.keys() & DEFINING}
        if isinstance(call[0], str):
            common["call"] = call[0]
        place_block(
            process,
            store,
            block,
            {**common, "runner": runner, "scheduled": values["scheduled"]},
            timeout,
        )
    new: Any = block.new
    page = new.page
    own = {}
    if definition != block.definition:
        own = {name: values[name] for name in values if name != "runner"}
    else:
        if values.get("due") is not None:
            own["due"] = values["due"]
        if isinstance(call[0], str) and call[0] == page.call:
            call = call[1:]
    new.slice_.expect(timeout)
    # a cell whose savepoint was rolled back has shown its sid
    index = add_cell(page, call, block.next_index, **own)
    block.next_index = index + 1
    return store.job_on(new, index)


def place_block(
    process: ThisProcess,
    store: Store,
    block: NewBlock,
    values: dict[str, Any],
    timeout: float,
) -> None:
    """Store a page that is to have several jobs.

    Args:
        process: this process.
        store: the store, as the transaction sees it.
        block: gets the page, and gives it back if the transaction is aborted.
        values: what the jobs have in common.
        timeout: for how long their outcomes are stored, in seconds.
    """
    values = {**values, "cells": IOBTree(), "open": IITreeSet()}
    block.new, block.place = _place(process, store, values, timeout)


def add_cell(page: Page, call: Any, least: int = 0, **values: Any) -> int:
    """Add a job to a block, and return its index.

    Args:
        page: the page of the block, which the transaction has made.
        call: what the job calls, as far as the page does not tell it.
        least: the least index.
        values: further attributes of its record.
    """
    cell, index = Cell(), max(page.size, least)
    cell.call = call
    if values:
        cell.change(**values)
    page.cells[index] = cell
    page.open.insert(index)
    page.size = index + 1
    return index


def _place(
    process: ThisProcess,
    store: Store,
    values: dict[str, Any],
    timeout: float,
) -> tuple[LocatedPage, TakenPage | None]:
    """Store a page, and return it, and where it is if it was made ahead.

    What this process is to run gets a page that was made ahead, so that the
    transaction writes that alone. All else is listed in the newest slice,
    where every process looks; and so is what a transaction schedules that can
    see no free page.
    """
    free, taken = process.free_pages, None
    values = {**values, "secret": secrets.token_bytes(SIGNATURE)}
    if values["runner"] is not None:
        taken = free.take(store)
        if free.missing:
            process.wake_maintenance()
    if taken is None:
        page = Page()
        page.change(**values)
        return store.add(page, timeout), None
    place, slice_, page = taken
    slice_.expect(timeout)
    page.change(**values)
    key = place.shard_number, place.page_number
    return LocatedPage(place.number, slice_, key, page), place
