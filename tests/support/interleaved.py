"""Transactions that begin before others commit, in the order of a test."""

import transaction
from ZODB.POSException import ConflictError


class Begun:
    """A transaction on a store of jobs that has done its work.

    Args:
        location: where the store is.
        work: called with the store.
    """

    def __init__(self, location, work):
        self._manager = transaction.TransactionManager(explicit=True)
        self._connection = location.db.open(self._manager)
        self._manager.begin()
        self.result = work(location.make(self._connection))

    def commits(self):
        """Commit, and tell whether that worked; else it conflicts."""
        try:
            self._manager.commit()
        except ConflictError:
            self._manager.abort()
            return False
        finally:
            self._connection.close()
        return True

    def abort(self):
        """Have nothing committed."""
        self._manager.abort()
        self._connection.close()


def in_order(order, one, other):
    """Commit two transactions, the second one first if that is the order.

    Returns whether each of them commits.
    """
    if order == "first":
        committed = one.commits()
        return committed, other.commits()
    committed = other.commits()
    return one.commits(), committed
