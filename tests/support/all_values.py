"""Values of every kind, by the rows of the table in ``docs/usage.rst``.

Each is made anew wherever it is asked for: where a job is scheduled, in the
job, and where its result is looked at.
"""

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import multiprocessing
import operator
import pathlib
import re
import socket
import threading
import types
import uuid
import zoneinfo
from typing import NamedTuple

import shop
import transaction
from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree, OOTreeSet
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef
from pyramid.request import Request
from pyramid.session import SignedCookieSessionFactory
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection
from ZODB.blob import Blob

from pyramid_zodb_async import JobError, PersistentContext

LONDON = zoneinfo.ZoneInfo("Europe/London")
NEPAL = datetime.timezone(datetime.timedelta(hours=5, minutes=45), "Nepal")

#: The hour that comes twice: first in summer time, then in winter time.
TWICE = datetime.datetime(2026, 10, 25, 1, 30)  # noqa: DTZ001 - as it is


class Order:
    """An order, with classes of its own."""

    class Status(enum.Enum):
        """How far it is."""

        OPEN = "open"
        SENT = ("by", "bike")

    class Ways(enum.Flag):
        """How it may be sent."""

        BIKE = 1
        TRAIN = 2

    @dataclasses.dataclass(frozen=True)
    class Line:
        """One of its lines."""

        title: str
        price: decimal.Decimal
        tags: list = dataclasses.field(default_factory=list)

    class Key(NamedTuple):
        """What it is found by."""

        year: int
        number: int


class Colour(enum.StrEnum):
    """Strings."""

    RED = "red"


class Size(enum.IntEnum):
    """Numbers."""

    LARGE = 3


@dataclasses.dataclass(slots=True)
class Point:
    """A place."""

    x: int
    y: float


class Money(decimal.Decimal):
    """A number with more to it."""


class Isbn(str):
    """A text with an attribute."""

    __slots__ = ("group",)

    def __new__(cls, text, group="0"):
        made = super().__new__(cls, text)
        made.group = group
        return made

    def __getnewargs__(self):
        return str(self), self.group

    def __repr__(self):
        return f"Isbn({str(self)!r}, {self.group!r})"


class Shelf(list):
    """A list with an attribute."""

    room = "hall"


class Index(dict):
    """A dict with a default."""

    def __missing__(self, key):
        return 0


class Number(int):
    """A number of a kind."""


class Token(bytes):
    """Bytes of a kind."""


class Plain:
    """An object with attributes, some of them equal objects."""

    def __init__(self, *parts):
        self.parts = parts

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None

    def method(self, value):
        return self.parts, value


class OutOfStock(JobError):
    """An error that takes what it is made of."""


class Unlike(Exception):
    """An error whose pickle has other arguments than its class takes."""

    def __init__(self, title, number):
        super().__init__(f"{number} of {title}")


def with_note(error, cause=None):
    """Give an error with a note."""
    error.add_note("on Monday")
    return error


def of_root(name):
    """Give an object of the database."""
    return lambda: root()[name]


def root():
    """Give the root of the database, in a request or in a job."""
    return get_connection(get_current_request()).root()


def fill(root):
    """Store the objects of the rows."""
    root["product"] = shop.Product("book")
    root["mapping"] = PersistentMapping(a=[1])
    root["list"] = PersistentList([1, 2])
    root["tree"] = OOBTree({"a": 1})
    root["numbers"] = IOBTree({n: str(n) for n in range(100)})
    root["set"] = OOTreeSet("abc")
    root["blob"] = Blob(b"data")


def stored_now():
    """Give a new object that the transaction stores."""
    made = shop.Product("new")
    root()[f"new {uuid.uuid4()}"] = made
    return made


def new():
    """Give a new object that nothing else refers to."""
    made = shop.Product("new")
    made.parts = [made, shop.Product("inner")]
    return made


def of_closed_connection():
    """Give an object whose connection is closed."""
    connection = root()._p_jar.db().open(transaction.TransactionManager())
    found = connection.root()["product"]
    connection.close()
    return found


#: Connections of somebody else; who asks for one has to close them.
others = []


