"""The pages that a process has made ahead: each goes to one transaction."""

import threading

import pytest
import shop
import transaction
from ZODB.POSException import ConflictError

from pyramid_zodb_async.database.connections import current_connections
from pyramid_zodb_async.scheduler.process.free_pages import (
    FEWEST,
    FreePages,
    TakenPage,
)
from pyramid_zodb_async.scheduler.process.placing import MOST_PAGES
from pyramid_zodb_async.scheduler.records import Shard, Store
from pyramid_zodb_async.scheduler.sids import split_sid


@pytest.fixture
def store(connection):
    """Give a store in a database, with three pages in a shard of `me`."""
    made = connection.root()["store"] = Store(longest_timeout=1)
    _, newest = made.newest()
    newest.shards[0] = Shard("me")
    newest.shards[0].make_pages(3)
    transaction.commit()
    return made


@pytest.fixture
def pages(store):
    """Give those pages, as that process has them."""
    made = FreePages("me")
    number, _ = store.newest()
    made.add(TakenPage(number, 0, page) for page in range(3))
    return made


def taken(pages, store):
    """Take a page, and give its number."""
    found = pages.take(store)
    return None if found is None else found[0].page_number


def test_a_page_is_given_once_in_turn(pages, store):
    _, newest = store.newest()
    place, slice_, page = pages.take(store)
    assert slice_ is newest
    assert page is newest.shards[0].pages[place.page_number]
    assert page.is_empty
    assert [taken(pages, store) for _ in range(3)] == [1, 2, None]
    assert len(pages) == 0
    assert pages.taken == 3


def test_a_page_that_was_given_back_is_the_next_again(pages, store):
    place, *_ = pages.take(store)
    pages.give_back(place)

    assert pages.taken == 0
    assert taken(pages, store) == 0


def test_a_page_that_another_process_has_closed_is_left_out(pages, store):
    _, newest = store.newest()
    newest.shards[0].pages[0].closed = True
    newest.shards[0].pages[1].change(function="shop:nothing")

    assert taken(pages, store) == 2


def test_so_are_all_pages_of_a_shard_that_another_one_keeps(pages, store):
    _, newest = store.newest()
    newest.shards[0].keeper = "another"

    assert taken(pages, store) is None
    assert len(pages) == 0


def test_a_transaction_gets_no_page_that_it_cannot_see(store, db):
    """It has begun before the page was made."""
    late = db.open(transaction.TransactionManager())
    late.transaction_manager.begin()
    old = late.root()["store"]
    old.newest()
    with transaction.manager:
        number, newest = store.newest()
        made = newest.shards[0].make_pages(1)
    pages = FreePages("me")
    pages.add([TakenPage(number, 0, made[0])])
    assert pages.take(old) is None
    late.transaction_manager.begin()
    assert taken(pages, old) == 3
    late.transaction_manager.abort()
    late.close()


@pytest.mark.parametrize(("later", "shard_number"), [(0, 1), (1, 0)])
def test_nor_one_of_a_shard_or_a_slice_that_it_cannot_see(
    store, later, shard_number
):
    number, _ = store.newest()
    pages = FreePages("me")
    pages.add([TakenPage(number + later, shard_number, 0)])
    assert pages.take(store) is None
    # others may see it
    assert len(pages) == 1
    assert pages.taken == 0


def test_pages_of_an_older_slice_are_given_no_more(pages, store):
    store.open_slice(0, longest_timeout=1)
    number, newest = store.newest()
    newest.shards[0] = Shard("me")
    newest.shards[0].make_pages(1)
    pages.add([TakenPage(number, 0, 0)])
    place, *_ = pages.take(store)

    assert place == TakenPage(number, 0, 0)
    assert len(pages) == 0


def test_pages_are_missing_when_half_are_used_up_in_a_process_that_runs_jobs():
    pages = FreePages("me")
    assert pages.missing == 0
    pages.is_used = True
    assert pages.missing == FEWEST
    half = FEWEST // 2
    pages.add(TakenPage(0, 0, page) for page in range(half))
    assert pages.missing == FEWEST - half
    pages.add([TakenPage(0, 0, half)])
    assert pages.missing == 0
    pages.add(TakenPage(0, 0, page) for page in range(half + 1, FEWEST))

    assert pages.missing == 0


