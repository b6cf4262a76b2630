"""What a test has happen in the runs of jobs."""

import pytest
import shop
import transaction
from zope.interface.verify import verifyObject

from pyramid_zodb_async.contracts import IRun
from pyramid_zodb_async.engine.fault_injection import Error, Interventions
from pyramid_zodb_async.scheduler.memory import MemoryScheduler


@pytest.fixture
def scheduler():
    return MemoryScheduler()


def test_to_the_runner_it_is_a_scheduler(scheduler):
    interventions = Interventions(scheduler)

    assert interventions.unfinished() == []
    with pytest.raises(AttributeError):
        interventions.nonsense  # noqa: B018 - that it is not there is the point


def test_what_is_planned_waits_for_a_run(scheduler):
    interventions = Interventions(scheduler)
    interventions.plan(planned := Error("end", ValueError))
    assert interventions.claim("unknown") is None
    assert interventions.take_last() == []
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()
    run = interventions.claim(sid)

    assert interventions.take_last() == [planned]
    assert interventions.take_last() == []
    assert run.sid == sid
    assert run.function == "shop:nothing"
    for name in IRun.names():
        assert hasattr(run, name), name


def test_a_run_is_one_also_with_nothing_planned(scheduler):
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()
    run = Interventions(scheduler).claim(sid)

    assert verifyObject(IRun, run, tentative=True)
    assert run.stop_reason() is None