def of_other_connection():
    """Give an object that another transaction has loaded."""
    connection = root()._p_jar.db().open(transaction.TransactionManager())
    others.append(connection)
    return connection.root()["product"]


def inner():
    """Give an object of an inner class."""

    class Inner:
        pass

    return Inner()


def session():
    """Give a session of Pyramid."""
    request = Request.blank("/")
    return SignedCookieSessionFactory("secret")(request)


def uploaded(size):
    """Give an uploaded file."""
    files = {"file": ("a.txt", b"a" * size)}
    return Request.blank("/", POST=files).POST["file"]


def generate():
    """Yield a number."""
    yield 1


async def sleep():
    """Sleep."""
    await asyncio.sleep(0)


def coroutine():
    """Give a coroutine that nobody has to wait for."""
    made = sleep()
    made.close()
    return made


async def yield_later():
    """Yield a number."""
    yield 1


def pipe_end():
    """Give the end of a pipe."""
    one, other = multiprocessing.Pipe()
    other.close()
    others.append(one)
    return one


def opened_socket():
    """Give a socket."""
    made = socket.socket()
    others.append(made)
    return made


def opened_file():
    """Give a file."""
    made = pathlib.Path(__file__).open()  # noqa: SIM115 - closed later
    others.append(made)
    return made


#: Functions that make the values, by rows.
ACCEPTED = {
    "``None``, numbers, text and bytes": [
        lambda: None,
        lambda: True,
        lambda: 2**100,
        lambda: -1.5,
        lambda: float("inf"),
        lambda: 1 + 2j,
        lambda: "ä\ud800",
        lambda: "x" * 5000,
        lambda: b"\xff" * 5000,
        lambda: bytearray(b"abc"),
        lambda: ...,
    ],
    "lists, tuples, dicts, sets, ranges and slices, at any depth": [
        list,
        tuple,
        dict,
        lambda: [{"a": (1, {2, 3})}, frozenset("ab")],
        lambda: {("a", 1): [None] * 300},
        lambda: range(2, 20, 3),
        lambda: slice(1, None, 2),
        lambda: {1, "two", (3,)},
    ],
    "what :mod:`!collections` has": [
        lambda: collections.deque([1, 2], maxlen=3),
        lambda: collections.defaultdict(list, a=[1]),
        lambda: collections.OrderedDict(b=1, a=2),
        lambda: collections.Counter("abba"),
        lambda: collections.ChainMap({"a": 1}, {"b": 2}),
    ],
    "dates, times and spans, with ``fold`` and time zones": [
        lambda: datetime.date(2026, 2, 28),
        lambda: datetime.time(1, 30, fold=1),
        lambda: datetime.timedelta(days=-1, microseconds=1),
        lambda: datetime.UTC,
        lambda: NEPAL,
        lambda: TWICE,
        lambda: TWICE.replace(fold=1),
        lambda: TWICE.replace(tzinfo=datetime.UTC),
        lambda: TWICE.replace(tzinfo=NEPAL),
    ],
    "``ZoneInfo``, and times with one": [
        lambda: LONDON,
        lambda: TWICE.replace(tzinfo=LONDON),
        lambda: TWICE.replace(tzinfo=LONDON, fold=1),
        lambda: zoneinfo.ZoneInfo.no_cache("Europe/London").key,
    ],
    "``Decimal``, ``Fraction``, ``UUID``, paths, addresses, patterns": [
        lambda: decimal.Decimal("-1.50"),
        lambda: decimal.Decimal("Infinity"),
        lambda: fractions.Fraction(1, 3),
        lambda: uuid.UUID(int=5),
        lambda: pathlib.Path("a/b"),
        lambda: pathlib.PureWindowsPath("c:/b"),
        lambda: ipaddress.ip_network("10.0.0.0/8"),
        lambda: re.compile("a(b)", re.IGNORECASE),
    ],
    "enums, also inside a class": [
        lambda: Order.Status.OPEN,
        lambda: Order.Status.SENT,
        lambda: [Order.Status.OPEN] * 2,
        lambda: Order.Ways.BIKE | Order.Ways.TRAIN,
        lambda: Colour.RED,
        lambda: Size.LARGE,
    ],
    "dataclasses, named tuples and other objects of classes of a module": [
        lambda: Point(1, 2.5),
        lambda: Order.Line("Emma", decimal.Decimal("9.99"), ["new"]),
        lambda: Order.Key(2026, 5),
        lambda: Plain(1, [2]),
        lambda: types.SimpleNamespace(a=1),
        lambda: collections.UserDict(a=1),
    ],
    "objects of subclasses of ``int``, ``str``, ``dict`` and the like": [
        lambda: Number(5),
        lambda: Token(b"abc"),
        lambda: Isbn("978", "3"),
        lambda: Money("1.50"),
        lambda: Shelf([1, 2]),
        lambda: Index(a=1),
    ],
    "exceptions": [
        lambda: ValueError("a", 1),
        lambda: OSError(2, "No such file", "a.txt"),
        lambda: OutOfStock("no pears"),
        lambda: with_note(KeyError("a")),
        lambda: ExceptionGroup("two", [ValueError(1), KeyError(2)]),
    ],
    "functions and classes of a module": [
        lambda: shop.give,
        lambda: len,
        lambda: dict,
        lambda: Order,
        lambda: Order.Status,
        lambda: io.BytesIO,
        lambda: shop.Product,
    ],
    "methods and partials of what is in this table": [
        lambda: Plain(1).method,
        lambda: Order.Key._make,
        lambda: "abc".upper,
        lambda: [1].index,
        lambda: functools.partial(shop.give, [1]),
        lambda: operator.itemgetter("a"),
        lambda: root()["product"].rename,
        lambda: functools.partial(shop.give, root()["product"]),
    ],
    "persistent objects that are stored": [
        of_root("product"),
        of_root("blob"),
        lambda: [root()["product"], {"again": root()["product"]}],
        root,
    ],
    "persistent mappings and lists, and BTrees, that are stored": [
        of_root("mapping"),
        of_root("list"),
        of_root("tree"),
        of_root("numbers"),
        of_root("set"),
    ],
    "a weak reference to one": [
        lambda: WeakRef(root()["product"]),
        lambda: [WeakRef(root()["product"]), root()["product"]],
    ],
    "a new persistent object that the transaction stores": [
        stored_now,
        lambda: [stored_now()],
        lambda: WeakRef(stored_now()),
    ],
    "a new persistent object that nothing else refers to": [
        new,
        lambda: [new()],
        lambda: PersistentMapping(a=PersistentList([1])),
        lambda: OOBTree({"a": new()}),
    ],
    "a :class:`~pyramid_zodb_async.PersistentContext`": [
        lambda: PersistentContext(root()["product"]),
    ],
}

