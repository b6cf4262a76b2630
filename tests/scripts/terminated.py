"""Gets SIGTERM, in this process or in a child, and says what comes of it."""

import logging
import multiprocessing
import os
import signal
import sys
import threading

from pyramid_zodb_async.concurrency.exits import call_at_exit
from pyramid_zodb_async.config import sigterm


def tell_of_jobs():
    print("the jobs have ended", flush=True)


def end_after_main(ending):
    threading.main_thread().join()
    ending.set()


def with_thread(*, is_endless):
    """End the main thread while another one, which is no daemon, goes on."""
    sigterm.PATIENCE = 0.2 if is_endless else 60.0
    call_at_exit(tell_of_jobs)
    ending = threading.Event()
    thread = threading.Thread(target=ending.wait, name="of-application")
    thread.start()
    if not is_endless:
        end_with_main = threading.main_thread().join
        threading.Thread(
            target=lambda: (end_with_main(), ending.set())
        ).start()
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def with_child():
    """Terminate a child that another thread has forked."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=signal.pause)
    for step in (child.start, child.terminate, child.join):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    print("the child has ended by", child.exitcode, flush=True)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    sigterm.stop_on_sigterm()
    match sys.argv[1]:
        case "child":
            with_child()
        case kind:
            with_thread(is_endless=kind == "endless")
