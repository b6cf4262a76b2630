"""Works for the counting application: worker.py ARGUMENTS-OF-CELERY."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from celery.__main__ import main
from counting import make_app

from pyramid_zodb_async import IScheduler

#: The time between two notes of what a process has, in seconds.
PAUSE = 0.05


def make_noting_app(global_config, **settings):
    """Make the application for a process of a worker, which tells of itself.

    What it has not ended is in a file, for nobody can ask it.
    """
    app = make_app(settings)
    scheduler = app.registry.getUtility(IScheduler)
    threading.Thread(target=note, args=(scheduler,), daemon=True).start()
    return app


def note(scheduler):
    folder = Path(os.environ["CHAOS_FOLDER"])
    path, draft = (folder / f"{os.getpid()}.{end}" for end in ("has", "draft"))
    while True:
        has = {
            "held": len(scheduler.process.assigned_jobs),
            "turns": len(scheduler.process.dispatcher.engine._turns),
            "unsent": scheduler.process.dispatcher.unsent(),
        }
        draft.write_text(json.dumps(has))
        draft.replace(path)
        time.sleep(PAUSE)


def end_with_parent():
    """End with all children when the test's process has ended."""
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.exit(main())
