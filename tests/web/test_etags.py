"""Entity tags of jobs."""

import pytest
from pyramid.request import Request

from pyramid_zodb_async import Version
from pyramid_zodb_async.web.etags import (
    etag_of,
    fits,
    known_etag,
    knows_progress,
    knows_runs,
)

RUNNING = Version(2, progress=3, starts=1)
ENDED = Version(2, done=True)


def request(**headers):
    named = {name.replace("_", "-"): headers[name] for name in headers}
    return Request.blank("/", headers=named)


def test_a_tag_tells_the_versions_of_all_jobs():
    assert etag_of([RUNNING]) == "2.3.1"
    assert etag_of([ENDED, None, RUNNING]) == "2.done_-_2.3.1"


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ('"2.3.1"', "2.3.1"),
        ('W/"2.3.1"', "2.3.1"),
        ('"rubbish", "2.3.1"', "2.3.1"),
        ('"2.4.1"', "2.4.1"),  # another process knows more
        ('"2.3.2"', "2.3.2"),
        ('"2.done"', "2.done"),
        ('"3.0.0"', "3.0.0"),
        ("*", "2.3.1"),
        ('"2.2.9"', None),
        ('"1.done"', None),
        ('"-"', None),
        ('"2.3.1_2.3.1"', None),
        ('"2.3"', None),
        ('"2.x.1"', None),
        ('""', None),
        ("rubbish", None),
    ],
)
def test_what_the_client_has_or_something_newer_needs_no_answer(sent, known):
    assert known_etag(request(If_None_Match=sent), [RUNNING]) == known


def test_without_a_tag_nothing_is_known():
    assert known_etag(request(), [RUNNING]) is None


def test_of_several_jobs_all_must_be_known():
    versions = [RUNNING, None]

    assert known_etag(request(If_None_Match='"2.3.1_-"'), versions)
    assert not known_etag(request(If_None_Match='"2.3.1_0.0.0"'), versions)
    assert not known_etag(request(If_None_Match='"2.2.1_-"'), versions)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [('"2.3.0"', True), ('"2.3.1"', True), ('"2.2.1"', False), ("x", False)],
)
def test_that_a_job_began_is_not_worth_an_answer_to_who_waits(sent, expected):
    assert knows_progress(request(If_None_Match=sent), [RUNNING]) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ('"2.0.0"', True),
        ('"2.9.9"', True),
        ('"2.done"', True),
        ('"1.9.9"', False),
        ('"1.done"', False),
        ("x", False),
    ],
)
def test_progress_alone_is_worth_no_answer_at_once_to_who_waits(
    sent, expected
):
    assert knows_runs(request(If_None_Match=sent), [RUNNING]) == expected
    assert not knows_runs(request(If_None_Match='"2.3.1"'), [ENDED])


def test_who_sends_no_tag_waits_for_the_next_change():
    assert knows_progress(request(), [RUNNING, None])


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        ({}, RUNNING, True),
        ({"If_Match": "*"}, RUNNING, True),
        ({"If_Match": '"2.3.1"'}, RUNNING, True),
        ({"If_Match": '"2.0.0"'}, RUNNING, True),  # progress since
        ({"If_Match": '"2.done"'}, ENDED, True),
        ({"If_Match": '"0.0.0", "2.done"'}, ENDED, True),
        ({"If_Match": '"2.3.1"'}, ENDED, False),
        ({"If_Match": '"2.done"'}, RUNNING, False),
        ({"If_Match": '"1.3.1"'}, RUNNING, False),
        ({"If_Match": '"-"'}, RUNNING, False),
        ({"If_Match": 'W/"2.3.1"'}, RUNNING, False),
        ({"If_Match": "rubbish"}, RUNNING, False),
    ],
)
def test_a_change_is_made_to_the_run_that_the_client_has_seen(
    headers, version, expected
):
    assert fits(request(**headers), version) == expected
