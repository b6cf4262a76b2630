"""What code the jobs of a scheduler refer to."""

import pickle
import sys

import shop
import transaction
from all_values import Order, OutOfStock, Plain, Point

from pyramid_zodb_async import (
    PersistentTransactionalScheduler,
    names_in_jobs,
)
from pyramid_zodb_async.scheduler.memory import MemoryScheduler
from pyramid_zodb_async.transfer.pickled_names import names_in

LARGE = "x" * 2000


def run_out():
    """Fail with an exception of the application."""
    raise OutOfStock


def give_points(*numbers):
    """Give objects of the application."""
    return [Point(number, number) for number in numbers]


def test_the_names_in_jobs_that_wait_are_listed(process, product):
    process.schedule(shop.give, 1)
    process.schedule(shop.give, [Order.Status.OPEN, Point(1, 2), Point(3, 4)])
    process.schedule(shop.give, [product, Plain(LARGE)])
    process.schedule(Plain(1).method, 2)

    assert names_in_jobs(process.scheduler) == {
        "shop:give": 3,
        "all_values:Order.Status": 1,
        "all_values:Point": 1,
        "all_values:Plain": 2,
        "all_values:Plain.method": 1,
    }


def test_so_are_those_in_outcomes_that_are_kept(process):
    process.schedule(give_points, 1)
    process.schedule(give_points, *range(500))
    failed = process.schedule(run_out)
    done = process.schedule(shop.give, "plain")
    for _ in range(4):
        process.run()
    assert names_in_jobs(process.scheduler) == {
        "all_values:Point": 2,
        "all_values:OutOfStock": 1,
        # it can be retried
        "test_names:run_out": 1,
    }
    transaction.begin()
    for sid in (failed, done):
        process.scheduler.remove(sid)
    transaction.commit()
    process.forget()

    assert names_in_jobs(process.scheduler) == {"all_values:Point": 2}


def test_nothing_is_imported(process, monkeypatch):
    process.schedule(shop.give, [Point(1, 2)])
    monkeypatch.delattr(sys.modules["all_values"], "Point")

    assert names_in_jobs(process.scheduler) == {
        "shop:give": 1,
        "all_values:Point": 1,
    }


def test_a_scheduler_without_a_store_names_nothing(process, connection):
    del connection.root()["pyramid_zodb_async"]
    transaction.commit()

    assert names_in_jobs(process.scheduler) == {}


def test_a_scheduler_that_is_an_object_tells_its_names(connection):
    scheduler = PersistentTransactionalScheduler()
    connection.root()["scheduler"] = scheduler
    transaction.commit()
    scheduler.schedule(shop.give, [Point(1, 2)])

    assert names_in_jobs(scheduler) == {
        "shop:give": 1,
        "all_values:Point": 1,
    }
    transaction.abort()
    scheduler.stop()


def test_those_of_jobs_in_memory_are_listed_until_they_have_ended():
    scheduler = MemoryScheduler()
    with transaction.manager:
        scheduler.schedule(shop.give, [Point(1, 2)])

    assert names_in_jobs(scheduler) == {
        "shop:give": 1,
        "all_values:Point": 1,
    }


def test_a_name_is_found_where_a_pickle_has_it_again():
    kinds = [Point, Order, Point, Order.Status, Order.Status.OPEN]

    assert names_in(pickle.dumps(kinds, 5)) >= {
        "all_values:Point",
        "all_values:Order",
        "all_values:Order.Status",
    }


def test_a_job_that_ends_meanwhile_names_nothing(monkeypatch):
    scheduler = MemoryScheduler()
    monkeypatch.setattr(scheduler.jobs.table, "unfinished", lambda: ["gone"])

    assert names_in_jobs(scheduler) == {}
