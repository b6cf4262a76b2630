"""What is known of a job, as plain data."""

import copy
import itertools
import json
import math
import pickle

import pytest

from pyramid_zodb_async import JobState, JobView
from pyramid_zodb_async.job import Version
from pyramid_zodb_async.jobs.model import (
    CHANGES,
    make_version,
    stored_progress,
    without_changes,
)

#: What a version is made of, from the oldest to the newest.
ORDER = [
    {"run": run} | more
    for run in (0, 1, 2, 999_999)
    for more in (
        {},
        {"changes": 1},
        {"changes": 2},
        {"changes": CHANGES - 1},
        {"done": True},
    )
]


def test_a_new_run_or_an_end_is_newer_than_any_number_of_changes():
    versions = [make_version(**parts) for parts in ORDER]

    for older, newer in itertools.pairwise(versions):
        assert older < newer


def test_more_changes_than_there_is_room_for_are_no_new_run():
    most = make_version(3, changes=CHANGES - 1)

    assert make_version(3, changes=CHANGES) == most
    assert make_version(3, changes=10 * CHANGES) == most


def test_a_version_is_a_number_that_javascript_has():
    greatest = make_version(999_999, done=True)

    assert greatest < 2**53
    assert json.loads(json.dumps(greatest), parse_int=float) == greatest


@pytest.mark.parametrize("done", [False, True])
def test_versions_of_one_run_are_the_same_without_its_changes(done):
    version = make_version(5, done=done)

    assert without_changes(version) == version
    assert without_changes(version + 7) == version
    assert without_changes(version + CHANGES) != version


def test_a_view_of_before_versions_were_numbers_has_the_number():
    """As a database may hold it: the class, and what it was made of."""
    stored = b"cpyramid_zodb_async.job\nVersion\n(K\x02\x89K\x03K\x01t\x81."

    assert pickle.loads(stored) == make_version(2, changes=4)
    assert type(pickle.loads(stored)) is int
    assert Version(2, 1, 3, 1) > make_version(2, done=True)


def test_a_view_that_nobody_gave_a_version_has_the_first():
    assert JobView.__dataclass_fields__["version"].default == make_version(0)


@pytest.mark.parametrize(
    "copied",
    [copy.copy, lambda view: pickle.loads(pickle.dumps(view))],
    ids=["copied", "pickled"],
)
@pytest.mark.parametrize("expires", [1795901673.1410575, 1e12, math.inf])
def test_a_view_that_is_copied_or_pickled_has_the_same_times(copied, expires):
    view = JobView(
        sid="",
        state=JobState.SUCCEEDED,
        function="",
        scheduled_at=1795901673.1357584,  # a datetime cannot tell this
        expires_at=expires,  # nor, perhaps, that
        load_result=int,
    )

    assert copied(view) == view


def test_of_a_job_without_progress_none_is_stored():
    assert set(stored_progress(None).values()) == {None}
