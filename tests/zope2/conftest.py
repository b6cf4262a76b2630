"""A Zope for the tests, with a FileStorage and a folder of each test's own."""

import pytest
import transaction
from needed import HAS_ZOPE

if HAS_ZOPE:
    import Zope2
    from AccessControl.SecurityManagement import (
        newSecurityManager,
        noSecurityManager,
    )
    from OFS.Folder import manage_addFolder
    from shelves import Shelf
    from webtest import TestApp
    from Zope2.Startup.run import make_wsgi_app

    from pyramid_zodb_async.zope2 import (
        PersistentTransactionalScheduler,
        TransactionalScheduler,
    )

# tests/test_installation.py tells of it
collect_ignore_glob = [] if HAS_ZOPE else ["test_*.py"]

ZOPE_CONF = """
instancehome {folder}
<zodb_db main>
  pool-size 20
  mount-point /
  <filestorage>
    path {folder}/Data.fs
  </filestorage>
</zodb_db>
"""
SITE_ZCML = """
<configure xmlns="http://namespaces.zope.org/zope">
  <include package="Products.Five" />
</configure>
"""


@pytest.fixture(scope="session")
def wsgi_app(tmp_path_factory):
    """Start Zope; it can be started once in a process."""
    folder = tmp_path_factory.mktemp("zope")
    (folder / "etc").mkdir()
    (folder / "etc" / "site.zcml").write_text(SITE_ZCML)
    conf = folder / "zope.conf"
    conf.write_text(ZOPE_CONF.format(folder=folder))
    yield make_wsgi_app({}, str(conf))
    Zope2.DB.close()


@pytest.fixture
def app(wsgi_app):
    """Give the root of Zope, as this thread has it."""
    app = Zope2.app()
    yield app
    noSecurityManager()
    transaction.abort()
    app._p_jar.close()


@pytest.fixture
def site(app):
    """Give a folder with users, and in it the shelf `hall/shelf`."""
    manage_addFolder(app, "site")
    app.site.manage_addUserFolder()
    app.site.acl_users._doAddUser("bob", "secret", ["Manager"], [])
    manage_addFolder(app.site, "hall")
    app.site.hall._setObject("shelf", Shelf("shelf"))
    app.site.colour = "green"
    app.site._setOb("scheduler", PersistentTransactionalScheduler())
    transaction.commit()
    yield app.site
    transaction.abort()
    app.site.scheduler.stop(grace=5)
    app._delObject("site")
    transaction.commit()


@pytest.fixture
def shelf(site):
    """Give the shelf, in its context."""
    return site.hall.shelf


@pytest.fixture
def bob(site):
    """Have Bob log in on this thread."""
    user = site.acl_users.getUserById("bob").__of__(site.acl_users)
    newSecurityManager(None, user)
    return user


@pytest.fixture
def browser(wsgi_app, site):
    """Give a client of Zope's own publisher, where Bob is logged in."""
    client = TestApp(wsgi_app)
    client.authorization = ("Basic", ("bob", "secret"))
    return client


@pytest.fixture(params=["memory", "persistent"])
def scheduler(request, site):
    """Give each of the two schedulers."""
    if request.param == "persistent":
        yield site.scheduler
    else:
        made = TransactionalScheduler()
        yield made
        made.engine.stop(grace=5)
