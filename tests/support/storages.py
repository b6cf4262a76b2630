"""Storages for tests: what they are called, and how to get a new one."""

import contextlib
import os
import uuid
from urllib.parse import urlsplit

import psycopg2
import pymysql
import pytest
import ZEO
from needed import missing

#: Where PostgreSQL answers, and who may make databases there.
POSTGRES_DSN = os.environ.get(
    "POSTGRES_DSN", "postgres://postgres@127.0.0.1:5432/postgres"
)

#: A scheduler, and where the database is.
EVERYWHERE = [
    ("memory", "file"),
    ("zodb", "file"),
    ("zodb", "mapping"),
    ("zodb", "zeo"),
    ("zodb", "sqlite"),
    ("zodb", "postgres"),
]
LASTING = [place for place in EVERYWHERE[1:] if place[1] != "mapping"]
SHARED = [place for place in LASTING if place[1] != "file"]
#: Those that can undo what was committed.
UNDOING = LASTING

everywhere = pytest.mark.parametrize(("kept_in", "storage"), EVERYWHERE)
on_lasting_storages = pytest.mark.parametrize(("kept_in", "storage"), LASTING)
on_undoing_storages = pytest.mark.parametrize(("kept_in", "storage"), UNDOING)
on_shared_storages = pytest.mark.parametrize(("kept_in", "storage"), SHARED)

ZEO_CONFIG = """
%import ZEO
<zodb main>
  pool-size 20
  <clientstorage>
    server 127.0.0.1:{port}
    server-sync true
    wait-timeout {wait}
  </clientstorage>
</zodb>
"""


@contextlib.contextmanager
def file(folder):
    """Give a FileStorage."""
    yield f"file://{folder}/Data.fs?connection_pool_size=20"


@contextlib.contextmanager
def mapping(folder):
    """Give a storage in memory."""
    yield "memory://?connection_pool_size=20"


@contextlib.contextmanager
def zeo(folder):
    """Start a ZEO server, and give the clients' configuration."""
    address, stop = ZEO.server(f"{folder}/Server.fs")
    try:
        yield zeo_uri(folder, address[1])
    finally:
        stop()


def zeo_uri(folder, port, wait=60):
    """Give the URI for clients of a server that are sure to see all commits.

    They wait so many seconds for the server.
    """
    config = folder / "zeo.conf"
    config.write_text(ZEO_CONFIG.format(port=port, wait=wait))
    return f"zconfig://{config}#main"


@contextlib.contextmanager
def sqlite(folder):
    """Give a RelStorage on SQLite."""
    data = folder / "sqlite"
    data.mkdir()
    yield f"sqlite://?data_dir={data}&connection_pool_size=20"


@contextlib.contextmanager
def forgetful(folder):
    """Give a RelStorage on SQLite that keeps no history."""
    with sqlite(folder) as uri:
        yield f"{uri}&keep_history=false"


@contextlib.contextmanager
def postgres(folder):
    """Make a database in PostgreSQL, and give a RelStorage on it."""
    name = f"zodb_async_{uuid.uuid4().hex}"
    with admin() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    server = urlsplit(POSTGRES_DSN)
    try:
        yield (
            f"postgres://{server.netloc}/{name}"
            "?driver=psycopg2&connection_pool_size=20"
        )
    finally:
        with admin() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def admin():
    """Give a cursor for what no transaction may surround."""
    connection = psycopg2.connect(
        POSTGRES_DSN.replace("postgres://", "postgresql://", 1)
    )
    connection.autocommit = True
    try:
        yield connection.cursor()
    finally:
        connection.close()


@contextlib.contextmanager
def mariadb():
    """Make a database in MariaDB, and give a connection to it and its URI."""
    server = {"host": "127.0.0.1", "port": 3306, "user": "root"}
    try:
        connection = pymysql.connect(**server, autocommit=True)
    except pymysql.err.OperationalError as error:
        missing(f"MariaDB does not answer ({error})")
    name = f"zodb_async_{uuid.uuid4().hex}"
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute(f"USE {name}")
        try:
            options = "driver=PyMySQL&keep_history=false"
            yield cursor, f"mysql://root@127.0.0.1:3306/{name}?{options}"
        finally:
            cursor.execute(f"DROP DATABASE {name}")


@contextlib.contextmanager
def uri_of(storage, folder):
    """Give the URI of a new database of that kind."""
    if storage == "postgres":
        require_postgres()
    with globals()[storage](folder) as uri:
        yield uri


def require_postgres():
    """Skip the test if PostgreSQL does not answer, or fail in CI."""
    try:
        with admin():
            return
    except psycopg2.OperationalError as error:
        missing(
            f"PostgreSQL does not answer at {POSTGRES_DSN} ({error}); set"
            " POSTGRES_DSN"
        )
