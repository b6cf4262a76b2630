"""A child of multiprocessing ends while a job runs, which tells of its end."""

import logging
import multiprocessing
import sys
import threading

from exit import begin

begun, ends = threading.Event(), threading.Event()


class WaitsForJobs(logging.Handler):
    """Notes that somebody waits for the jobs that run."""

    def emit(self, record):
        if getattr(record, "action", "") == "engine_stopping":
            ends.set()


def tell():
    """Say that this has ended, which it does when the process waits for it."""
    begun.set()
    assert ends.wait(30)
    print("the job has ended", flush=True)


def serve(path):
    """Run a job, and return while it runs."""
    # a job finds its function by the name of its module
    import exit_of_child as this

    log = logging.getLogger("pyramid_zodb_async.engine.threads")
    log.setLevel(logging.INFO)
    log.addHandler(this.WaitsForJobs())
    begin(path, this.tell, this.begun)


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    child = context.Process(target=serve, args=sys.argv[2:])
    child.start()
    child.join()
    sys.exit(child.exitcode)
