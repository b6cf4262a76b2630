"""What an application's configuration can say of its jobs."""

from typing import Any

from pyramid.exceptions import ConfigurationError

from ..interfaces import (
    IEngineFactory,
    IJobWrappers,
    IScheduler,
)
from ..transfer.callables import function_name

__all__ = [
    "add_job_engine",
    "add_job_wrapper",
]


def add_job_engine(config: Any, name: str, factory: Any) -> None:
    """Have an engine that ``zodb_async.engine`` may name.

    Args:
        config: the configurator; not to be given.
        name: the value of the setting that chooses it.
        factory: what is called with the function that runs the job of a sid,
            and the settings, whose attributes have their names, and gives an
            :class:`~pyramid_zodb_async.IEngine`; or its dotted name. The
            function gives the seconds after which it is to be called with
            that sid again, or ``None``.

    Raises:
        ConfigurationError: it cannot be called.
    """
    factory = config.maybe_dotted(factory)
    if not callable(factory):
        raise ConfigurationError(
            f"add_job_engine({name!r}, …) takes a factory that makes engines,"
            f" not {factory!r}"
        )

    def register() -> None:
        _require_in_time(config, f"add_job_engine({name!r}, …)")
        config.registry.registerUtility(factory, IEngineFactory, name)

    introspectable = config.introspectable(
        "job engines", name, name, "job engine"
    )
    introspectable["name"] = name
    introspectable["factory"] = factory
    config.action(
        (IEngineFactory, name),
        register,
        introspectables=(introspectable,),
    )


def _require_in_time(config: Any, call: str) -> None:
    """Refuse what comes when scheduler and engine are made."""
    if config.registry.queryUtility(IScheduler) is not None:
        raise ConfigurationError(
            f"{call} comes too late: the application's scheduler and engine"
            " are made by the commit() of the configuration that includes"
            " pyramid_zodb_async; call it before that, and not with a"
            " configurator that commits by itself"
        )


def add_job_wrapper(
    config: Any, wrapper: Any, name: str | None = None
) -> None:
    """Have code around every run of a job.

    It runs in the job's transaction, and with the job's request as the
    current one. What it raises is as if the job had raised it; what it
    returns is the job's result. The one that is added first is outermost.

    Args:
        config: the configurator; not to be given.
        wrapper: what is called with the job's request and a function to call
            without arguments; or its dotted name.
        name: tells it from others; by default what it is called. Adding two
            of a name is a conflict, as Pyramid has it.

    Raises:
        ConfigurationError: it cannot be called.
    """
    wrapper = config.maybe_dotted(wrapper)
    if not callable(wrapper):
        raise ConfigurationError(
            f"add_job_wrapper() takes something to call, not {wrapper!r}"
        )
    name = name or function_name(wrapper)

    def register() -> None:
        registry = config.registry
        wrappers = registry.queryUtility(IJobWrappers) or ()
        registry.registerUtility((*wrappers, wrapper), IJobWrappers)

    introspectable = config.introspectable(
        "job wrappers", name, name, "job wrapper"
    )
    introspectable["name"] = name
    introspectable["wrapper"] = wrapper
    config.action(
        (IJobWrappers, name), register, introspectables=(introspectable,)
    )
