"""An application whose jobs Celery is to run, and workers, in this process."""

import contextlib

import storages
from shop import scheduler_of, sid_of
from workers import Site

from pyramid_zodb_async.engine.remote.worker import Worker

#: What nothing answers at.
NOBODY = "redis://127.0.0.1:1/0"


@contextlib.contextmanager
def on_sqlite(folder):
    """Give an application on SQLite, whose messages go nowhere."""
    with contextlib.ExitStack() as stack:
        uri = stack.enter_context(storages.sqlite(folder))
        made = Site(folder, uri, NOBODY, lease=60)
        stack.callback(made.stop)
        yield made


@contextlib.contextmanager
def workers_of(site):
    """Make workers, as far as the database can tell, in this process."""
    with contextlib.ExitStack() as stack:

        def make():
            worker = Worker(str(site.ini))
            stack.callback(worker.stop)
            return worker

        yield make


def record_of(site, path):
    """Give what the database has of a job."""
    return scheduler_of(site.app).process.location.read(
        lambda store: dict(vars(store.find(sid_of(path)))), {}
    )


def change(site, path, **values):
    """Change the record of a job, as another process may."""

    def do(store):
        fence = store.locate(sid_of(path)).fence
        store.change(sid_of(path), fence, **values)

    scheduler_of(site.app).process.location.write(do, note="another process")


def header_of(site, *paths):
    """Give what the first message for some jobs says besides a sid."""

    def pair(store, sid):
        record = store.locate(sid).record
        record._p_activate()
        return [sid, record._p_serial.hex()]

    sids = [sid_of(path) for path in paths]
    pairs = scheduler_of(site.app).process.location.read(
        lambda store: [pair(store, sid) for sid in sids], []
    )
    return [0, "default", pairs]
