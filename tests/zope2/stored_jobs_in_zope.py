"""Writes a database of Zope with jobs: ``stored_jobs_in_zope.py PATH``.

Zope can be started once in a process, so that tests do this in another one.
"""

import functools
import sys
import tempfile
from pathlib import Path

import stored_shelves
import transaction
import Zope2
from AccessControl.SecurityManagement import newSecurityManager
from Acquisition import aq_base
from OFS.Folder import manage_addFolder
from persistent.wref import WeakRef
from stored_shelves import Note, Shelf
from Zope2.Startup.run import make_wsgi_app

from pyramid_zodb_async.zope2 import (
    PersistentContext,
    PersistentTransactionalScheduler,
)

#: How long outcomes are kept, in seconds: some decades.
FOREVER = 10**9

ZOPE_CONF = """
instancehome {folder}
<zodb_db main>
  mount-point /
  <filestorage>
    path {path}
  </filestorage>
</zodb_db>
"""


def write(path):
    """Write a database to *path*, where there is none."""
    path = Path(path).absolute()
    if path.exists():
        raise FileExistsError(path)
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "zope.conf")
        conf.write_text(ZOPE_CONF.format(folder=folder, path=path))
        make_wsgi_app({}, str(conf))
        app = Zope2.app()
        fill(app)
        transaction.abort()
        app._p_jar.close()
        Zope2.DB.pack()
        Zope2.DB.close()
    for ending in (".old", ".index", ".lock", ".tmp"):
        Path(f"{path}{ending}").unlink(missing_ok=True)


def fill(app):
    """Make a site, and a scheduler with jobs in it."""
    manage_addFolder(app, "site")
    site = app.site
    site.manage_addUserFolder()
    site.acl_users._doAddUser("bob", "secret", ["Manager"], [])
    manage_addFolder(site, "hall")
    site.hall._setObject("shelf", Shelf("shelf"))
    site.colour = "green"
    site.note = Note("hello")
    scheduler = PersistentTransactionalScheduler()
    scheduler.timeout = FOREVER
    site._setOb("scheduler", scheduler)
    transaction.commit()
    site.context = PersistentContext(site.hall.shelf, hall=site.hall)
    user = site.acl_users.getUserById("bob").__of__(site.acl_users)
    newSecurityManager(None, user)
    jobs = run_to_the_end(site)
    site.scheduler.stop(60)
    site.jobs = jobs | schedule_waiting(site)
    transaction.commit()


def run_to_the_end(site):
    """Have jobs run, and give their sids by name."""
    schedule, shelf = site.scheduler.schedule, site.hall.shelf
    jobs = {
        "given": schedule(stored_shelves.give, [shelf]),
        "given bare": schedule(stored_shelves.give, aq_base(shelf)),
        "failed": schedule(stored_shelves.run_out, "failed", shelf),
    }
    transaction.commit()
    for sid in jobs.values():
        assert site.scheduler.wait(sid, 60)
    transaction.begin()
    return jobs


def schedule_waiting(site):
    """Leave jobs that nobody runs, and give their sids by name."""
    schedule, shelf = site.scheduler.schedule, site.hall.shelf
    nested = {"shelves": [shelf, (shelf,)], "note": site.note}
    return {
        "argument": schedule(stored_shelves.put_path, "argument", shelf),
        "method": schedule(shelf.put, "method"),
        "partial": schedule(functools.partial(shelf.put, "partial"), 1),
        "bare method": schedule(aq_base(shelf).getId),
        "nested": schedule(stored_shelves.put_nested, "nested", nested),
        "bare": schedule(
            stored_shelves.put_bare, "bare", aq_base(shelf), shelf=shelf
        ),
        "context": schedule(
            stored_shelves.put_context,
            "context",
            PersistentContext(shelf, hall=site.hall),
        ),
        "weak": schedule(
            stored_shelves.put_weak, "weak", WeakRef(aq_base(shelf)), shelf
        ),
        "owned": schedule(stored_shelves.put_owner, "owned", shelf),
        "transactional": schedule(
            stored_shelves.put_transactionally, "transactional", shelf
        ),
    }


if __name__ == "__main__":
    write(sys.argv[1])
