"""The engine ``celery`` and its workers; only this module imports Celery.

What is said of Celery and of its libraries here was read in the sources of
Celery 5.7, kombu 5.7 and billiard 4.3.
"""

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
from .remote.engine import RemoteEngine
from .remote.messages import HEADER, Message
from .remote.task import TASK, task_for, tell_of_unknown_task
from .remote.worker import Worker
from .remote.worker_settings import WORKER_SETTINGS

__all__ = ["make_engine", "make_worker_app"]

#: The environment variable that names a worker's file of settings.
INI = "PYRAMID_INI"

#: How many priorities a broker tells apart, and which of them is that of jobs
#: with the priority 0.
PRIORITIES = 10
MIDDLE = PRIORITIES // 2

#: The pools whose jobs have a process or a thread each. In other pools, a job
#: that waits for the database would hold up all other jobs of its process.
POOLS = ("prefork", "threads", "solo")

#: How long a broker may take to answer before a message counts as not sent, in
#: seconds.
BROKER_PATIENCE = 1.0


def _celery(broker: str | None, **settings: Any) -> Celery:
    """Return a Celery application with what senders and workers share.

    Args:
        broker: the URL of the broker.
        settings: further settings of Celery.
    """
    # not the current one of Celery: the application may use Celery by itself
    celery = Celery("pyramid_zodb_async", broker=broker, set_as_current=False)
    celery.conf.update(
        # a worker must not load pickles, which whatever has access to the
        # broker could send
        accept_content=["json"],
        task_serializer="json",
        # outcomes are in the database
        task_ignore_result=True,
        task_default_queue=DEFAULT_QUEUE,
        # x-max-priority of a queue of RabbitMQ, which refuses a queue that is
        # declared with another value than before: so it is the same for all
        task_queue_max_priority=PRIORITIES - 1,
        **settings,
    )
    return celery


def _is_redis(url: str) -> bool:
    """Return whether a broker is Redis, perhaps by way of Sentinel."""
    return url.startswith(("redis:", "rediss:", "sentinel:", "redis+"))


def _priority_steps(url: str) -> dict[str, Any]:
    """Return the option that lets Redis tell all priorities apart.

    A sender and a worker must both have it: kombu puts a message into the
    list of its step, and a worker reads the lists of the steps that it knows.
    By default, the steps are 0, 3, 6 and 9.
    """
    steps = list(range(PRIORITIES))
    return {"priority_steps": steps} if _is_redis(url) else {}


