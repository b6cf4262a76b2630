"""The configuration of an application says what its jobs are about."""

import pytest
import shop
from pyramid.config import Configurator
from pyramid.exceptions import (
    ConfigurationConflictError,
    ConfigurationError,
)
from pyramid.threadlocal import get_current_request

from pyramid_zodb_async import IEngine, JobState, current_job
from pyramid_zodb_async.engine.threads import ThreadEngine
from pyramid_zodb_async.testing import wait_for


def run_one(app, function="give", argument="result"):
    """Run a job, and tell what is known of it then."""
    path = shop.begin(app, function, argument)
    return wait_for(app, path.rpartition("/")[2])


@pytest.fixture
def configured(make_app):
    """Make an application that something configures."""
    return lambda configure, **settings: make_app(
        {"/start": shop.start}, configure=configure, **settings
    )


def introspected(app, category):
    """Give what Pyramid's introspection knows of a category."""
    introspector = app.app.registry.introspector
    return [
        entry["introspectable"]
        for entry in introspector.get_category(category)
    ]


# -- Wrappers -----------------------------------------------------------------

#: What the wrappers of the tests saw.
seen = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


def outer(request, proceed):
    seen.append(("outer", request is get_current_request()))
    result = proceed()
    seen.append(("outer", result))
    return result


def inner(request, proceed):
    seen.append(("inner", current_job().attempt))
    shop.add("from the wrapper")
    return proceed() * 2


def refuse(request, proceed):
    raise ZeroDivisionError("no")


@pytest.mark.kept_in("memory", "zodb")
def test_wrappers_are_around_each_run_in_their_order(configured):
    def configure(config):
        config.add_job_wrapper(outer)
        config.add_job_wrapper("test_directives.inner", name="twice")

    app = configured(configure)
    ended = run_one(app)

    assert ended.result == "resultresult"
    assert seen == [
        ("outer", True),
        ("inner", 1),
        ("outer", "resultresult"),
    ]
    # they are part of the job's transaction
    assert shop.effects(app) == ["from the wrapper"]


def test_what_a_wrapper_raises_fails_the_job(configured):
    app = configured(lambda config: config.add_job_wrapper(refuse))
    ended = run_one(app)

    assert ended.state is JobState.FAILED
    assert ended.failure.type == "ZeroDivisionError"


def test_a_wrapper_can_be_introspected(configured):
    app = configured(lambda config: config.add_job_wrapper(inner))
    (found,) = introspected(app, "job wrappers")

    assert found["name"] == "test_directives:inner"
    assert found["wrapper"] is inner


def test_two_wrappers_of_a_name_conflict():
    config = Configurator()
    config.include("pyramid_zodb_async")
    config.add_job_wrapper(inner, name="same")
    config.add_job_wrapper(outer, name="same")
    with pytest.raises(ConfigurationConflictError):
        config.commit()


# -- Engines ------------------------------------------------------------------


class OwnEngine(ThreadEngine):
    """An engine of the application's."""


def make_own_engine(run, settings):
    return OwnEngine(run, workers=settings.workers)


def test_the_setting_may_name_an_engine_of_the_application(configured):
    app = configured(
        lambda config: config.add_job_engine("own", make_own_engine),
        zodb_async__engine="own",
        zodb_async__workers=3,
    )
    engine = app.app.registry.getUtility(IEngine)

    assert isinstance(engine, OwnEngine)
    assert engine.workers == 3
    assert run_one(app).result == "result"
    assert {"own", "threads", "inline"} <= {
        found["name"] for found in introspected(app, "job engines")
    }


def test_an_application_may_have_its_own_engine_in_place_of_ours(configured):
    app = configured(
        lambda config: config.add_job_engine(
            "threads", "test_directives.make_own_engine"
        )
    )

    assert isinstance(app.app.registry.getUtility(IEngine), OwnEngine)


def test_an_engine_that_nobody_added_is_told_with_those_there_are():
    config = Configurator(settings={"zodb_async.engine": "steam"})
    config.include("pyramid_zodb_async")
    with pytest.raises(ConfigurationError) as caught:
        config.commit()

    message = str(caught.value)
    assert "'zodb_async.engine' is 'steam'" in message
    assert "inline" in message
    assert "threads" in message


def test_an_engine_that_comes_too_late_is_refused():
    config = Configurator(settings={"zodb_async.scheduler": "memory"})
    config.include("pyramid_zodb_async")
    config.commit()
    config.add_job_engine("own", make_own_engine)
    with pytest.raises(
        ConfigurationError, match=r"add_job_engine\(.*comes too late"
    ):
        config.commit()


@pytest.mark.parametrize(
    ("directive", "arguments"),
    [
        ("add_job_engine", ["own", 3]),
        ("add_job_wrapper", [3]),
    ],
)
def test_what_a_directive_cannot_use_is_named(directive, arguments):
    config = Configurator()
    config.include("pyramid_zodb_async")
    with pytest.raises(ConfigurationError, match=f"{directive}.*not 3"):
        getattr(config, directive)(*arguments)
