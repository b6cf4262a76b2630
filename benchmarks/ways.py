"""The ways of a job: how many modules each takes, and how many calls between.

For each step in the life of a job, this prints how many modules of the
package are entered, and how many calls go from one of them to another. Work
of other packages, and calls within a module, do not count. With ``--calls``,
each of these calls is listed.

To compare two builds, run it with the ``PYTHONPATH`` of each.
"""

import argparse
import collections
import pathlib
import sys

import lone

import pyramid_zodb_async

PACKAGE = f"{pyramid_zodb_async.__name__}."


class Way:
    """Counts modules and calls between them while it is a profiler."""

    def __init__(self):
        self.modules = set()
        self.calls = collections.Counter()

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _note(self, frame, event, _argument):
        if event != "call":
            return
        callee = frame.f_globals.get("__name__", "")
        if not callee.startswith(PACKAGE):
            return
        self.modules.add(callee)
        caller = frame.f_back.f_globals.get("__name__", "")
        if caller.startswith(PACKAGE) and caller != callee:
            name = frame.f_code.co_qualname
            self.calls[caller, callee, name] += 1

    def __str__(self):
        return f"{len(self.modules):3d} / {self.calls.total():3d}"


def walk():
    """Return the ways of one life, by the names of its steps."""
    ways = collections.defaultdict(Way)

    def follow(name, function, *arguments):
        with ways[name]:
            return function(*arguments)

    with lone.application() as app:
        for _ in range(lone.WARM_UP):
            lone.live(app, lone.do)
        lone.live(app, follow)
    return ways


def main():
    """Print the ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--calls", action="store_true", help="list the calls between modules"
    )
    is_wordy = parser.parse_args().calls
    print(f"{pathlib.Path(pyramid_zodb_async.__file__).parent}")
    print("modules entered / calls from one module to another")
    for name, way in walk().items():
        print(f"{way}  {name}")
        if is_wordy:
            for (caller, callee, qualname), times in way.calls.items():
                start = len(PACKAGE)
                print(
                    f"    {times} {caller[start:]} -> {callee[start:]}"
                    f".{qualname}"
                )


if __name__ == "__main__":
    main()
