"""The directives ``config.add_job_engine()`` and ``add_job_wrapper()``."""

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
    """Add an engine, which the setting ``zodb_async.engine`` can choose.

    It is called as ``config.add_job_engine(name, factory)``, before the
    commit of the configuration that includes the package.

    Args:
        config: the configurator.
        name: the value of the setting that chooses the engine.
        factory: a callable, or its dotted name, which returns an
            :class:`~pyramid_zodb_async.IEngine`. It is called with a function
            and with the settings, as an object with an attribute for each.
            The function runs a job: it takes the sid, and returns the seconds
            after which to run the job again, or ``None``.

    Raises:
        ConfigurationError: *factory* cannot be called, or the engine of the
            application was made already.
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
    """Refuse a *call* that comes after scheduler and engine were made."""
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
    """Add a wrapper, which is called around the function of every job.

    It is called as ``config.add_job_wrapper(wrapper)``. The wrapper runs in
    the job's transaction, and the job's request is the current one. An
    exception that it raises counts as an exception of the job; what it
    returns is the job's result. The wrapper that is added first is outermost.

    Args:
        config: the configurator.
        wrapper: a callable, or its dotted name. It is called with the job's
            request and a function, which it calls without arguments.
        name: the name of the wrapper; by default that of its function. Two
            wrappers with the same name are a conflict of Pyramid's
            configuration.

    Raises:
        ConfigurationError: *wrapper* cannot be called.
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
