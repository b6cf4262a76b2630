"""The table of settings."""

from dataclasses import fields

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from pyramid_zodb_async.settings import Settings, parse_settings


def test_without_settings_there_are_defaults():
    defaults = Settings(scheduler="memory")

    assert parse_settings({"other.workers": "many"}) == defaults


def test_texts_are_converted():
    assert parse_settings(
        {
            "zodb_async.scheduler": "memory",
            "zodb_async.engine": "inline",
            "zodb_async.workers": "3",
            "zodb_async.max_pending": "5",
            "zodb_async.max_bulk": "50",
            "zodb_async.result_timeout": "60.5",
            "zodb_async.max_conflicts": "0",
            "zodb_async.grace": "0",
            "zodb_async.permission": " see jobs ",
            "zodb_async.public_errors": "builtins.ValueError\n os.error",
            "zodb_async.route_prefix": "/api/jobs/",
            "zodb_async.store": " shop-admin.jobs ",
        }
    ) == Settings(
        scheduler="memory",
        engine="inline",
        workers=3,
        max_pending=5,
        max_bulk=50,
        result_timeout=60.5,
        max_conflicts=0,
        grace=0.0,
        permission="see jobs",
        public_errors=(ValueError, OSError),
        route_prefix="api/jobs",
        store="shop-admin.jobs",
    )


def test_values_that_are_converted_already_are_taken():
    settings = Settings(
        scheduler="memory",
        workers=3,
        permission=None,
        public_errors=(ValueError, KeyError),
    )
    given = {
        f"zodb_async.{field.name}": getattr(settings, field.name)
        for field in fields(settings)
    }

    assert parse_settings(given) == settings


def test_the_defaults_are_values_that_are_allowed():
    for field in fields(Settings):
        if field.default is not None:
            convert = field.metadata["convert"]
            assert convert(field.default) == field.default


def test_every_setting_tells_its_meaning_and_what_is_allowed():
    for field in fields(Settings):
        assert field.metadata["meaning"].endswith(".")
        assert field.metadata["allowed"]


def test_an_exception_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match=r"builtins\.int is none"):
        parse_settings({"zodb_async.public_errors": "builtins.int"})


def test_jobs_are_kept_in_the_database_where_there_is_one():
    settings = parse_settings({"zodbconn.uri": "memory://"})

    assert settings.scheduler == "zodb"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"zodb_async.scheduler": "zodb"}, "zodbconn.uri"),
        (
            {"zodbconn.uri": "memory://", "zodb_async.database": "jobs"},
            "zodbconn.uri.jobs",
        ),
    ],
)
def test_a_database_that_is_not_configured_is_named(given, missing):
    with pytest.raises(ConfigurationError, match=f"the setting '{missing}'"):
        parse_settings(given)


# -- Settings of an application -----------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("scheduler", "redis", "one of 'zodb', 'memory'"),
        ("autostart", "perhaps", "true or false"),
        ("attempts", "0", "a whole number of 1 or more"),
        ("lease", "0", "a number of seconds, 0.1 or more"),
        ("engine", " ", "the name of an engine"),
        ("time_limit", "0", "a number of seconds, more than 0"),
        ("stop_on_sigterm", "maybe", "true or false"),
        ("workers", "0", "a whole number of 1 or more"),
        ("workers", "two", "a whole number of 1 or more"),
        ("max_pending", None, "a whole number of 1 or more"),
        ("max_bulk", "0", "a whole number of 1 or more"),
        ("max_conflicts", "-1", "a whole number of 0 or more"),
        ("result_timeout", "soon", "a number of seconds, 0 or more"),
        ("result_timeout", "nan", "a number of seconds, 0 or more"),
        ("grace", "-1", "a number of seconds, 0 or more"),
        ("permission", " ", "the name of a permission"),
        ("public_errors", "no.such.Error", "dotted names of exceptions"),
        ("public_errors", "os.path", "dotted names of exceptions"),
        ("store", " ", "a name of letters, digits, '.', '_' and '-'"),
        ("store", "ours and theirs", "a name of letters, digits"),
        ("route_prefix", "/", "a path without patterns"),
        ("route_prefix", "{x}", "a path without patterns"),
    ],
)
def test_a_wrong_setting_is_quoted_with_what_is_allowed(name, value, allowed):
    name = f"zodb_async.{name}"
    config = Configurator(settings={name: value})
    with pytest.raises(ConfigurationError) as caught:
        config.include("pyramid_zodb_async")

    assert f"The setting '{name}' takes {allowed}" in str(caught.value)
    assert repr(value) in str(caught.value)


def test_an_unknown_setting_is_refused_with_the_one_meant():
    config = Configurator(settings={"zodb_async.worker": "2"})
    with pytest.raises(ConfigurationError) as caught:
        config.include("pyramid_zodb_async")
    assert "did you mean 'zodb_async.workers'?" in str(caught.value)


def test_a_setting_like_no_other_is_refused_with_all_there_are():
    config = Configurator(settings={"zodb_async.xyzzy": "2"})
    with pytest.raises(ConfigurationError, match=r"zodb_async\.max_pending"):
        config.include("pyramid_zodb_async")
