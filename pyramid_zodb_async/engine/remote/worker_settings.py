"""The settings of Celery that only workers have."""

from typing import Any

__all__ = ["WORKER_SETTINGS"]

#: How long a child of a worker may take to load the application, in seconds.
#: Celery ends a child that is not up after this time; its default is 4.
LOAD_TIME = 120.0

#: By their names in Celery.
WORKER_SETTINGS: dict[str, Any] = {
    # a worker that is started before its broker waits for it
    "broker_connection_retry_on_startup": True,
    # a message is acknowledged when its job is over, and given back when
    # the child that got it is killed, perhaps before it has claimed the
    # job. That a job runs once does not depend on this: a message that
    # comes again too early is refused by the claim, and one that is lost
    # is sent again by the maintenance threads
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    # a worker takes no messages ahead of its free processes or threads,
    # where they would wait though another worker is idle, and where the
    # priorities of later messages would not count
    "worker_prefetch_multiplier": 1,
    "worker_proc_alive_timeout": LOAD_TIME,
    # with late acknowledgement, Celery would end jobs when the broker is
    # lost, but they need no broker: the database records their outcome
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # after a loss, Celery would ask for fewer messages, and restore that
    # on the thread of the first job that ends. That thread would wait for
    # RabbitMQ's answer while the main one listens on the same connection
    # and may take it: the worker would run nothing more, and not end
    "worker_enable_prefetch_count_reduction": False,
}
