"""What the site of the tests has, and the functions of its jobs."""

from AccessControl import getSecurityManager
from AccessControl.SecurityManagement import newSecurityManager
from Acquisition import Explicit, aq_base, aq_chain
from OFS.Folder import Folder
from persistent import Persistent
from ZODB.POSException import ConflictError
from zope.component import getGlobalSiteManager
from zope.component.hooks import getSite, setSite

from pyramid_zodb_async import current_job, job
from pyramid_zodb_async.zope2 import transactional

#: What jobs noted when they ran.
seen = []


class InContext(Explicit):
    """An object that is not persistent, but knows where it is."""


class Note(Persistent):
    """A persistent object that knows nothing of Zope."""

    text = ""


class Shelf(Folder):
    """A folder with books."""

    books = 0

    def getSiteManager(self):
        """Give the components, as a site does."""
        return getGlobalSiteManager()

    def put(self, number=1):
        """Put books on the shelf, as a browser may ask."""
        self.books += int(number)
        return self.tell()

    def tell(self):
        """Tell what there is, and what the site says of it."""
        return f"{self.books} {self.colour}"

    @job(title="Putting")
    def put_with_title(self, number):
        """Put books on the shelf."""
        return self.put(number)

    @transactional
    def fill(self, number):
        """Put books on the shelf."""
        self.books += number

    def schedule_put(self, number):
        """Have books put on the shelf later, as a browser may ask."""
        return self.scheduler.schedule(self.put, int(number))

    def look_up(self, sid):
        """Tell what came of a job."""
        return repr(self.scheduler.get_result(sid))


class OldShelf(Folder):
    """A folder whose class is to go."""


@transactional
def put(shelf, number):
    """Put books on a shelf, and tell of it."""
    return shelf.put(number)


def tell_path(shelf):
    """Tell where a shelf is, and what it acquires."""
    return "/".join(shelf.getPhysicalPath()), shelf.colour


def tell_paths(nested):
    """Tell of shelves that are deep in something."""
    shelf = nested["shelves"][0]
    return tell_path(shelf), shelf is nested["same"][0], nested["note"].text


def tell_chain(obj):
    """Tell the ids of what an object is in."""
    return [part.getId() for part in aq_chain(obj)]


def tell_user():
    """Tell who is logged in, and who owns the job."""
    return getSecurityManager().getUser().getId(), current_job().owner


def give(shelf):
    """Return a shelf in a list."""
    return [shelf]


def give_base(shelf):
    """Return a shelf without its context."""
    return aq_base(shelf)


def log_in(site):
    """Leave a user and a site on the thread."""
    user = site.acl_users.getUserById("bob").__of__(site.acl_users)
    newSecurityManager(None, user)
    setSite(site.hall.shelf)
    put(site.hall.shelf, 1)


def tell_thread():
    """Tell what there is on the thread."""
    return getSecurityManager().getUser().getId(), getSite()


@transactional
def put_and_fail(shelf):
    """Leave a change that must not be stored."""
    shelf.put(1)
    raise ZeroDivisionError


def conflict():
    """Meet a conflict each time."""
    seen.append("conflict")
    raise ConflictError


@transactional
def conflict_once(shelf):
    """Meet a conflict, but once."""
    shelf.books += 1
    seen.append("called")
    if len(seen) == 1:
        raise ConflictError


def count_slowly(shelf):
    """Count, but not now."""
    yield shelf.books
