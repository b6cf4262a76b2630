"""Which transactions somebody has begun."""

import shop
import transaction

from pyramid_zodb_async.database.begun_transactions import (
    was_begun,
    watch_begins,
)


def test_what_is_begun_is_told_from_what_begins_unasked():
    def look():
        transaction.abort()
        transaction.get()
        known = [was_begun(transaction.manager)]  # nobody watches yet
        watch_begins()
        known.append(was_begun(transaction.manager))  # it was there before
        transaction.commit()
        transaction.get()
        known.append(was_begun(transaction.manager))
        transaction.begin()
        known.append(was_begun(transaction.manager))
        transaction.abort()
        transaction.get()
        known.append(was_begun(transaction.manager.manager))
        return known

    assert shop.in_thread(look) == [True, True, False, True, False]


def test_of_other_managers_nothing_is_known():
    watch_begins()
    manager = transaction.TransactionManager()
    manager.get()

    assert was_begun(manager)
