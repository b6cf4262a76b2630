"""A script that ends while a job runs, which tells what still goes on then."""

import logging
import sys
import threading
import time

import transaction
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import PersistentTransactionalScheduler

begun, ends = threading.Event(), threading.Event()


class WaitsForJobs(logging.Handler):
    """Sets an event when somebody waits for the jobs that run."""

    def __init__(self, event):
        super().__init__()
        self._event = event

    def emit(self, record):
        if getattr(record, "action", "") == "engine_stopping":
            self._event.set()


def set_at_end(event):
    """Set an event when the process waits for its jobs."""
    log = logging.getLogger("pyramid_zodb_async.engine.threads")
    log.setLevel(logging.INFO)
    log.addHandler(WaitsForJobs(event))


def tell():
    """Say who works on a while after the process has begun to end."""
    begun.set()
    assert ends.wait(30)
    # what ends with the process at once has ended then
    deadline = time.monotonic() + 1
    name = "zodb_async-housekeeper"
    while time.monotonic() < deadline:
        names = [thread.name for thread in threading.enumerate()]
        if name not in names:
            print("the housekeeper has ended")
            return
        time.sleep(0.02)  # paces the loop; the condition decides
    print("the housekeeper works on")


def begin(path, job, begun):
    """Have a job begin, in a new database."""
    connection = DB(FileStorage(path)).open()
    scheduler = PersistentTransactionalScheduler()
    connection.root()["jobs"] = scheduler
    transaction.commit()
    scheduler.start()
    scheduler.schedule(job)
    transaction.commit()
    connection.close()
    assert begun.wait(30)


if __name__ == "__main__":
    # a job finds its function by the name of its module
    import exit as this

    set_at_end(this.ends)
    this.begin(sys.argv[1], this.tell, this.begun)
