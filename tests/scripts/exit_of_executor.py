"""A process ends while a job runs, which then uses others than its thread."""

import concurrent.futures
import logging
import sys
import threading

import transaction

from pyramid_zodb_async import TransactionalScheduler

begun, ends, ended = threading.Event(), threading.Event(), threading.Event()


class WaitsForJobs(logging.Handler):
    """Notes that somebody waits for the jobs that run."""

    def emit(self, record):
        if getattr(record, "action", "") == "engine_stopping":
            ends.set()


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

    log = logging.getLogger("pyramid_zodb_async.engine.threads")
    log.setLevel(logging.INFO)
    log.addHandler(this.WaitsForJobs())
    scheduler = TransactionalScheduler(workers=1)
    scheduler.schedule(this.tell, sys.argv[1])
    transaction.commit()
    assert this.begun.wait(30)
    threading.Thread(target=this.last).start()