class Sender:
    """Sends messages to a broker, without long waits for it.

    It is for one thread at a time.

    Args:
        url: the URL of the broker.
        task: the name of the task that the messages are for.

    Raises:
        ImportError: the library for such a broker is not installed.
        KeyError: Celery does not know such a broker.
        ValueError: the URL cannot be understood.
    """

    def __init__(self, url: str, task: str = TASK) -> None:
        self._url = url
        self._task = task
        if _is_redis(url):
            options = {
                **_priority_steps(url),
                # for a broker that accepts connections and does not answer
                "socket_connect_timeout": BROKER_PATIENCE,
                "socket_timeout": BROKER_PATIENCE,
                # the publisher tries again, with pauses of its own
                "retry_on_timeout": False,
            }
        else:
            options = {
                # without it, a message counts as sent when it is in the
                # buffer of a socket, and may be lost there unnoticed
                "confirm_publish": True,
                "read_timeout": BROKER_PATIENCE,
                "write_timeout": BROKER_PATIENCE,
            }
        self._celery = _celery(
            url,
            broker_connection_timeout=BROKER_PATIENCE,
            # none, since the thread that sends messages has no loop that
            # would send heartbeats: the broker would close the connection
            broker_heartbeat=0,
            # kombu and Celery would both try again before they raise; the
            # publisher does so by itself, and lets a stop interrupt it
            broker_transport_options={**options, "max_retries": 0},
            task_publish_retry=False,
        )
        # makes kombu import the module of its transport, here where an error
        # is one of the settings; the first message may be sent at the end of
        # the interpreter, when nothing can be imported any more
        self._celery.connection_for_write()
        self._producer: Any = None

    def __call__(self, message: Message) -> None:
        """Send a message for a job, or for several.

        Args:
            message: the message.

        Raises:
            Exception: the broker may not have it; the class of the error
                depends on the broker. To send it again does no harm.
        """
        with self._connected() as producer:
            self._celery.send_task(
                self._task,
                args=(message.sid,),
                headers=message.headers(),
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
        """Return the number of messages that wait in a queue.

        Args:
            queue: the name of the queue; if there is none, this returns 0.

        Raises:
            Exception: the broker does not answer; the class of the error
                depends on the broker.
        """
        with self._connected() as producer:
            channel = producer.channel
            # if there is no such queue, RabbitMQ closes the channel; the
            # library amqp opens it again before it raises
            with contextlib.suppress(*channel.connection.channel_errors):
                # passive: the queue must not be made here, without the
                # arguments that a worker declares it with
                found = channel.queue_declare(queue, passive=True)
                return int(found.message_count)
        return 0

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """Lend the producer for a block, and drop it if the block raises.

        After an error, it is not known what state its connection is in.
        """
        try:
            if self._producer is None:
                connection = self._celery.connection_for_write()
                # nothing is to be declared here: send_task() does that
                self._producer = self._celery.amqp.Producer(
                    connection, auto_declare=False
                )
            yield self._producer
        except BaseException:
            self.close()
            raise

    def _level(self, priority: int) -> int:
        """Return the broker's number for a priority of a job."""
        level = max(0, min(PRIORITIES - 1, MIDDLE + priority))
        # in RabbitMQ the greatest goes first; with Redis the least, whose
        # list kombu reads first
        return PRIORITIES - 1 - level if _is_redis(self._url) else level

    def close(self) -> None:
        """Close the connection; the next message has a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            # not close() or release(), with which AMQP waits for an answer of
            # the broker, which may not answer any more
            producer.connection.collect()


def make_engine(
    run: Callable[[str], float | None], settings: Settings
) -> RemoteEngine:
    """Make the engine ``celery``, for a process that serves or a worker.

    Args:
        run: runs the job with a sid; returns the seconds after which to run
            it again, or ``None``. It does not raise.
        settings: the settings of the application.

    Raises:
        ConfigurationError: the settings name no broker, or one that cannot be
            used, or say that jobs are in memory.
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
        sender = Sender(settings.celery_broker, task_for(settings.store))
    except (ImportError, KeyError, ValueError) as error:
        raise ConfigurationError(
            "The setting 'zodb_async.celery_broker' takes the URL of a broker"
            f" that Celery knows, and cannot use this one: {error}"
        ) from error
    return RemoteEngine(run, settings, sender, sender.close, sender.count)


def make_worker_app(ini: str) -> Celery:
    """Make the Celery application of a worker.

    Each process of the worker loads the Pyramid application by itself, after
    the fork. Loaded before, processes would share one connection to the
    database.

    Args:
        ini: the path of the file with the settings of the Pyramid
            application; the section follows after a ``#`` if it is not
            *main*.

    Raises:
        ConfigurationError: the settings do not name Celery as the engine, or
            name no broker.
    """
    # not the application, which would open the database before the fork
    settings = parse_settings(get_appsettings(ini))
    if settings.engine != "celery" or not settings.celery_broker:
        raise ConfigurationError(
            f"A worker of Celery needs zodb_async.engine = celery and a"
            f" zodb_async.celery_broker, and {ini} does not have both"
        )
    broker = settings.celery_broker
    celery = _celery(
        broker,
        broker_transport_options=_priority_steps(broker),
        **WORKER_SETTINGS,
    )
    worker = Worker(ini)

    store = settings.store

    @celery.task(name=task_for(store), shared=False, bind=True)  # type: ignore[untyped-decorator]
    def run(task: Any, sid: str) -> None:
        request = task.request
        again = (request.delivery_info or {}).get("redelivered")
        header = request.get(HEADER)
        if not worker.run(sid, header, is_redelivered=bool(again)):
            raise Reject(sid, requeue=True)

    _connect_signals(worker, store)
    return celery


def _connect_signals(worker: Worker, store: str) -> None:
    """Have Celery tell a worker of its life, and of strange messages.

    Args:
        worker: the worker.
        store: the name of the store of its application.
    """

    def begin(**_: Any) -> None:
        worker.load()

    def begin_with_threads(sender: Any, **_: Any) -> None:
        # with prefork this is the parent, which must not open the database:
        # children that are forked later would share its connections
        if isinstance(sender.pool, get_implementation("threads")):
            worker.load(sender.pool.limit)

    def end(**_: Any) -> None:
        worker.stop()

    def tell(name: str, **_: Any) -> None:
        tell_of_unknown_task(name, store)

    # before the pool is made, in the worker's main process
    signals.worker_init.connect(_check_pool, weak=False)
    # after the fork of each child of prefork, and in solo, but not in threads;
    # weak=False, since nothing else refers to these functions after this one
    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_ready.connect(begin_with_threads, weak=False)
    # the former in children of prefork, the latter for threads and solo; both
    # after the last job has ended, if SIGTERM stops the worker
    signals.worker_process_shutdown.connect(end, weak=False)
    signals.worker_shutdown.connect(end, weak=False)
    signals.task_unknown.connect(tell, weak=False)


def _check_pool(sender: Any, **_: Any) -> None:
    """Refuse to start a worker whose pool cannot run jobs.

    Raises:
        SystemExit: the pool is none of those that can.
    """
    pool = get_implementation(sender.pool_cls)
    if not issubclass(pool, tuple(map(get_implementation, POOLS))):
        # Celery only logs what a receiver of a signal raises, if it is an
        # Exception, and goes on; SystemExit is none, and ends the worker
        raise SystemExit(
            "A worker for pyramid_zodb_async cannot have the pool"
            f" {pool.__module__}: what waits for the database would hold up"
            f" all its jobs. Use one of -P {', '.join(POOLS)}."
        )


@functools.cache
def _app() -> Celery:
    """Return the worker's application, which is made only once."""
    ini = os.environ.get(INI)
    if not ini:
        raise ConfigurationError(
            f"The environment variable {INI} must name the file with the"
            " application's settings: PYRAMID_INI=production.ini celery -A"
            " pyramid_zodb_async.engine.celery:app worker"
        )
    return make_worker_app(ini)


def __getattr__(name: str) -> Any:
    """Return ``app``, the Celery application of a worker.

    The command ``celery -A pyramid_zodb_async.engine.celery:app worker`` uses
    it. It is made at its first use, since processes that serve import this
    module too, without the environment variable that it needs.

    Args:
        name: the name of the attribute that this module does not have.

    Raises:
        AttributeError: it is not ``app``.
        ConfigurationError: the environment or the settings are not complete.
    """
    if name == "app":
        return _app()
    raise AttributeError(name)
