"""The table of the settings: their names, types, defaults and meanings."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.path import DottedNameResolver
from pyramid.settings import aslist, falsey, truthy
from zope.interface import Interface, implementer

from .jobs.options import QUEUE_NAME

__all__ = [
    "DEFAULT_STORE",
    "PREFIX",
    "ISettings",
    "Settings",
    "parse_settings",
]

PREFIX = "zodb_async."

#: The key of the store in the root of the database, unless it is set.
DEFAULT_STORE = "pyramid_zodb_async"


class ISettings(Interface):
    """The settings of an application, as a utility of its registry."""


def _setting(
    convert: Callable[[Any], Any], allowed: str, default: Any, meaning: str
) -> Any:
    return field(
        default=default,
        metadata={"convert": convert, "allowed": allowed, "meaning": meaning},
    )


def _one_of(*names: str) -> tuple[Callable[[Any], str], str]:
    def convert(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return convert, f"one of {', '.join(map(repr, names))}"


def _count(least: int) -> tuple[Callable[[Any], int], str]:
    def convert(value: Any) -> int:
        number = int(value)
        if number < least:
            raise ValueError
        return number

    return convert, f"a whole number of {least} or more"


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def _some_seconds(value: Any) -> float:
    seconds = _seconds(value)
    if not seconds:
        raise ValueError
    return seconds


def _lease(value: Any) -> float:
    seconds = _seconds(value)
    if seconds < 0.1:  # noqa: PLR2004 - less would only cause load
        raise ValueError
    return seconds


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in truthy | falsey:
        raise ValueError
    return text in truthy


def _database(value: Any) -> str:
    return str(value).strip()


def _name(value: Any) -> str:
    name = str(value).strip()
    if not name:
        raise ValueError
    return name


def _store(value: Any) -> str:
    name = str(value).strip()
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError
    return name


def _prefix(value: Any) -> str:
    prefix = str(value).strip().strip("/")
    if not prefix or set(prefix) & set("{}*?# "):
        raise ValueError
    return prefix


def _queues(value: Any) -> tuple[str, ...]:
    names = aslist(value) if isinstance(value, str) else tuple(value)
    for name in names:
        if not QUEUE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is none")
    return tuple(names)


def _exceptions(value: Any) -> tuple[type[BaseException], ...]:
    resolve = DottedNameResolver().maybe_resolve
    names = aslist(value) if isinstance(value, str) else value
    found = tuple(resolve(name) for name in names)
    for name, exception in zip(names, found, strict=True):
        if not _is_exception(exception):
            raise ValueError(f"{name} is none")
    return found


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


@implementer(ISettings)
@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of an application, converted.

    Each field has in its metadata how to convert the text of a settings file,
    and the texts of which the documentation and the errors are made.
    """

    scheduler: str | None = _setting(
        *_one_of("zodb", "memory"),
        None,
        "What keeps the jobs: ``zodb`` keeps them in the application's"
        " database, where they survive the process; ``memory`` in the"
        " process, which forgets them when it ends. Without the setting it is"
        " ``zodb`` where there is a ``zodbconn.uri``, else ``memory``.",
    )
    database: str = _setting(
        _database,
        "the name of a database of pyramid_zodbconn, or nothing",
        "",
        "The database that the jobs are in, as ``zodbconn.uri.<name>`` names"
        " it, or the primary one. It should be the one with the data that"
        " jobs change: what is promised holds for effects in it.",
    )
    store: str = _setting(
        _store,
        "a name of letters, digits, '.', '_' and '-'",
        DEFAULT_STORE,
        "The key of the jobs in the root of the database. Applications that"
        " share a database, and do not have the same code, need one each:"
        " they run the jobs of their own only; see :doc:`storages`.",
    )
    engine: str = _setting(
        _name,
        "the name of an engine",
        "threads",
        "What runs the jobs: ``threads`` of this process, or ``inline`` with"
        " the commit, which waits for the job; for tests and scripts. With"
        " ``manual``, a test runs them by hand; see :doc:`testing`. With"
        " ``celery``, workers of Celery do; see :doc:`celery`. Others come by"
        " ``config.add_job_engine()``.",
    )
    celery_broker: str | None = _setting(
        _name,
        "the URL of a broker, such as 'redis://localhost:6379/0'",
        None,
        "The broker that brings jobs to the workers of Celery; the engine"
        " ``celery`` needs it.",
    )
    queues: tuple[str, ...] = _setting(
        _queues,
        "names of queues",
        (),
        "The queues whose jobs run on threads of the processes that serve,"
        " though the engine is ``celery``. Those of other queues are left to"
        " Celery's workers.",
    )
    workers: int = _setting(
        *_count(1), 2, "How many jobs the process runs at a time."
    )
    server_threads: int = _setting(
        *_count(1),
        4,
        "How many threads the server answers requests with; ``threads`` of"
        " waitress, for instance. A pool of connections that is too small for"
        " these and the workers is warned of.",
    )
    autostart: bool = _setting(
        _flag,
        "true or false",
        False,  # noqa: FBT003 - the default
        "Whether jobs that earlier processes left run as soon as the"
        " application is made, and not only with the first request. Not for"
        " servers that fork after that. In scripts it has no effect.",
    )
    max_pending: int = _setting(
        *_count(1),
        10_000,
        "How many jobs may wait in the process before ``schedule()`` refuses"
        " more, with a *503 Service Unavailable*.",
    )
    max_bulk: int = _setting(
        *_count(1),
        100_000,
        "How many calls ``request.schedule.many()`` may be given at once."
        " Where jobs are in the database, its jobs do not count for"
        " ``max_pending``.",
    )
    max_waiting: int = _setting(
        *_count(0),
        2,
        "How many requests of a process may wait for a job to change, as"
        " clients ask it to by ``Prefer: wait``. Each takes a thread of the"
        " server. Others are answered at once.",
    )
    max_wait: float = _setting(
        _seconds,
        "a number of seconds, 0 or more",
        10.0,
        "How long such a request may wait, in seconds, whatever it asks for.",
    )
    result_timeout: float = _setting(
        _seconds,
        "a number of seconds, 0 or more",
        3600.0,
        "How long an outcome is kept, in seconds from the job's end.",
    )
    attempts: int = _setting(
        *_count(1),
        4,
        "How many attempts at a job may fail for a reason of its option"
        " ``retry_on``, or end their process, before it fails.",
    )
    time_limit: float | None = _setting(
        _some_seconds,
        "a number of seconds, more than 0",
        None,
        "How long a run of a job may take, in seconds, if the job's options"
        " do not tell. Without the setting it may take any time.",
    )
    lease: float = _setting(
        _lease,
        "a number of seconds, 0.1 or more",
        30.0,
        "How long this process may give no sign of life before others that"
        " share the database take its jobs over, in seconds. A third of it is"
        " the time between two signs, and between two looks for the jobs of"
        " others, each of which is judged by its own lease.",
    )
    max_conflicts: int = _setting(
        *_count(0),
        50,
        "How often a job is repeated after conflicts and other transient"
        " errors before it fails.",
    )
    grace: float = _setting(
        _seconds,
        "a number of seconds, 0 or more",
        10.0,
        "How long running jobs may take to end when the server stops, in"
        " seconds.",
    )
    stop_on_sigterm: bool = _setting(
        _flag,
        "true or false",
        False,  # noqa: FBT003 - the default
        "Whether the signal SIGTERM stops the server in order, with"
        " ``grace`` for its jobs. ``pserve`` ends at once without it, and"
        " what its jobs were at is done again by whoever runs next. A server"
        " that handles the signal itself goes on to do so, and is named in"
        " the log.",
    )
    permission: str | None = _setting(
        _name,
        "the name of a permission",
        None,
        "Who has this permission on the application's root may see, cancel,"
        " retry and forget the jobs of others.",
    )
    public_errors: tuple[type[BaseException], ...] = _setting(
        _exceptions,
        "dotted names of exceptions",
        (),
        "The exceptions whose text may be shown to who waits for the job,"
        " besides ``JobError``.",
    )
    route_prefix: str = _setting(
        _prefix,
        "a path without patterns, such as 'jobs'",
        "jobs",
        "The path below which jobs answer. Read when the package is included.",
    )


