"""A job is forgotten while somebody waits for it."""

from types import SimpleNamespace

from pyramid_zodb_async import UnknownJob
from pyramid_zodb_async.web.request_jobs import Jobs


class Forgetful:
    """A scheduler that has forgotten a job when the wait begins."""

    def wait(self, sid, timeout):
        raise UnknownJob(sid, timeout)


def test_a_job_that_is_forgotten_at_the_beginning_of_the_wait_has_ended():
    jobs = SimpleNamespace(
        _request=SimpleNamespace(environ={}),
        _may_view_committed=lambda sid: sid == "sid",
        _scheduler=Forgetful(),
    )

    assert Jobs.wait(jobs, "sid", 1) is True
