"""Has workers of Celery run jobs; the only module that imports Celery."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

from celery import Celery, signals
from celery.concurrency import get_implementation
from celery.exceptions import Reject
from pyramid.exceptions import ConfigurationError
from pyramid.paster import get_appsettings

from ..jobs.options import DEFAULT_QUEUE
from ..settings import Settings, parse_settings
from .queue import Entry
from .remote.engine import RemoteEngine
from .remote.worker import Worker

__all__ = ["make_engine", "make_worker_app"]

#: The name of the task that a message is for.
TASK = "pyramid_zodb_async.run"

#: The variable that tells a worker its file of settings.
INI = "PYRAMID_INI"

#: Brokers know so many priorities; the middle one is that of most jobs.
PRIORITIES = 10
MIDDLE = PRIORITIES // 2

#: What has each job in a process or thread of its own, as the database needs.
POOLS = ("prefork", "threads", "solo")

#: How long a broker may take to answer, in seconds.
BROKER_PATIENCE = 1.0

#: How long a worker's process may take to load the application, in seconds.
LOAD_TIME = 120.0


def _celery(broker: str | None, **settings: Any) -> Celery:
    """Make a Celery application that knows what both sides must know."""
    celery = Celery("pyramid_zodb_async", broker=broker, set_as_current=False)
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=DEFAULT_QUEUE,
        task_queue_max_priority=PRIORITIES - 1,
        **settings,
    )
    return celery


def _is_redis(url: str) -> bool:
    return url.startswith(("redis:", "rediss:", "sentinel:", "redis+"))


def _priority_steps(url: str) -> dict[str, Any]:
    # Redis has a list for each of these, and knows no others
    steps = list(range(PRIORITIES))
    return {"priority_steps": steps} if _is_redis(url) else {}


class Sender:
    """Puts messages into a broker, and does not wait long for it.

    It is for one thread at a time.

    Args:
        url: the broker's.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        if _is_redis(url):
            options = {
                **_priority_steps(url),
                "socket_connect_timeout": BROKER_PATIENCE,
                "socket_timeout": BROKER_PATIENCE,
                "retry_on_timeout": False,
            }
        else:
            options = {
                # a message that is lost on its way is noticed
                "confirm_publish": True,
                "read_timeout": BROKER_PATIENCE,
                "write_timeout": BROKER_PATIENCE,
            }
        self._celery = _celery(
            url,
            broker_connection_timeout=BROKER_PATIENCE,
            broker_heartbeat=0,  # nobody would send any
            broker_transport_options={**options, "max_retries": 0},
            task_publish_retry=False,
        )
        # made for nothing but its imports, which are too late at the end of
        # the interpreter
        self._celery.connection_for_write()
        self._producer: Any = None

    def __call__(self, message: Entry) -> None:
        """Send word of a job; raise if the broker may not have it."""
        with self._connected() as producer:
            self._celery.send_task(
                TASK,
                args=(message.sid,),
                task_id=message.sid,
                queue=message.queue,
                priority=self._level(message.priority),
                ignore_result=True,
                retry=False,
                producer=producer,
                timeout=BROKER_PATIENCE,
                confirm_timeout=BROKER_PATIENCE,
            )

    def count(self, queue: str) -> int:
        """Count the messages that wait in a queue; raise if that fails."""
        with self._connected() as producer:
            channel = producer.channel
            # if there is no such queue
            with contextlib.suppress(*channel.connection.channel_errors):
                found = channel.queue_declare(queue, passive=True)
                return int(found.message_count)
        return 0

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """Give what sends messages; it is made anew after an error."""
        try:
            if self._producer is None:
                connection = self._celery.connection_for_write()
                self._producer = self._celery.amqp.Producer(
                    connection, auto_declare=False
                )
            yield self._producer
        except Exception:
            self.close()
            raise

    def _level(self, priority: int) -> int:
        """Give a priority as the broker has it."""
        level = max(0, min(PRIORITIES - 1, MIDDLE + priority))
        # in Redis, the least goes first
        return PRIORITIES - 1 - level if _is_redis(self._url) else level

    def close(self) -> None:
        """Let go of the connection; there will be another one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.connection.collect()


def make_engine(
    run: Callable[[str], float | None], settings: Settings
) -> RemoteEngine:
    """Make the engine ``celery``, for a process that serves or a worker.

    Raises:
        ConfigurationError: there is no broker, or no database.
    """
    if not settings.celery_broker:
        raise ConfigurationError(
            "With zodb_async.engine = celery, there must be the setting"
            " 'zodb_async.celery_broker', the URL of a broker, such as"
            " redis://localhost:6379/0"
        )
    if settings.scheduler == "memory":
        raise ConfigurationError(
            "With zodb_async.engine = celery, other processes run the"
            " jobs, and find them in the database: zodb_async.scheduler"
            " must be 'zodb', not 'memory'"
        )
    try:
        sender = Sender(settings.celery_broker)
    except (ImportError, KeyError, ValueError) as error:
        raise ConfigurationError(
            "The setting 'zodb_async.celery_broker' takes the URL of a broker"
            f" that Celery knows, and cannot use this one: {error}"
        ) from error
    return RemoteEngine(run, settings, sender, sender.close, sender.count)


def make_worker_app(ini: str) -> Celery:
    """Make the Celery application of a worker.

    Each process of it loads the Pyramid application by itself, after the
    fork: it would share the connections to the database otherwise.

    Args:
        ini: the file with the settings of the Pyramid application; its
            section follows after a ``#``, if it is not *main*.

    Raises:
        ConfigurationError: the settings do not name Celery as the engine.
    """
    settings = parse_settings(get_appsettings(ini))
    if settings.engine != "celery" or not settings.celery_broker:
        raise ConfigurationError(
            f"A worker of Celery needs zodb_async.engine = celery and a"
            f" zodb_async.celery_broker, and {ini} does not have both"
        )
    broker = settings.celery_broker
    celery = _celery(
        broker,
        broker_connection_retry_on_startup=True,
        broker_transport_options=_priority_steps(broker),
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=LOAD_TIME,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # after a loss the thread of a job would speak to RabbitMQ while the
        # main one listens: one of them may wait for ever (Celery 5.7)
        worker_enable_prefetch_count_reduction=False,
    )
    worker = Worker(ini)

    @celery.task(name=TASK, shared=False)  # type: ignore[untyped-decorator]
    def run(sid: str) -> None:
        if not worker.run(sid):
            raise Reject(sid, requeue=True)

    def begin(**_: Any) -> None:
        worker.load()

    def begin_with_threads(sender: Any, **_: Any) -> None:
        # the parent of processes must not have the database open
        if isinstance(sender.pool, get_implementation("threads")):
            worker.load(sender.pool.limit)

    def end(**_: Any) -> None:
        worker.stop()

    signals.worker_init.connect(_check_pool, weak=False)
    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_ready.connect(begin_with_threads, weak=False)
    signals.worker_process_shutdown.connect(end, weak=False)
    signals.worker_shutdown.connect(end, weak=False)
    return celery


def _check_pool(sender: Any, **_: Any) -> None:
    """Refuse to start a worker whose pool cannot run jobs."""
    pool = get_implementation(sender.pool_cls)
    if not issubclass(pool, tuple(map(get_implementation, POOLS))):
        # of other exceptions, Celery tells its log, and goes on
        raise SystemExit(
            "A worker for pyramid_zodb_async cannot have the pool"
            f" {pool.__module__}: what waits for the database would hold up"
            f" all its jobs. Use one of -P {', '.join(POOLS)}."
        )


@functools.cache
def _app() -> Celery:
    ini = os.environ.get(INI)
    if not ini:
        raise ConfigurationError(
            f"The environment variable {INI} must name the file with the"
            " application's settings: PYRAMID_INI=production.ini celery -A"
            " pyramid_zodb_async.engine.celery:app worker"
        )
    return make_worker_app(ini)


def __getattr__(name: str) -> Any:
    """Make ``app``, the Celery application of a worker, when it is asked."""
    if name == "app":
        return _app()
    raise AttributeError(name)
