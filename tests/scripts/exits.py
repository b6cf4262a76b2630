"""Registers what is to be called at the end, in some process, and says so."""

import multiprocessing
import os
import sys

from pyramid_zodb_async.concurrency.exits import call_at_exit, forget_at_exit


class Part:
    """Something that is stopped, and tells in which process."""

    def __init__(self, name):
        self.name = name

    def stop(self):
        is_here = os.getpid() == PROCESS
        print(self.name, "here" if is_here else "in a child", flush=True)


first, second, third = Part("first"), Part("second"), Part("third")


def register():
    """Register three, the first of them again, and not the second."""
    for part in (first, second, third, first):
        call_at_exit(part.stop)
    forget_at_exit(second.stop)


def fork():
    """Fork after that, and end the child in order."""
    register()
    child = os.fork()
    if child == 0:
        sys.exit()
    os.waitpid(child, 0)


def fork_and_register():
    """Fork after that, and have the child register one again."""
    register()
    child = os.fork()
    if child == 0:
        call_at_exit(second.stop)
        sys.exit()
    os.waitpid(child, 0)


def children(method):
    """Register in a child of multiprocessing, and in its parent."""
    register()
    child = multiprocessing.get_context(method).Process(target=register)
    child.start()
    child.join()


PROCESS = os.getpid()

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    globals()[name](*arguments)