# as a process uses them


@pytest.fixture
def number_of_pages(process):
    """Give a function that counts the pages that are free."""
    pages = process.scheduler.process.free_pages
    return lambda: len(pages)


def test_an_abort_gives_all_pages_back(process, number_of_pages):
    before = number_of_pages()
    transaction.begin()
    for _ in range(30):
        process.scheduler.schedule(shop.nothing)
    # one for each job, and one for the others together
    assert number_of_pages() == before - MOST_PAGES - 1
    transaction.abort()

    assert number_of_pages() == before
    assert process.scheduler.unfinished() == []


def test_the_rollback_of_a_savepoint_gives_pages_back(
    process, number_of_pages
):
    before = number_of_pages()
    transaction.begin()
    kept = process.scheduler.schedule(shop.give, "kept")
    savepoint = transaction.savepoint()
    for _ in range(3):
        for _ in range(30):
            process.scheduler.schedule(shop.give, "dropped")
        savepoint.rollback()
        assert number_of_pages() == before - 1
    other = process.scheduler.schedule(shop.give, "other")
    transaction.commit()
    for _ in range(2):
        process.run()

    assert number_of_pages() == before - 2
    assert process.view(kept).result == "kept"
    assert process.view(other).result == "other"
    assert process.engine.submitted == []


def test_a_page_that_a_rollback_gave_back_may_go_to_another_transaction(
    process,
):
    first = process.schedule(shop.give, "first")
    transaction.begin()
    savepoint = transaction.savepoint()
    dropped = process.scheduler.schedule(shop.give, "dropped")
    transaction.savepoint()
    savepoint.rollback()
    (other,) = shop.in_thread(lambda: [process.schedule(shop.give, "other")])
    assert split_sid(other).page == split_sid(dropped).page
    last = process.scheduler.schedule(shop.give, "last")
    transaction.commit()
    for _ in range(3):
        process.run()

    assert [process.view(sid).result for sid in (first, other, last)] == [
        "first",
        "other",
        "last",
    ]


def test_a_conflict_gives_pages_back(process, db, number_of_pages):
    before = number_of_pages()
    transaction.begin()
    process.scheduler.schedule(shop.nothing)
    current_connections().to(db).root()["mine"] = 1

    def interfere():
        current_connections().to(db).root()["theirs"] = 1

    shop.in_thread(interfere)
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()

    assert number_of_pages() == before


def test_threads_never_get_the_same_page(process):
    together, sids = threading.Barrier(8), []

    def schedule():
        together.wait(shop.PATIENCE)
        sids.extend(process.schedule(shop.nothing) for _ in range(20))

    threads = [threading.Thread(target=schedule) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(shop.PATIENCE)

    assert len(set(sids)) == 160
    assert set(process.scheduler.unfinished()) == set(sids)


@pytest.mark.parametrize("count", [1, 12])
def test_a_sid_of_what_was_not_committed_is_no_other_ones(process, count):
    transaction.begin()
    shown = [
        process.scheduler.schedule(shop.give, number)
        for number in range(count)
    ]
    transaction.abort()
    transaction.begin()
    sids = [
        process.scheduler.schedule(shop.give, number)
        for number in range(count)
    ]
    transaction.commit()

    places = {split_sid(sid).page for sid in shown}
    assert places == {split_sid(sid).page for sid in sids}
    assert not set(shown) & set(sids)
    assert [process.view(sid) for sid in shown] == [None] * count


def test_nor_is_one_of_a_block_that_was_rolled_back_in_part(process):
    transaction.begin()
    schedule = process.scheduler.schedule
    kept = [schedule(shop.give, number) for number in range(8)]
    savepoint = transaction.savepoint()
    shown = schedule(shop.give, "shown")
    savepoint.rollback()
    kept.append(schedule(shop.give, "other"))
    transaction.commit()

    assert shown not in kept
    assert process.view(shown) is None
    assert all(map(process.view, kept))
