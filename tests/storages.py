"""Storages for tests: what they are called, and how to get a new one."""

import contextlib
import os
import uuid
from urllib.parse import urlsplit

import psycopg2
import pytest
import ZEO

#: Where PostgreSQL answers, and who may make databases there.
POSTGRES_DSN = os.environ.get(
    "POSTGRES_DSN", "postgres://postgres@127.0.0.1:5432/postgres"
)

ZEO_CONFIG = """
%import ZEO
<zodb main>
  pool-size 20
  <clientstorage>
    server 127.0.0.1:{port}
    server-sync true
    wait-timeout 10
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
    config = folder / "zeo.conf"
    config.write_text(ZEO_CONFIG.format(port=address[1]))
    try:
        yield f"zconfig://{config}#main"
    finally:
        stop()


@contextlib.contextmanager
def sqlite(folder):
    """Give a RelStorage on SQLite."""
    data = folder / "sqlite"
    data.mkdir()
    yield f"sqlite://?data_dir={data}&connection_pool_size=20"


@contextlib.contextmanager
def postgres(folder):
    """Make a database in PostgreSQL, and give a RelStorage on it."""
    name = f"zodb_async_{uuid.uuid4().hex}"
    with admin() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
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


def require_postgres():
    """Skip the test if PostgreSQL does not answer, or fail in CI."""
    try:
        with admin():
            return
    except psycopg2.OperationalError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(
            f"PostgreSQL does not answer at {POSTGRES_DSN} ({error}); set"
            " POSTGRES_DSN"
        )
