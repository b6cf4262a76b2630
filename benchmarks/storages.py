"""The storages to compare: each gives the URI of a new, empty database."""

import contextlib
import os
import uuid

import psycopg2
from processes import free_port, process, wait_for_port

#: Where PostgreSQL answers, and who may make databases there.
POSTGRES = os.environ.get("BENCH_POSTGRES", "postgres@127.0.0.1:5432")

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
def filestorage(folder):
    """Give a FileStorage."""
    yield f"file://{folder}/Data.fs?connection_pool_size=20"


@contextlib.contextmanager
def zeo(folder):
    """Give a client of a ZEO server in a process of its own."""
    port = free_port()
    config = folder / "zeo.conf"
    config.write_text(ZEO_CONFIG.format(port=port))
    arguments = ("-a", f"127.0.0.1:{port}", "-f", f"{folder}/Server.fs")
    with process("ZEO.runzeo", *arguments, log=folder / "zeo.log"):
        wait_for_port(port)
        yield f"zconfig://{config}#main"


@contextlib.contextmanager
def sqlite(folder):
    """Give a RelStorage on SQLite."""
    data = folder / "sqlite"
    data.mkdir()
    yield f"sqlite://?data_dir={data}&connection_pool_size=20"


@contextlib.contextmanager
def postgres(folder):  # noqa: ARG001 - it is in the server
    """Give a RelStorage on PostgreSQL."""
    with postgres_database() as name:
        yield (
            f"postgres://{POSTGRES}/{name}"
            "?driver=psycopg2&connection_pool_size=20"
        )


@contextlib.contextmanager
def postgres_database():
    """Make a database in PostgreSQL, and give its name."""
    name = f"bench_{uuid.uuid4().hex}"
    _administer(f"CREATE DATABASE {name}")
    try:
        yield name
    finally:
        _administer(f"DROP DATABASE {name} WITH (FORCE)")


def settle(uri):
    """Do what PostgreSQL does by itself within a minute of large changes."""
    if uri.startswith("postgres:"):
        _administer("VACUUM ANALYZE", uri.partition("?")[0].split("/")[-1])


def _administer(statement, database="postgres"):
    connection = psycopg2.connect(f"postgresql://{POSTGRES}/{database}")
    connection.autocommit = True
    with contextlib.closing(connection):
        connection.cursor().execute(statement)


def why_not(name):
    """Tell why a storage cannot be used here, or ``None``."""
    if name == "postgres":
        try:
            _administer("SELECT 1")
        except psycopg2.OperationalError as error:
            return f"PostgreSQL does not answer: {str(error).splitlines()[0]}"
    return None


STORAGES = {
    "filestorage": filestorage,
    "zeo": zeo,
    "sqlite": sqlite,
    "postgres": postgres,
}
