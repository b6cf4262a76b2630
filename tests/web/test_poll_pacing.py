"""How long clients are told to wait."""

import time

import pytest

from pyramid_zodb_async import JobState, JobView
from pyramid_zodb_async.web.poll_pacing import (
    LONGEST,
    MOST_QUESTIONS,
    PollPacer,
)


def job(age=0.0, state=JobState.RUNNING):
    return JobView(
        sid="sid",
        state=state,
        function="shop:nothing",
        scheduled_at=time.time() - age,
        load_result=lambda: None,
    )


def test_a_new_job_is_asked_for_every_second():
    assert PollPacer(2).retry_after([job()], 0) == 1


@pytest.mark.parametrize(("age", "pause"), [(15, 2), (35, 4), (4000, 5)])
def test_an_old_job_is_asked_for_less_often(age, pause):
    assert PollPacer(2).retry_after([job(age)], 0) == pause


def test_the_youngest_of_many_jobs_makes_the_pace():
    assert PollPacer(2).retry_after([job(4000), job()], 0) == 1


def test_a_long_queue_slows_down_those_who_wait_in_it():
    pace = PollPacer(2)

    assert pace.retry_after([job(state=JobState.PENDING)], 400) == 10
    assert pace.retry_after([job(state=JobState.RUNNING)], 400) == 1


def test_no_pause_is_longer_than_the_longest():
    waiting = [job(state=JobState.PENDING)]

    assert PollPacer(None).retry_after(waiting, 10_000_000) == LONGEST


def test_many_clients_get_a_pace_that_keeps_their_questions_bounded():
    """They ask as they are told, which settles at the number wanted."""
    now = [0.0]
    pace, asked = PollPacer(2, clock=lambda: now[0]), []
    due = dict.fromkeys(range(400), 0.0)
    while now[0] < 60:
        client = min(due, key=due.get)
        now[0] = due[client]
        asked.append(now[0])
        due[client] += pace.retry_after([job()], 0)

    last_seconds = [moment for moment in asked if moment >= 30]
    assert len(last_seconds) / 30 <= 1.3 * MOST_QUESTIONS
