"""Runs a measurement on two builds by turns, each time in a new process.

A script that measures calls :func:`main` with what it measures. Without
``--before`` only the build that it runs with is measured.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent

#: The builds, by what they are called in the tables.
BEFORE, NOW = "before", "now"


def add_options(parser):
    """Add the options of all scripts that measure by turns."""
    add = parser.add_argument
    add("--before", help="the folder of another build, to be measured as well")
    add("--rounds", type=int, default=3, help="by turns (%(default)s)")
    add("--measure", help="what to measure, as JSON; the script asks itself")


def figures(script, options, **measured):
    """Return what each build gives, as lists of the rounds.

    Args:
        script: the file that measures.
        options: what the command line has said.
        measured: tells the script what to measure, as ``--measure``.

    Returns:
        The name of each figure, with the figures of each build.
    """
    builds = {NOW: HERE.parent}
    if options.before:
        builds = {BEFORE: pathlib.Path(options.before).resolve(), **builds}
    rounds = {build: [] for build in builds}
    for number in range(options.rounds):
        # who comes first finds the machine as the other one left it
        turns = list(builds.items())
        for build, folder in turns[:: -1 if number % 2 else 1]:
            rounds[build].append(_measure(script, folder, measured))
    names = {name: None for row in rounds[NOW] for name in row}
    return {
        name: {
            build: [row[name] for row in rows if name in row]
            for build, rows in rounds.items()
        }
        for name in names
    }


def _measure(script, folder, measured):
    """Return the figures that a process of one build prints."""
    done = subprocess.run(
        [sys.executable, script, "--measure", json.dumps(measured)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def ratio(name, found, base=None):
    """Return the median of now : the median of before, if there is one."""
    before = found[base or name].get(BEFORE)
    if not before or not found[name][NOW]:
        return None
    least = statistics.median(before)
    return statistics.median(found[name][NOW]) / least if least else None


def print_figures(title, found, units):
    """Print medians, extremes, and the ratio of the builds.

    Args:
        title: stands before the table.
        found: what :func:`figures` has returned.
        units: what to print of it: for each name a unit, the digits after
            the point, and how many of the unit are one of the figure.
    """
    print(title)
    for name, (unit, digits, factor) in units.items():
        if name not in found:
            continue
        cells = [
            f"{build} {_spread(values, digits, factor)}{unit}"
            for build, values in found[name].items()
            if values
        ]
        share = ratio(name, found)
        if share is not None:
            cells.append(f"now : before {share:.2f}")
        print(f"  {name:>28}: " + "; ".join(cells), flush=True)


def _spread(values, digits, factor):
    middle, least, most = (
        f"{factor * value:.{digits}f}"
        for value in (statistics.median(values), min(values), max(values))
    )
    return middle if least == most else f"{middle} ({least} to {most})"