def parse_settings(settings: Mapping[str, Any]) -> Settings:
    """Return the settings that start with ``zodb_async.``, converted.

    Args:
        settings: all settings of the application, by their full names. Values
            are texts of a settings file, or already of the right type.

    Raises:
        ConfigurationError: a value is wrong, a name that starts with
            ``zodb_async.`` is unknown, or the database that the jobs should
            be in is not configured.
    """
    known = {PREFIX + setting.name: setting for setting in fields(Settings)}
    given = {}
    for name, value in settings.items():
        if name in known:
            given[known[name].name] = _convert(name, value, known[name])
        elif name.startswith(PREFIX):
            raise ConfigurationError(_unknown(name, list(known)))
    return _with_scheduler(Settings(**given), settings)


def _with_scheduler(parsed: Settings, settings: Mapping[str, Any]) -> Settings:
    """Set the default scheduler, and check that it has its database."""
    has_database = "zodbconn.uri" in settings
    if parsed.scheduler is None:
        kind = "zodb" if has_database else "memory"
        parsed = dataclasses.replace(parsed, scheduler=kind)
    needed = ["zodbconn.uri"]
    if parsed.database:
        needed.append(f"zodbconn.uri.{parsed.database}")
    for name in needed:
        if parsed.scheduler == "zodb" and name not in settings:
            raise ConfigurationError(
                f"With {PREFIX}scheduler = zodb and {PREFIX}database ="
                f" {parsed.database}, there must be the setting {name!r},"
                " which names the database that the jobs are in"
            )
    return parsed


def _convert(name: str, value: Any, setting: Any) -> Any:
    if value is None and setting.default is None:
        return None
    try:
        return setting.metadata["convert"](value)
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The setting {name!r} takes {setting.metadata['allowed']};"
            f" it is {value!r}" + (f" ({error})" if str(error) else "")
        ) from None


def _unknown(name: str, known: list[str]) -> str:
    # without the prefix, which would make all names similar
    names = [setting.removeprefix(PREFIX) for setting in known]
    close = difflib.get_close_matches(name.removeprefix(PREFIX), names, n=1)
    hint = "there are " + ", ".join(known)
    if close:
        hint = f"did you mean {PREFIX + close[0]!r}?"
    return f"There is no setting {name!r}: {hint}"