#: The same for what is refused.
REFUSED = {
    "a request": [
        get_current_request,
        lambda: [Request.blank("/")],
    ],
    "a session": [session, lambda: {"of": session()}],
    "a connection to the database, and its ``root``": [
        lambda: root()._p_jar,
        lambda: [root()._p_jar],
        lambda: root()._p_jar.root,
    ],
    "an uploaded file, as ``request.POST`` has it": [
        lambda: uploaded(1),
        lambda: uploaded(1_000_000),
        lambda: uploaded(1).file,
    ],
    "an open file, also one in memory, whatever its size": [
        opened_file,
        io.BytesIO,
        lambda: [io.StringIO("a" * 100_000)],
    ],
    "a socket, the end of a pipe": [opened_socket, pipe_end],
    "a generator, a coroutine": [
        generate,
        lambda: (it for it in ()),
        coroutine,
        yield_later,
    ],
    "lambdas, inner functions, objects of inner classes": [
        lambda: lambda: None,
        lambda: of_root("product"),
        inner,
    ],
    "a lock, a module, a view of a dict, a ``memoryview``": [
        threading.Lock,
        lambda: [threading.Event()],
        lambda: shop,
        {}.keys,
        lambda: memoryview(b""),
    ],
    "a persistent object of a connection that is closed": [
        of_closed_connection,
    ],
    "a persistent object of another thread or transaction": [
        of_other_connection,
    ],
    "an exception whose pickle cannot be loaded": [
        lambda: Unlike("Emma", 2),
        lambda: {"error": [Unlike("Emma", 2)]},
    ],
}
