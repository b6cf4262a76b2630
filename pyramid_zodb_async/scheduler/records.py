"""The store of jobs, which a database contains.

Do not move or rename the classes: databases find them by module and name.
"""

import secrets
import time
from collections.abc import Container, Iterator
from typing import Any

from BTrees.OOBTree import OOBTree
from persistent import Persistent

from ..jobs.model import JobState
from ..jobs.options import Options
from .beats import Beat
from .contents import Outcome, StoredCall, StoredEnvelope
from .job_records import REMOVED, Cell, JobRecord, Page, Record
from .sids import (
    PageKey,
    Place,
    is_signed,
    new_sid,
    place_of,
    sid_of,
    split_own,
    split_sid,
)
from .slices import ALL, Shard, Slice
from .store_format import FEATURES, FORMAT, require_known
from .stored_job import Fence, LocatedPage, StoredJob, TakenOver

__all__ = [
    "FORMAT",
    "REMOVED",
    "Beat",
    "Cell",
    "Fence",
    "JobRecord",
    "LocatedPage",
    "Outcome",
    "Page",
    "Record",
    "Shard",
    "Slice",
    "Store",
    "StoredCall",
    "StoredEnvelope",
    "StoredJob",
    "TakenOver",
]


class Store(Persistent):
    """The jobs of an application, in slices, and the beats of incarnations.

    A sid tells where the job is, and is signed by 128 random bits.
    """

    #: What is stored; a store that has no number of its own has the first.
    format = 1
    #: The names of what is used in it, so that a process that lacks one of
    #: them can say so.
    features: tuple[str, ...] = ()
    #: The seconds for which an outcome is stored, if no option says others.
    timeout: float = 3600

    def __init__(self, longest_timeout: float | None = None) -> None:
        self.format = FORMAT
        self.features = FEATURES
        self.slices = OOBTree()
        self.runners = OOBTree({"": None})
        if longest_timeout is None:
            longest_timeout = self.timeout
        self.open_slice(time.time(), longest_timeout)

    def outcome_timeout(
        self, options: Options, default: float | None
    ) -> float:
        """Return for how long the outcome of a job is stored, in seconds.

        *default* counts if its options set none, and then :attr:`timeout`.
        """
        own = options.result_timeout
        timeout = default if own is None else own
        return self.timeout if timeout is None else timeout

    def open_slice(self, now: float, longest_timeout: float) -> None:
        """Add the slice that new jobs go to from now on.

        Its number is the hour of *now*, in seconds since the epoch, or the
        next greater one if the clock was set back.
        """
        number = max(0, int(now // 3600))
        if self.slices:
            number = max(number, self.slices.maxKey() + 1)
        self.slices[number] = Slice(now, longest_timeout)

    def newest(self) -> tuple[int, Slice]:
        """Return the number of the slice that new jobs go to, and it."""
        number = self.slices.maxKey()
        return number, self.slices[number]

    def require_format(self) -> None:
        """Refuse a store that this version of the package cannot use.

        Raises:
            StoreNotUsable: a later version has written it.
        """
        if (self.format, self.features) != (FORMAT, FEATURES):
            require_known(self.format, self.features)

    def upgrade(self) -> None:
        """Have a store of an earlier format use the one of now.

        Its jobs stay as they are. New ones go to another slice. Processes of
        earlier versions refuse the store from then on.
        """
        if (self.format, self.features) == (FORMAT, FEATURES):
            return  # as nearly always
        if self.format < FORMAT:
            self.format = FORMAT  # and not before there is a slice of it
            _, newest = self.newest()
            self.open_slice(time.time(), newest.longest_timeout)
        if set(FEATURES) - set(self.features):
            self.features = tuple(sorted({*self.features, *FEATURES}))

    def expect(self, timeout: float) -> None:
        """Keep the newest slice for outcomes that are stored *timeout* s.

        Called ahead, so that the first jobs of a slice do not conflict.
        """
        _, slice_ = self.newest()
        slice_.expect(timeout)

    def add(self, page: Page, timeout: float) -> LocatedPage:
        """Add the page of a job, or of a block, that was not made ahead.

        Args:
            page: the page, which is new.
            timeout: for how long the outcome is stored, in seconds.
        """
        number, slice_ = self.newest()
        slice_.require_current()  # else a drop at this time loses the job
        slice_.expect(timeout)
        key = secrets.token_bytes(16)
        page.listed = True
        slice_.tree(key)[key] = page
        if page.cells is not None:  # a block, which has no jobs yet
            slice_.list_job(key, ALL)
        else:
            slice_.unfinished_of(key).add(key)
        return LocatedPage(number, slice_, key, page)

    def page_at(self, number: int, key: PageKey) -> LocatedPage | None:
        """Return a page that has something; ``None`` if there is none.

        Args:
            number: the number of the slice.
            key: the key of the page in it.
        """
        slice_ = self.slices.get(number)
        page = None if slice_ is None else slice_.page(key)
        if not isinstance(page, Page) or page.function is None:
            return None
        return LocatedPage(number, slice_, key, page)

    def job_on(
        self, located: LocatedPage, index: int | None = None
    ) -> StoredJob:
        """Return a job on a page, as this transaction sees it.

        Args:
            located: the page.
            index: its index in the block that the page is; ``None`` if it is
                none.
        """
        number, slice_, key, page = located
        place = place_of(number, key, page.secret, index)
        sid = new_sid(place)
        if index is None or page.cells is None:
            return StoredJob(sid, place, self, slice_, page)
        return StoredJob(sid, place, self, slice_, page.cells[index], page)

    def locate(self, sid: str, place: Place | None = None) -> StoredJob | None:
        """Return a job; ``None`` if there is none any more.

        Args:
            sid: the sid of the job.
            place: where it is, if a transaction has found it before. Then the
                sid is not checked.
        """
        if place is not None:
            job = self.at(sid, place)
        else:
            try:
                job = self._at(sid, split_sid(sid))
            except (ValueError, TypeError):
                return None
        return None if job is None or job.is_gone else job

    def locate_own(self, sid: str) -> StoredJob | None:
        """Do what :meth:`locate` does, for a job of this process."""
        job = self._at(sid, split_own(sid))
        return None if job is None or job.is_gone else job

    def job(self, sid: str) -> StoredJob:
        """Return a job, also a removed one, or raise a KeyError.

        For what is no sid, raise a ValueError.
        """
        job = self._at(sid, split_sid(sid))
        if job is None:
            raise KeyError(sid)
        return job

    def _at(self, sid: str, place: Place) -> StoredJob | None:
        """Return the job at a place, also a removed one."""
        slice_ = self.slices.get(place.number)
        page = None if slice_ is None else slice_.page(place.page)
        if page is None:
            return None
        secret = page.secret if isinstance(page, Page) else b""
        if not is_signed(place, secret):
            return None
        return self._on(page, sid, place, slice_)

    def at(self, sid: str, place: Place) -> StoredJob | None:
        """Return the job at a place, without loading its record.

        Args:
            sid: the sid of the job.
            place: where it is, as a transaction has found it; that is not
                checked.
        """
        slice_ = self.slices.get(place.number)
        page = None if slice_ is None else slice_.page(place.page)
        return page and self._on(page, sid, place, slice_)

    def _on(
        self, page: Any, sid: str, place: Place, slice_: Any
    ) -> StoredJob | None:
        """Return the job at a place on a page."""
        if place.cell is None:
            if isinstance(page, Page) and (
                page.function is None or page.cells is not None
            ):
                return None  # it is empty, or the sid of a block
            return StoredJob(sid, place, self, slice_, page)
        cell = page.cells and page.cells.get(place.cell)
        return cell and StoredJob(sid, place, self, slice_, cell, page)

    def is_looked_after(self, job: StoredJob) -> bool:
        """Return whether a look can find a pending job.

        One that has ended is found by none. It is pending again only if its
        end was undone.

        Args:
            job: the job, which is pending.
        """
        _, key, index, _ = job.place
        if job.record.listed:
            return True
        if job.block is not None and index not in job.block.open:
            return False
        if isinstance(key, bytes) or (job.block and job.block.listed):
            return True
        shard_number, page_number = key
        shard = job.slice_.all_shards()[shard_number]
        return page_number in shard.open

    def find(self, sid: str) -> Record | None:
        """Return the record of a job; ``None`` if there is none any more."""
        job = self.locate(sid)
        return job.record if job else None

    def has_fence(self, sid: str, fence: Fence) -> bool:
        """Return whether a job is there, and is as its fence says."""
        job = self.locate(sid)
        return job is not None and job.fence == fence

    def change(self, sid: str, expected: Fence, **values: Any) -> StoredJob:
        """Do what :meth:`StoredJob.change` does, and return the job."""
        job = self.locate(sid)
        if job is None:
            raise TakenOver(f"The job {sid} is not this run's any more")
        job.change(expected, **values)
        return job

    def beat_of(self, runner: str) -> Beat:
        """Return the beat of an incarnation, made if needed."""
        beat: Beat | None = self.runners.get(runner)
        if beat is None:
            beat = self.runners[runner] = Beat()
        return beat

    def unfinished(self, ended: Container[Place] = ()) -> Iterator[str]:
        """Return the sids of the jobs that have not ended.

        There may be many slices. So all but the newest leave the memory when
        their jobs were returned.

        Args:
            ended: where jobs are, without what signs their sids, that are
                known to have ended; they are not loaded.
        """
        newest = self.slices.maxKey()
        for number, slice_ in self.slices.items():
            is_old = number != newest
            for found in self.listed_in(number, slice_, unload=is_old):
                if isinstance(found, str):
                    yield found
                else:
                    block: Any = slice_.page(found)
                    located = LocatedPage(number, slice_, found, block)
                    open_jobs = self.open_on(located, ended=ended)
                    yield from (job.sid for job in open_jobs)
            for shard_number, shard in slice_.all_shards().items():
                for page_number, page in shard.open_pages():
                    key = shard_number, page_number
                    if ended and Place(number, key) in ended:
                        continue
                    if not page.listed:
                        located = LocatedPage(number, slice_, key, page)
                        open_jobs = self.open_on(located, ended=ended)
                        yield from (job.sid for job in open_jobs)
            if is_old:
                slice_._p_deactivate()

    def listed_in(
        self, number: int, slice_: Slice, *, unload: bool = False
    ) -> Iterator[str | PageKey]:
        """Return the sids of the unfinished jobs that a slice lists.

        Of blocks that are listed as a whole, the keys of their pages are
        returned in their place. With *unload*, its sets leave the memory.
        """
        if slice_.keep_until is not None:
            return  # it has none, so load none
        for key, index in slice_.listed(unload=unload):
            if index == ALL:
                yield key
            elif isinstance(key, bytes) and index is None:
                yield slice_.sid(number, key)  # whether or not it is there
            elif self.page_at(number, key) is not None:
                yield slice_.sid(number, key, index)

    def all_in(self, number: int, slice_: Slice) -> Iterator[StoredJob]:
        """Return all jobs of a slice, also those that have ended."""
        for key, page in slice_.pages():
            place = Place(number, key)
            if not isinstance(page, Page):
                sid = slice_.sid(number, key)
                yield StoredJob(sid, place, self, slice_, page)
            elif page.cells is not None:
                for index, cell in page.cells.items():
                    sid = sid_of(number, key, page.secret, index)
                    place = place._replace(cell=index)
                    yield StoredJob(sid, place, self, slice_, cell, page)
            elif page.function is not None:
                sid = sid_of(number, key, page.secret)
                yield StoredJob(sid, place, self, slice_, page)

    def open_on(
        self,
        located: LocatedPage,
        *,
        unclaimed: bool = True,
        ended: Container[Place] = (),
    ) -> Iterator[StoredJob]:
        """Return the unfinished jobs on a page.

        Those that are listed by themselves are left out, and if *unclaimed*
        is false those of a block that no process has claimed. For *ended* see
        :meth:`unfinished`.
        """
        number, _, key, page = located
        for index, record in page.jobs(unclaimed=unclaimed):
            if ended and Place(number, key, index) in ended:
                continue
            if record.state == JobState.PENDING and not record.listed:
                yield self.job_on(located, index)
