"""A shop of which databases of earlier versions hold the jobs.

The data files name what is here as ``stored_shop:…``: nothing of it may be
renamed, and what a function takes may not change.
"""

import threading

from persistent import Persistent
from persistent.list import PersistentList
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection

import pyramid_zodb_async
from pyramid_zodb_async import JobError, current_job, job


def root():
    """Give the root of the database, in a job of a Pyramid application."""
    return get_connection(get_current_request()).root()


def note(*words):
    """Leave an effect: the first word names the job."""
    root().setdefault("effects", PersistentList()).append(words)
    return len(words)


class Product(Persistent):
    """Something that the shop sells."""

    def __init__(self, name, stock=10):
        self.name = name
        self.stock = stock

    def sell(self, number):
        """Have less of it; a method for jobs of either scheduler."""
        self.stock -= number
        return self.stock

    def sell_and_note(self, number):
        """Do so, and leave an effect."""
        return note("method", self.name, self.sell(number))

    @classmethod
    def announce(cls, text):
        """Leave an effect that tells of the class."""
        return note("class method", cls.__name__, text)


class Receipt:
    """What a job gives that calls the class."""

    def __init__(self, text):
        self.text = text
        note("class", text)

    def __eq__(self, other):
        return type(other) is Receipt and other.text == self.text

    __hash__ = None


class Greeter:
    """An object that can be called."""

    def __init__(self, greeting):
        self.greeting = greeting

    def __call__(self, name):
        return note("instance", self.greeting, name)


class OutOfStock(JobError):
    """There is nothing left of it."""


class Mishap(Exception):
    """An error of the application's own, which only developers see."""


def note_names(word, nested):
    """Leave the names of products that are deep in something."""
    first, (second,) = nested["products"]
    return note(word, first.name, second.name, nested["best"] is first)


def note_named(word, *, product, number=1):
    """Leave what was passed by name."""
    return note(word, product.name, number)


def note_weak(word, reference, references):
    """Leave the names of products that are weakly referred to."""
    return note(word, reference().name, [ref().name for ref in references])


def note_context(word, context):
    """Leave the names of products in a context."""
    return note(word, context[0].name, context["best"].name, len(context))


def note_view(word, view):
    """Leave what is told of another job."""
    return note(word, view.function, str(view.state), view.title)


def note_errors(word, errors, kinds):
    """Leave what is known of exceptions."""
    texts = [(type(error).__name__, str(error)) for error in errors]
    return note(word, texts, [kind.__name__ for kind in kinds])


def note_whose(word):
    """Leave whose job it is, and where it was scheduled."""
    return note(word, current_job().owner, get_current_request().host_url)


def give(value):
    """Return what is given."""
    return value


def give_receipt(name):
    """Return a new persistent object."""
    return Product(name, stock=0)


def tell_and_give(value):
    """Tell of progress, and return what is given."""
    current_job().progress(1, 3, "one of three")
    current_job().progress(3, 3)
    return value


#: Whether what fails works by now.
mended = threading.Event()


def raise_ours(name):
    """Raise an exception of the package, unless it is mended."""
    if mended.is_set():
        return note("mended", name)
    raise getattr(pyramid_zodb_async, name)(f"because of {name}")


def raise_given(error):
    """Raise an exception that was an argument, unless it is mended."""
    if mended.is_set():
        return note("mended", type(error).__name__)
    raise error


def raise_unpicklable(word):
    """Raise what cannot leave its thread, unless it is mended."""
    if mended.is_set():
        return note("mended", word)
    raise Mishap(word, threading.Lock())


def give_unpicklable(word):
    """Return what cannot leave its thread, unless it is mended."""
    if mended.is_set():
        return note("mended", word)
    return threading.Lock()


def take_too_long(word):
    """Go on until time is over, unless it is mended."""
    while not mended.is_set():
        current_job().check()
    return note("mended", word)


def raise_without_request(text):
    """Raise an exception, unless it is mended; in any surroundings."""
    if mended.is_set():
        return text
    raise OutOfStock(text)


@job(title="Much later", delay=10**9, attempts=2)
def give_later(value):
    """Return what is given, but later."""
    return value
