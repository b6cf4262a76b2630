"""What a running job knows of itself, and tells of its progress."""

import subprocess
import sys
import threading
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus

import pytest
import shop
import transaction
from folders import PYTHONPATH, TESTS

from pyramid_zodb_async import (
    JobError,
    JobState,
    Progress,
    current_job,
)

pytestmark = pytest.mark.kept_in("memory", "zodb")


def describe_self():
    """Tell what the job knows of itself."""
    job = current_job()
    return job.sid, job.attempt, job.owner


@pytest.fixture
def run(scheduler):
    """Run a job to its end; tell what is known of it."""

    def run(function, *args):
        sid = scheduler.schedule(function, *args)
        transaction.commit()
        assert scheduler.wait(sid, 60)
        return scheduler.get(sid)

    return run


def test_a_job_knows_its_sid_its_attempt_and_its_owner(run):
    view = run(describe_self)

    assert view.result == (view.sid, 1, None)


def test_there_is_no_current_job_outside_of_one():
    with pytest.raises(JobError, match="outside a job"):
        current_job()


def ask_in_a_thread():
    """Look for the current job in another thread."""
    found = []

    def look():
        try:
            found.append(current_job().sid)
        except JobError:
            found.append(None)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found


def test_a_thread_of_a_job_has_no_current_job(run):
    assert run(ask_in_a_thread).result == [None]


def report(*args):
    """Report progress."""
    current_job().progress(*args)


@pytest.mark.parametrize(
    ("args", "progress"),
    [
        ((3,), Progress(done=3)),
        ((0.5, 1.0), Progress(done=0.5, total=1.0)),
        ((2, 3, "two"), Progress(done=2, total=3, message="two")),
    ],
)
def test_the_last_progress_can_be_seen(run, args, progress):
    assert run(report, *args).progress == progress


@pytest.mark.parametrize(
    ("args", "kind", "message"),
    [
        (("1",), "TypeError", "a number as done, not '1'"),
        ((True,), "TypeError", "a number as done, not True"),
        ((1, "2"), "TypeError", "a number as total, not '2'"),
        ((1, 2, 3), "TypeError", "a str as message, not 3"),
        ((-1,), "ValueError", "a done from 0 to 2**53"),
        ((float("nan"),), "ValueError", "a done from 0 to 2**53"),
        ((10**5000,), "ValueError", "a done from 0 to 2**53"),
        ((1, float("inf")), "ValueError", "a total from 0 to 2**53"),
    ],
)
def test_progress_that_json_could_not_tell_is_refused(
    run, args, kind, message
):
    view = run(report, *args)

    assert view.failure.type == kind
    assert message in view.failure.message


class Translation(str):
    """A text that holds more, as translation strings do."""

    __slots__ = ("mapping",)


def report_translation():
    """Report progress with a text that holds an object."""
    text = Translation("half")
    text.mapping = {"product": shop.Product("held")}
    current_job().progress(1, 2, text)


def test_a_message_is_a_plain_text(run):
    message = run(report_translation).progress.message

    assert type(message) is str
    assert message == "half"


def track(items, total=None, message=None):
    """Track items, and tell what was to be seen while each was at hand."""
    seen = []
    for item in current_job().track(items, total=total, message=message):
        progress = current_job()._run._job.progress
        seen.append((item, progress.done, progress.total, progress.message))
    return seen


def shout(item):
    """Make a message."""
    return item.upper()


def test_tracked_items_are_done_one_after_the_other(run):
    view = run(track, "abc")

    assert view.result == [
        ("a", 0, 3, None),
        ("b", 1, 3, None),
        ("c", 2, 3, None),
    ]
    assert view.progress == Progress(done=3, total=3)


def test_each_tracked_item_can_be_described(run):
    view = run(track, "ab", None, shout)

    assert view.result == [("a", 0, 2, "A"), ("b", 1, 2, "B")]
    assert view.progress == Progress(done=2, total=2)


def test_tracking_can_have_one_message_for_all(run):
    view = run(track, "a", None, "at work")

    assert view.result == [("a", 0, 1, "at work")]
    assert view.progress == Progress(done=1, total=1, message="at work")


def track_a_generator(total):
    """Track what has no length."""
    return track((letter for letter in "ab"), total)


