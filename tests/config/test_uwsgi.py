"""What is said of uWSGI; `make servers` starts it, here it is played."""

import sys
import types

import pytest
import shop

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
