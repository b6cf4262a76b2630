"""What is said of uWSGI; `make servers` starts it, here it is played."""

import os
import sys
import types

import pytest
import shop

from pyramid_zodb_async.interfaces import IScheduler

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def played_uwsgi(monkeypatch):
    """Put the module there that uWSGI makes."""

    def play(**attributes):
        module = types.ModuleType("uwsgi")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, "uwsgi", module)

    return play


def test_without_threads_the_start_tells_the_cure(
    make_app, played_uwsgi, caplog
):
    played_uwsgi(has_threads=0)
    shop.shut_down(make_app().app.registry)
    (record,) = caplog.records

    assert record.action == "threads_missing"
    assert "enable-threads = true" in record.getMessage()


def test_with_threads_nothing_is_said(make_app, played_uwsgi, caplog):
    played_uwsgi(has_threads=1)
    shop.shut_down(make_app().app.registry)

    assert caplog.records == []


def none():
    """Give the pid of the master where there is none."""
    return 0


@pytest.mark.kept_in("zodb")
@pytest.mark.parametrize(
    ("worker", "master", "processes", "is_forked"),
    [
        (0, os.getpid, 2, True),
        (0, os.getpid, 1, True),
        (0, none, 2, True),
        (0, none, 1, False),
        (1, os.getppid, 2, False),
        (1, none, 1, False),
    ],
)
def test_nothing_is_started_before_workers_are_forked(
    make_app, played_uwsgi, caplog, worker, master, processes, is_forked
):
    played_uwsgi(
        has_threads=1,
        numproc=processes,
        worker_id=lambda: worker,
        masterpid=master,
    )
    registry = make_app(zodb_async__autostart="true").app.registry
    is_started = registry.getUtility(IScheduler).runs_jobs
    shop.shut_down(registry)
    told = [record.action for record in caplog.records]

    assert is_started is not is_forked
    assert told == ["autostart_before_fork"] * is_forked
