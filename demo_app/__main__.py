"""Serve the demo: ``python -m demo_app [ADDRESS]``.

It does what ``pserve development.ini`` does, and says in a sentence what
stands in its way, and what it waits for in the end.
"""

import errno
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any, NoReturn

from pyramid.paster import get_app, setup_logging
from pyramid.router import Router
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
    # until there is something to stop in order, Ctrl-C just ends it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    check_folder(str(ini))
    setup_logging(str(ini))
    settings = get_config_loader(str(ini)).get_settings("server:main")
    listen = listen or settings["listen"]

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        return app(environ, start_response)

    # before the application, which runs jobs as soon as it is made
    server = open_server(answer, listen)
    app = make_app(str(ini))
    press = Press()
    with suppress(KeyboardInterrupt):
        signal.signal(signal.SIGINT, press)
        say(f"The demo is at {url_of(listen)} now. Ctrl-C stops it.")
        server.run()
    stop_jobs(app.registry.getUtility(IScheduler), press)


def check_folder(ini: str) -> None:
    """End with what to do if files of settings cannot be in that folder."""
    odd = sorted({"#", "%", "?"}.intersection(ini))
    if odd:
        sys.exit(
            f"The demo cannot be served from a folder with {' and '.join(odd)}"
            f" in its path, {Path(ini).parent}: to files of settings and URIs"
            " of databases that means something. Move it to another one."
        )


def open_server(app: Callable[..., Any], listen: str) -> Any:
    """Make the server, or end with what to do if it cannot listen there."""
    host, port = parts_of(listen)
    try:
        return create_server(app, listen=listen)
    except ValueError:
        refuse(listen)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sys.exit(
                f"Something is being served at {listen} already; perhaps this"
                " demo, in another terminal. Stop that, or take another"
                f" address: make demo LISTEN={host}:{port + 1}"
            )
        sys.exit(
            f"The demo cannot be served at {listen}: {error.strerror}. Take"
            " another address: make demo LISTEN=localhost:6544"
        )


def parts_of(listen: str) -> tuple[str, int]:
    """Give the host and the port of an address, or end if it is none."""
    host, _, port = listen.rpartition(":")
    # waitress makes something of most texts, and 7105 a host in 0.0.0.0/8
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not host:
        refuse(listen)
    if not 0 < int(port) < 1 << 16 or host.split() != [host]:
        refuse(listen)
    return host, int(port)


def refuse(listen: str) -> NoReturn:
    """End with an address that can be listened at."""
    sys.exit(
        f"{listen} is no address to listen at. One is localhost:6544: make"
        " demo LISTEN=localhost:6544"
    )


def url_of(listen: str) -> str:
    """Give the URL at which a browser of this machine finds the demo."""
    host, port = parts_of(listen)
    if host in {"*", "0.0.0.0", "::", "[::]"}:  # noqa: S104 - any of this machine's
        host = "localhost"
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{port}/"


def make_app(ini: str) -> Router:
    """Make the application, or end with why it has no database."""
    try:
        return get_app(ini)
    except LockError:
        sys.exit(
            "The database of the demo is in use. Probably the demo is being"
            " served already: look for it in another terminal, and stop it"
            " there by Ctrl-C."
        )
    except OSError as error:
        sys.exit(
            f"The demo cannot write where it keeps its texts: {error}. Have it"
            " in a folder that is yours."
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
    main(" ".join(sys.argv[1:]))
