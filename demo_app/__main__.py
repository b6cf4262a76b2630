"""Serve the demo: ``python -m demo_app [ADDRESS]``.

It does what ``pserve development.ini`` does, and says in a sentence what
stands in its way, and what it waits for in the end.
"""

import errno
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

from pyramid.paster import get_app, setup_logging
from pyramid.scripts.common import get_config_loader
from waitress.server import create_server
from zc.lockfile import LockError

from pyramid_zodb_async import IScheduler

__all__ = ["main"]

INI = Path(__file__).parent.parent / "development.ini"

#: How long waitress waits for requests, in seconds: those of open pages are
#: held until there is something to tell.
PATIENCE = 5


def main(listen: str | None = None, ini: str | Path = INI) -> None:
    """Serve the demo until Ctrl-C.

    Args:
        listen: the address to listen at, for instance ``localhost:6544``; by
            default that of the settings.
        ini: the file of settings.
    """
    setup_logging(str(ini))
    settings = get_config_loader(str(ini)).get_settings("server:main")
    listen = listen or settings["listen"]

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        return app(environ, start_response)

    # before the application, which runs jobs as soon as it is made
    server = open_server(answer, listen)
    try:
        app = get_app(str(ini))
    except LockError:
        sys.exit(
            "The database of the demo is in use. Probably the demo is being"
            " served already: look for it in another terminal, and stop it"
            " there by Ctrl-C."
        )
    press = Press()
    signal.signal(signal.SIGINT, press)
    say(f"The demo is at http://{listen}/ now. Ctrl-C stops it.")
    with suppress(KeyboardInterrupt):
        server.run()
    stop_jobs(app.registry.getUtility(IScheduler), press)


def open_server(app: Callable[..., Any], listen: str) -> Any:
    """Make the server, or end with what to do if the address is taken."""
    try:
        return create_server(app, listen=listen)
    except ValueError:
        sys.exit(
            f"{listen} is no address to listen at. One is localhost:6544: make"
            " demo LISTEN=localhost:6544"
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        host, _, port = listen.rpartition(":")
        sys.exit(
            f"Something is being served at {listen} already; perhaps this"
            " demo, in another terminal. Stop that, or take another address:"
            f" make demo LISTEN={host}:{int(port) + 1}"
        )


def say(sentence: str) -> None:
    """Tell whoever is at the terminal."""
    sys.stderr.write(f"{sentence}\n")


class Press:
    """Handles Ctrl-C: says what the end waits for, and that it need not."""

    def __init__(self) -> None:
        #: How often it was pressed.
        self.times = 0

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        self.times += 1
        if self.times == 1:
            say(
                f"Stopping. This waits up to {PATIENCE} s for open pages, and"
                " then for running jobs. Press Ctrl-C again to stop now."
            )
        if self.times <= 2:  # noqa: PLR2004 - the third one changes nothing
            raise KeyboardInterrupt


def stop_jobs(scheduler: Any, press: Press) -> None:
    """Wait for running jobs, until Ctrl-C is pressed for a second time."""
    # by another thread, since Python may interrupt this one anywhere, also
    # where it has a lock
    with suppress(KeyboardInterrupt):
        if press.times == 1:
            waiter = Thread(target=scheduler.stop, daemon=True)
            waiter.start()
            waiter.join()
    if press.times > 1:
        scheduler.stop(grace=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