def test_items_without_a_length_can_be_tracked(run):
    view = run(track_a_generator, None)
    assert view.result == [("a", 0, None, None), ("b", 1, None, None)]
    assert view.progress == Progress(done=2)

    view = run(track_a_generator, 2)
    assert view.progress == Progress(done=2, total=2)


def test_nothing_to_track_is_done_at_once(run):
    assert run(track, []).progress == Progress(done=0, total=0)


def wait_and_check(gate, how):
    """Go on only if somebody still wants the job."""
    shop.wait_at(gate)
    if how == "check":
        current_job().check()
    elif how == "progress":
        current_job().progress(1)
    else:
        for _ in current_job().track([1]):
            pass
    shop.gates["went on"] = True


@pytest.mark.parametrize("how", ["check", "progress", "track"])
def test_a_job_that_nobody_wants_any_more_is_stopped(
    scheduler, gate, caplog, how
):
    caplog.set_level("INFO")
    sid = scheduler.schedule(wait_and_check, "gate", how)
    transaction.commit()
    gate.wait_for_job()
    assert scheduler.get(sid).state is JobState.RUNNING
    scheduler.remove(sid)
    gate.open()
    assert scheduler.engine.idle(10)

    assert "went on" not in shop.gates
    assert scheduler.get(sid) is None
    assert [record.action for record in caplog.records] == [
        "job_removed",
        "job_given_up",
    ]


def test_progress_is_part_of_no_transaction(scheduler, gate):
    sid = scheduler.schedule(report_and_wait, "gate")
    transaction.commit()
    gate.wait_for_job()

    assert scheduler.get(sid).progress == Progress(done=1, total=2)


def report_and_wait(gate):
    """Report progress in the middle of a transaction."""
    current_job().progress(1, 2)
    shop.wait_at(gate)


@pytest.mark.parametrize("how", ["check", "progress", "track"])
def test_a_forked_child_is_told_that_it_cannot_speak_for_the_job(
    kept_in, tmp_path, how
):
    ended = subprocess.run(
        [
            sys.executable,
            TESTS / "scripts/fork_in_job.py",
            kept_in,
            how,
            tmp_path,
        ],
        check=False,
        capture_output=True,
        env={"PYTHONPATH": PYTHONPATH},
        text=True,
        timeout=shop.PATIENCE,
    )

    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("the job refused: ")
        assert "in a child of the process that runs the job" in line


class Count:
    """A whole number of some library."""

    def __init__(self, number):
        self.number = number

    def __index__(self):
        return self.number


class NoCount:
    """What looks like a whole number, and is none."""

    def __index__(self):
        raise TypeError("not one number")


@pytest.mark.parametrize(
    ("number", "plain"),
    [
        (Fraction(1, 4), 0.25),
        (Fraction(3), 3.0),
        (Decimal("0.5"), 0.5),
        (Count(3), 3),
        (HTTPStatus.CONTINUE, 100),
    ],
)
def test_progress_may_be_a_number_of_any_kind(run, number, plain):
    progress = run(report, number, number).progress

    assert progress == Progress(done=plain, total=plain)
    assert type(progress.done) is type(plain)
    assert type(progress.total) is type(plain)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (Decimal("nan"), "ValueError"),
        (Decimal("snan"), "ValueError"),
        (Decimal("inf"), "ValueError"),
        (Fraction(-1, 3), "ValueError"),
        (Fraction(10**400), "ValueError"),
        (Count(-1), "ValueError"),
        (NoCount(), "TypeError"),
        (1j, "TypeError"),
    ],
)
def test_progress_is_a_number_from_nothing_to_much(run, number, kind):
    assert run(report, number).failure.type == kind


def test_a_long_message_is_cut(run):
    assert run(report, 1, 2, "x" * 1000).progress.message == "x" * 1000
    message = run(report, 1, 2, "x" * 1001).progress.message
    assert message == "x" * 999 + "…"


def check_as_in_a_child(how):
    """Ask as after a fork, when the process is another one."""
    me = current_job()
    me._process = 0
    getattr(me, how)(*[1] * (how == "progress"))


@pytest.mark.parametrize("how", ["check", "progress"])
def test_who_asks_in_another_process_than_that_of_the_run_is_refused(run, how):
    failure = run(check_as_in_a_child, how).failure

    assert failure.type == "RuntimeError"
    assert "a child of the process" in failure.message
