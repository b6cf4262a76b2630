"""Shelves of which Zope's databases of earlier versions hold the jobs.

The data files name what is here as ``stored_shelves:…``: nothing of it may be
renamed, and what a function takes may not change.
"""

import threading

from Acquisition import aq_parent
from OFS.Folder import Folder
from persistent import Persistent

from pyramid_zodb_async import JobError, current_job
from pyramid_zodb_async.zope2 import transactional


class Note(Persistent):
    """A persistent object that knows nothing of Zope."""

    def __init__(self, text):
        self.text = text


class Shelf(Folder):
    """A folder with notes, where jobs leave their effects."""

    def __init__(self, id):  # noqa: A002 - Zope's name
        super().__init__(id)
        self.notes = ()

    def put(self, *words):
        """Leave an effect; the site must have a colour."""
        self.notes += ((*words, self.colour),)
        return len(words)


class OutOfBooks(JobError):
    """There is no book left."""


def tell(shelf):
    """Tell where a shelf is."""
    return "/".join(shelf.getPhysicalPath())


def put_path(word, shelf):
    """Leave where the shelf is."""
    return shelf.put(word, tell(shelf))


def put_nested(word, nested):
    """Leave where shelves are that are deep in something."""
    shelf, (same,) = nested["shelves"]
    return shelf.put(word, tell(same), nested["note"].text)


def put_bare(word, bare, shelf):
    """Leave whether an object has no context."""
    return shelf.put(word, bare.getId(), aq_parent(bare) is None)


def put_context(word, context):
    """Leave what is in a context."""
    return context[0].put(word, tell(context["hall"]), len(context))


def put_weak(word, reference, shelf):
    """Leave what is weakly referred to."""
    return shelf.put(word, reference().getId())


def put_owner(word, shelf):
    """Leave whose job it is."""
    return shelf.put(word, current_job().owner)


@transactional
def put_transactionally(word, shelf):
    """Leave an effect in the transaction of the job."""
    return shelf.put(word)


def give(value):
    """Return what is given."""
    return value


#: Whether what fails works by now.
mended = threading.Event()


def run_out(word, shelf):
    """Fail, unless it is mended."""
    if not mended.is_set():
        raise OutOfBooks(word)
    return shelf.put(word)
