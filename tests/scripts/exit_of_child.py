"""A child of multiprocessing ends while a job runs, which tells of its end."""

import multiprocessing
import sys
import threading

from exit import begin, set_at_end

begun, ends = threading.Event(), threading.Event()


def tell():
    """Say that this has ended, which it does when the process waits for it."""
    begun.set()
    assert ends.wait(30)
    print("the job has ended", flush=True)


def serve(path):
    """Run a job, and return while it runs."""
    # a job finds its function by the name of its module
    import exit_of_child as this

    set_at_end(this.ends)
    begin(path, this.tell, this.begun)


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    child = context.Process(target=serve, args=sys.argv[2:])
    child.start()
    child.join()
    sys.exit(child.exitcode)
