"""Entity tags of jobs."""

import pytest
from pyramid.request import Request

from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.web.etags import (
    etag_of,
    fits,
    known_etag,
    knows_progress,
    knows_runs,
)

RUNNING = make_version(2, changes=4)
ENDED = make_version(2, done=True)


def tag(run, changes=0, *, done=False):
    """Give the tag of one job."""
    return f'"{make_version(run, done=done, changes=changes)}"'


TAG, ENDED_TAG = tag(2, 4), tag(2, done=True)


def request(**headers):
    named = {name.replace("_", "-"): headers[name] for name in headers}
    return Request.blank("/", headers=named)


def test_a_tag_tells_the_versions_of_all_jobs():
    assert etag_of([RUNNING]) == str(RUNNING)
    assert etag_of([ENDED, None, 4]) == f"{ENDED}_-_4"


@pytest.mark.parametrize(
    ("sent", "is_known"),
    [
        (TAG, True),
        (f"W/{TAG}", True),
        (f'"rubbish", {TAG}', True),
        (tag(2, 5), True),  # another process knows more
        (ENDED_TAG, True),
        (tag(3), True),
        (tag(2, 3), False),
        (tag(1, 9), False),
        (tag(1, done=True), False),
        ('"-"', False),
        (f'"{RUNNING}_{RUNNING}"', False),
        ('"9x"', False),
        (f'"{"9" * 5000}"', False),
        ('""', False),
        ("rubbish", False),
    ],
)
def test_what_the_client_has_or_something_newer_needs_no_answer(
    sent, is_known
):
    known = known_etag(request(If_None_Match=sent), [RUNNING])

    if is_known:
        assert f'"{known}"' == sent.split(" ")[-1].removeprefix("W/")
    else:
        assert known is None


def test_a_client_that_knows_anything_has_what_is_current():
    assert known_etag(request(If_None_Match="*"), [RUNNING]) == str(RUNNING)


def test_without_a_tag_nothing_is_known():
    assert known_etag(request(), [RUNNING]) is None


def test_of_several_jobs_all_must_be_known():
    versions = [RUNNING, None]

    def knows(text):
        return known_etag(request(If_None_Match=f'"{text}"'), versions)

    assert knows(f"{RUNNING}_-")
    assert not knows(f"{RUNNING}_0")
    assert not knows(f"{RUNNING - 1}_-")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(TAG, True), (ENDED_TAG, True), (tag(2, 3), False), ("x", False)],
)
def test_each_change_is_worth_an_answer_to_who_waits(sent, expected):
    assert knows_progress(request(If_None_Match=sent), [RUNNING]) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (tag(2), True),
        (tag(2, 9), True),
        (ENDED_TAG, True),
        (tag(1, 9), False),
        (tag(1, done=True), False),
        ("x", False),
    ],
)
def test_progress_alone_is_worth_no_answer_at_once_to_who_waits(
    sent, expected
):
    assert knows_runs(request(If_None_Match=sent), [RUNNING]) == expected
    assert not knows_runs(request(If_None_Match=TAG), [ENDED])


def test_who_sends_no_tag_waits_for_the_next_change():
    assert knows_progress(request(), [RUNNING, None])
    assert knows_runs(request(), [RUNNING, None])


def test_that_a_job_is_gone_is_known_to_who_says_so():
    known = request(If_None_Match=f'"{RUNNING}_-"')

    assert knows_runs(known, [RUNNING, None])
    assert not knows_runs(known, [RUNNING, RUNNING])


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        ({}, RUNNING, True),
        ({"If_Match": "*"}, RUNNING, True),
        ({"If_Match": TAG}, RUNNING, True),
        ({"If_Match": tag(2)}, RUNNING, True),  # progress since
        ({"If_Match": ENDED_TAG}, ENDED, True),
        ({"If_Match": f"{tag(0)}, {ENDED_TAG}"}, ENDED, True),
        ({"If_Match": TAG}, ENDED, False),
        ({"If_Match": ENDED_TAG}, RUNNING, False),
        ({"If_Match": tag(1, 4)}, RUNNING, False),
        ({"If_Match": '"-"'}, RUNNING, False),
        ({"If_Match": f"W/{TAG}"}, RUNNING, False),
        ({"If_Match": "rubbish"}, RUNNING, False),
    ],
)
def test_a_change_is_made_to_the_run_that_the_client_has_seen(
    headers, version, expected
):
    assert fits(request(**headers), version) == expected


@pytest.mark.parametrize(
    ("sent", "is_known", "does_fit"),
    [
        ('"2.3.1"', True, True),
        ('"2.2.1"', False, True),
        ('"2.done"', True, False),
        ('"1.9.9"', False, False),
        ('"3.0.0"', True, False),
        ('"2.3"', False, False),
        ('"2.x.1"', False, False),
        ('"x.done"', False, False),
        ('"2.3.1.0"', False, False),
    ],
)
def test_a_tag_of_the_former_build_is_understood(sent, is_known, does_fit):
    """A page may have got it while servers of two builds were running."""
    known = known_etag(request(If_None_Match=sent), [RUNNING])

    assert (known is not None) == is_known
    assert fits(request(If_Match=sent), RUNNING) == does_fit
