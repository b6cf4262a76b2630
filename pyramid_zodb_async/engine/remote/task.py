"""The name of the task that messages are for, which tells whose they are."""

from ...concurrency.loggers import get_logger
from ...settings import DEFAULT_STORE

__all__ = ["TASK", "task_for", "tell_of_unknown_task"]

log = get_logger(__name__)

#: The name of the task, the same on both sides.
TASK = "pyramid_zodb_async.run"


def task_for(store: str) -> str:
    """Return the name of the task for the jobs of a store.

    So a worker that gets the message of another application on the same
    database knows that it is not meant, and does not look for the job in vain.

    Args:
        store: the name of the store.
    """
    return TASK if store == DEFAULT_STORE else f"{TASK}:{store}"


def tell_of_unknown_task(name: str, store: str) -> None:
    """Log that a worker has dropped a message of another application.

    No job is lost: word of it is sent again, after a lease.

    Args:
        name: the name of the task.
        store: the name of the store of the worker.
    """
    if name.startswith(TASK):
        log.warning(
            "A message was dropped that is another application's: it is for"
            " the task %s, and this worker has zodb_async.store = %s."
            " Applications that share a broker need queues of other names, or"
            " a database of Redis or a virtual host of RabbitMQ each.",
            name,
            store,
            extra={"action": "message_of_another_application", "task": name},
        )
