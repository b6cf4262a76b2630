"""A process ends while a job runs, which then uses others than its thread."""

import concurrent.futures
import sys
import threading

import transaction
from exit import set_at_end

from pyramid_zodb_async import TransactionalScheduler

begun, ends, ended = threading.Event(), threading.Event(), threading.Event()


def tell(name):
    """Say what an executor of that class gives when the process ends."""
    begun.set()
    assert ends.wait(30)
    with getattr(concurrent.futures, name)(1) as executor:
        print("executed", executor.submit(abs, -1).result(30), flush=True)
    ended.set()


def last():
    """End after the job, without which the process does not."""
    print("in time" if ended.wait(30) else "too late", flush=True)


if __name__ == "__main__":
    # a job finds its function by the name of its module
    import exit_of_executor as this

    set_at_end(this.ends)
    scheduler = TransactionalScheduler(workers=1)
    scheduler.schedule(this.tell, sys.argv[1])
    transaction.commit()
    assert this.begun.wait(30)
    threading.Thread(target=this.last).start()
