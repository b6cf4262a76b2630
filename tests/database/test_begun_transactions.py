"""Which transactions somebody has begun."""

import shop
import transaction

from pyramid_zodb_async.database.begun_transactions import (
    was_begun,
    watch_begins,
    watch_of,
)


def test_what_is_begun_is_told_from_what_begins_unasked():
    def look():
        transaction.abort()
        transaction.get()
        known = [was_begun(transaction.manager, None)]  # nobody watches yet
        watch_begins()
        known.append(
            was_begun(transaction.manager, None)
        )  # it was there before
        transaction.commit()
        transaction.get()
        known.append(was_begun(transaction.manager, None))
        transaction.begin()
        known.append(was_begun(transaction.manager, None))
        transaction.abort()
        transaction.get()
        known.append(was_begun(transaction.manager.manager, None))
        return known

    assert shop.in_thread(look) == [True, True, False, True, False]


def test_of_other_managers_something_is_known_if_they_are_watched():
    watch_begins()
    manager = transaction.TransactionManager()
    manager.get()
    assert was_begun(manager, None)

    watch = watch_of(manager)
    known = [was_begun(manager, watch)]  # it was there before
    manager.abort()
    manager.get()
    known.append(was_begun(manager, watch))
    manager.begin()
    known.append(was_begun(manager, watch))
    assert known == [True, False, True]


def test_other_managers_need_no_watch():
    explicit = transaction.TransactionManager(explicit=True)

    assert [watch_of(each) for each in (explicit, transaction.manager)] == [
        None
    ] * 2
