"""The place of a run that takes too long is told if it can be."""

import pytest
import shop

from pyramid_zodb_async.execution.overdue import _stack_of
from pyramid_zodb_async.testing import wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


class Loader:
    """Raises when it is asked for the source of its module."""

    def get_source(self, name):
        raise RuntimeError(name)


def wait_in_code_of_a_loader(gate):
    """Wait in a module whose source cannot be had."""
    code = compile("wait(gate)", "nowhere/at_all.py", "exec")
    exec(
        code,
        {
            "__name__": "at_all",
            "__loader__": Loader(),
            "wait": shop.wait_at,
            "gate": gate,
        },
    )


def start(request):
    schedule = request.schedule.with_options(time_limit=0.3)
    return request.accepted(schedule(wait_in_code_of_a_loader, "gate"))


def test_a_place_that_cannot_be_told_lets_the_job_fail_in_time(
    make_app, gate, caplog
):
    def lines():
        return [
            record.getMessage()
            for record in caplog.records
            if getattr(record, "action", None) == "job_timed_out"
        ]

    def was_there():
        shop.gates["gate"] = gate = shop.Gate()
        caplog.clear()
        view = wait_for(app, app.post("/start").json["sid"])
        shop.wait_until(lines)
        gate.open()
        assert view.failure.type == "JobTimeout"
        # when it has come that far
        return "(not known: RuntimeError)" in lines()[0]

    app = make_app({"start": start})
    shop.at_last(was_there)


def test_a_thread_that_there_is_not_is_nowhere():
    assert _stack_of(-1) == "(gone)"
