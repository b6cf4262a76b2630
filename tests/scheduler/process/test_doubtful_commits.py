"""What the record of a job tells of a commit that raised."""

import shop
import transaction

from pyramid_zodb_async.scheduler.process.commits_in_doubt import has_committed
from pyramid_zodb_async.scheduler.records import Fence


def look(process, sid):
    incarnation = process.scheduler.process.incarnation
    fence = Fence("pending", incarnation, 0)
    return has_committed(process.location, sid, fence, None)


def test_a_job_that_has_not_run_has_not_succeeded(process):
    assert look(process, process.schedule(shop.nothing)) is False


def test_one_that_was_forgotten_has_succeeded(process):
    sid = process.schedule(shop.nothing)
    process.run(sid)
    transaction.begin()
    process.scheduler.remove(sid)
    transaction.commit()
    process.forget()

    assert look(process, sid) is True


def test_nobody_knows_of_one_whose_slice_was_dropped(process):
    sid = process.schedule(shop.nothing)

    def drop(store):
        number, _ = store.newest()
        store.open_slice(1e10, 1)
        del store.slices[number]

    process.location.write(drop, note="drop")

    assert look(process, sid) is None
