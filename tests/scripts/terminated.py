"""Gets SIGTERM, in this process or in a child, and says what comes of it."""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time

from pyramid_zodb_async.concurrency.exits import call_at_exit
from pyramid_zodb_async.config import sigterm


def tell_of_jobs():
    print("the jobs have ended", flush=True)


def end_after_main(ending):
    threading.main_thread().join()
    ending.set()


def with_thread(*, is_endless):
    """End the main thread while another one, which is no daemon, goes on."""
    call_at_exit(tell_of_jobs)
    ending = threading.Event()
    thread = threading.Thread(target=ending.wait, name="of-application")
    thread.start()
    if is_endless:
        sigterm.PATIENCE = 0.2
    else:
        threading.Thread(target=end_after_main, args=(ending,)).start()
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def take_time():
    time.sleep(5 * sigterm.PATIENCE)  # it is this that takes long
    print("the rest has ended", flush=True)


def with_slow_end():
    """Take long to end, when the jobs have."""
    sigterm.PATIENCE = 0.2
    call_at_exit(tell_of_jobs)
    atexit.register(take_time)
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


def with_children():
    """Terminate children that have only just been forked."""
    for _ in range(50):
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    print("50 children have ended by -15", flush=True)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    sigterm.stop_on_sigterm()
    match sys.argv[1]:
        case "child":
            with_child()
        case "children":
            with_children()
        case "slow":
            with_slow_end()
        case kind:
            with_thread(is_endless=kind == "endless")
