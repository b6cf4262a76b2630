"""The storages of the tests: each gives the URI of a database of its own."""

import contextlib
import os
import sys
import uuid
from urllib.parse import urlsplit

import pytest
import storages
from ports import answers, free_port
from processes import HERE, Process, wait_until

#: How long a ZEO client waits for its server, in seconds.
ZEO_WAIT = 2


def require(name):
    """Give a module, without which the test is skipped, but not in CI."""
    if os.environ.get("CI") == "true":
        return __import__(name)
    return pytest.importorskip(name)


class FileStorage:
    """A file, for one process."""

    processes = 1

    def __init__(self, folder):
        self.uri = f"file://{folder}/Data.fs?connection_pool_size=20"

    def stop(self):
        """Leave it to the test's folder."""


class ZEO:
    """A ZEO server, of a file; clients are sure to see all commits."""

    processes = 2

    def __init__(self, folder):
        require("ZEO")
        self.port = free_port()
        self.server = Process(
            [
                *(sys.executable, str(HERE / "zeo_server.py")),
                *("-a", f"127.0.0.1:{self.port}"),
                *("-f", str(folder / "Data.fs")),
            ],
            folder / "zeo.log",
        )
        self.start_server()
        self.uri = self.make_uri(folder)

    def start_server(self):
        """Start it, and wait until it answers.

        A client that is started before ends by itself when it has waited.
        """
        self.server.start()
        wait_until(lambda: answers(self.port), "the ZEO server answers", 60)

    def make_uri(self, folder):
        return storages.zeo_uri(folder, self.port, ZEO_WAIT)

    def stop(self):
        self.server.kill()


class PlainZEO(ZEO):
    """A ZEO server whose clients see commits of others a moment later."""

    def make_uri(self, folder):
        return (
            f"zeo://127.0.0.1:{self.port}"
            f"?wait_timeout={ZEO_WAIT}&connection_pool_size=20"
        )


class PostgreSQL:
    """A database of PostgreSQL, in a server that runs already."""

    processes = 2

    def __init__(self, folder):
        require("relstorage")
        psycopg2 = require("psycopg2")
        self._dsn = storages.POSTGRES_DSN
        self._name = f"chaos_{uuid.uuid4().hex[:12]}"
        try:
            self._control = psycopg2.connect(self._dsn, connect_timeout=3)
        except psycopg2.OperationalError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"There is no PostgreSQL at {self._dsn}: {error}")
        self._control.autocommit = True
        self._do(f"CREATE DATABASE {self._name}")
        place = urlsplit(self._dsn).netloc
        self.uri = (
            f"postgres://{place}/{self._name}"
            "?keep_history=false&driver=psycopg2&connection_pool_size=20"
        )

    def _do(self, statement, *values):
        with self._control.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.rowcount

    def cut_connections(self):
        """End all connections to the database; count them."""
        return self._do(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s",
            self._name,
        )

    def stop(self):
        with contextlib.closing(self._control):
            wait_until(self._dropped, "the database is dropped")

    def _dropped(self):
        self._do(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")
        return True


STORAGES = {
    "FileStorage": FileStorage,
    "ZEO": ZEO,
    "plain ZEO": PlainZEO,
    "PostgreSQL": PostgreSQL,
}
